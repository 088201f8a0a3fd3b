"""tiny-cuda-nn: its parameters as our tensors and back, and a field that its modules compute.

tiny-cuda-nn keeps all parameters of a module in one flat array. Of a network: the weights of the layers in order, each
row-major (outputs, inputs), the last one's outputs padded with zero rows to a multiple of 16. Of a grid: its table,
level by level, features innermost. Our tensors follow the same conventions one by one (see nerf/ops/hash_grid.py and
nerf/fields/mlp.py), so that conversion only cuts and joins. The grid is a module of its own, and not one with the
network behind it, so that levels can be struck out between them.
Source: tiny-cuda-nn's DOCUMENTATION.md and the comments of its fully_fused_mlp and grid encoding.
"""

from __future__ import annotations

import importlib
from collections.abc import Iterator, Mapping
from types import ModuleType
from typing import Any, cast

import torch
from torch import Tensor, nn

from nerf.config import FieldSettings
from nerf.errors import InputError
from nerf.fields.encodings import HashGrid
from nerf.fields.radiance import RadianceField
from nerf.ops.hash_grid import Level, growth

ALIGNMENT = 16  # of a network's inputs and outputs
FUSED_WIDTHS = (16, 32, 64, 128)
ARRAYS = {"grid": "encoding", "density": "density_mlp", "color": "color_mlp"}  # whose tensors a flat array holds
HOW = (
    "tiny-cuda-nn is not on PyPI: with a GPU, a CUDA toolkit and torch's CUDA build, run "
    "pip install --no-build-isolation 'nerf[tcnn]', or use --backend cuda, which needs none of them"
)


def aligned(count: int) -> int:
    """Returns the next multiple of 16."""
    return -(-count // ALIGNMENT) * ALIGNMENT


def check_shapes(settings: FieldSettings) -> None:
    """Refuses a field that tiny-cuda-nn would compute otherwise: it pads inputs with ones, which act as biases.

    Raises:
        InputError: naming the setting.
    """
    for name, value in (
        ("field.levels * field.features_per_level", settings.levels * settings.features_per_level),
        ("field.geometry_features + field.direction_degree^2", color_inputs(settings)),
    ):
        if value % ALIGNMENT:
            raise InputError(f"--backend tcnn: {name} is {value}; it must be a multiple of {ALIGNMENT}")
    for name in ("density_width", "color_width"):
        if getattr(settings, name) not in FUSED_WIDTHS:
            raise InputError(
                f"--backend tcnn: field.{name} is {getattr(settings, name)}; its fused network has "
                f"{', '.join(map(str, FUSED_WIDTHS))}"
            )


def color_inputs(settings: FieldSettings) -> int:
    """Returns how many numbers the colour network reads."""
    return settings.geometry_features + settings.direction_degree**2


def to_tcnn(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Returns tiny-cuda-nn's flat arrays, see ARRAYS, of tensors named as those of a RadianceField."""
    networks = {name: _network(tensors, f"{name}_mlp") for name in ("density", "color")}
    return {"grid": tensors["encoding.table"].flatten(), **networks}


def _network(tensors: Mapping[str, Tensor], name: str) -> Tensor:
    names = [key for key in tensors if key.startswith(f"{name}.weights.")]
    weights = [tensors[f"{name}.weights.{layer}"] for layer in range(len(names))]
    rows, columns = weights[-1].shape
    weights[-1] = torch.cat([weights[-1], weights[-1].new_zeros(aligned(rows) - rows, columns)])
    return torch.cat([weight.flatten() for weight in weights])


def from_tcnn(arrays: Mapping[str, Tensor], shapes: Mapping[str, torch.Size]) -> dict[str, Tensor]:
    """Returns tensors named as those of a RadianceField, of the given shapes, of tiny-cuda-nn's flat arrays.

    Raises:
        InputError: an array is of another size than the shapes make.
    """
    found = {}
    for key, group in ARRAYS.items():
        rows = {name: shape[0] for name, shape in shapes.items() if name.startswith(group)}
        last = list(rows)[-1]
        if key != "grid":
            rows[last] = aligned(rows[last])
        sizes = [count * shapes[name][1] for name, count in rows.items()]
        if arrays[key].numel() != sum(sizes):
            raise InputError(
                f"tiny-cuda-nn: the array {key} has {arrays[key].numel()} numbers, the settings make {sum(sizes)}"
            )
        for name, part in zip(rows, arrays[key].split(sizes)):
            found[name] = part.view(rows[name], shapes[name][1])[: shapes[name][0]].clone()
    return found


def load_tinycudann() -> ModuleType:
    """Returns the package tinycudann.

    Raises:
        InputError: it is not installed, or finds no GPU.
    """
    try:
        return importlib.import_module("tinycudann")
    except ImportError:
        raise InputError(f"--backend tcnn: tinycudann is not installed; {HOW}") from None
    except OSError as error:  # what it raises without a GPU
        raise InputError(f"--backend tcnn: tinycudann does not load ({' '.join(str(error).split())}); {HOW}") from None


class _Across:
    """A module of tiny-cuda-nn as a function of float32 tensors of any device."""

    def __init__(self, module: nn.Module) -> None:
        self.module = module
        self.params = cast(nn.Parameter, module.params)

    def __call__(self, value: Tensor) -> Tensor:
        return self.module(value.to(self.params.device)).to(value.device, torch.float32)


class TcnnGrid(HashGrid):
    """The same grid; levels that take no part yet are computed all the same, and struck out."""

    def __init__(self, settings: FieldSettings, levels: tuple[Level, ...], module: nn.Module) -> None:
        nn.Module.__init__(self)  # the table of HashGrid is not made
        self.levels = levels
        self.active_levels = len(levels)
        self.features = settings.features_per_level
        self.compute = _Across(module)

    def forward(self, position: Tensor) -> Tensor:
        features = self.compute(position)
        seen = self.active_levels * self.features
        return torch.nn.functional.pad(features[:, :seen], (0, features.shape[1] - seen))


class TcnnField(RadianceField):
    """The same field, its grid and its networks computed by tiny-cuda-nn; its state has the names of RadianceField."""

    def __init__(self, settings: FieldSettings, generator: torch.Generator, code_size: int = 0) -> None:
        nn.Module.__init__(self)  # the layers of RadianceField are not made
        check_shapes(settings)
        tcnn = load_tinycudann()
        reference = RadianceField(settings, generator)
        self.shapes = {name: tensor.shape for name, tensor in reference.named_parameters()}
        self.settings = settings
        self.degree = settings.direction_degree
        self.code_size = 0
        self.encoding = TcnnGrid(settings, reference.encoding.levels, tcnn.Encoding(3, _grid(settings)))
        density = tcnn.Network(reference.encoding.width, settings.geometry_features, _mlp(settings.density_width, 1))
        color = tcnn.Network(color_inputs(settings), 3, _mlp(settings.color_width, settings.color_layers))
        self.density_mlp = _Across(density)
        self.color_mlp = _Across(color)
        self.load_tensors({name: tensor.detach() for name, tensor in reference.named_parameters()})

    def named_parameters(
        self, prefix: str = "", recurse: bool = True, remove_duplicate: bool = True
    ) -> Iterator[tuple[str, nn.Parameter]]:
        """Yields tiny-cuda-nn's flat arrays."""
        dot = "." if prefix else ""
        for name, across in zip(ARRAYS, (self.encoding.compute, self.density_mlp, self.color_mlp)):
            yield f"{prefix}{dot}{name}", across.params

    def state_dict(self, *_: Any, prefix: str = "", keep_vars: bool = False, destination: Any = None) -> Any:
        """Returns the parameters as those of a RadianceField, on the CPU."""
        destination = {} if destination is None else destination
        tensors = self.portable(dict(self.named_parameters()))
        destination.update({prefix + name: value for name, value in tensors.items()})
        return destination

    def portable(self, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Returns tensors that go with the flat arrays as those of a RadianceField, on the CPU."""
        return from_tcnn({name: tensor.detach().float().cpu() for name, tensor in tensors.items()}, self.shapes)

    def own(self, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Returns tensors named as those of a RadianceField as they go with the flat arrays."""
        return to_tcnn(tensors)

    def plain(self) -> RadianceField:
        """Returns a RadianceField with the same parameters, on the CPU."""
        field = RadianceField(self.settings, torch.Generator())
        field.load_tensors(self.state_dict())
        return field

    @torch.no_grad()
    def load_tensors(self, tensors: Mapping[str, Tensor]) -> None:
        """Takes over parameters named as those of a RadianceField."""
        arrays = to_tcnn(tensors)
        for name, parameter in self.named_parameters():
            parameter.copy_(arrays[name])


def _grid(settings: FieldSettings) -> dict[str, Any]:
    return {
        "otype": "Grid",
        "type": "Hash",
        "n_levels": settings.levels,
        "n_features_per_level": settings.features_per_level,
        "log2_hashmap_size": settings.log2_table_size,
        "base_resolution": settings.base_resolution,
        "per_level_scale": growth(settings.levels, settings.base_resolution, settings.finest_resolution),
        "interpolation": "Linear",
    }


def _mlp(width: int, hidden_layers: int) -> dict[str, Any]:
    return {
        "otype": "FullyFusedMLP",
        "activation": "ReLU",
        "output_activation": "None",
        "n_neurons": width,
        "n_hidden_layers": hidden_layers,
    }
