"""A model's arrays on a launcher's device, in the forms that the CUDA kernels read."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import cast

import torch
from torch import Tensor

from nerf.backends.native import field_shape
from nerf.engine.kernels import GROUP, Launcher, LayerArrays, Work, grid_of, padded
from nerf.rendering.model import RadianceModel
from nerf.training.radiance import TrainingArrays

SAMPLE_ARRAYS = ("x", "y", "z", "t", "density")  # of a set of samples, float32, beside their rays
MARCHED_PER_USED = 8  # at most, early in training; where it is more, memory runs out and the batch is halved
FINE = 4  # cells along the side of a small block of src/march.h, whose bits are two words
COARSE = 16  # cells along the side of a large block


@dataclass
class DeviceArrays:
    """The device's arrays by name: kept from call to call, made anew when they must be larger."""

    launcher: Launcher
    held: dict[str, Tensor] = field(default_factory=dict)

    def get(self, name: str, shape: tuple[int, ...], dtype: torch.dtype = torch.float32) -> Tensor:
        """Returns an array whose first length is at least that of `shape`; zero at first, then what was left in it."""
        held = self.held.get(name)
        if held is None or held.shape[1:] != shape[1:] or held.shape[0] < shape[0]:
            room = shape[0] if held is None else max(shape[0], held.shape[0] * 5 // 4)
            held = None
            self.held.pop(name, None)  # gone before its successor is made
            self.held[name] = held = self.launcher.zeros((room, *shape[1:]), dtype)
        return held

    def put(self, name: str, value: Tensor) -> int:
        """Copies a tensor to the device and returns its address there."""
        self.held[name] = array = self.launcher.zeros(tuple(value.shape), value.dtype)
        array.copy_(value)
        return array.data_ptr()


class DeviceModel:
    """A model's tensors on a device, what the kernels are told of them, and the way to launch those."""

    def __init__(self, model: RadianceModel, launcher: Launcher) -> None:
        self.model = model
        self.launcher = launcher
        self.learns = cast(TrainingArrays, model.learns)  # None while the model only renders
        self.ahead = False  # whether the device has learned what the model's tensors do not hold yet
        self.arrays = DeviceArrays(launcher)
        self.batch = DeviceArrays(launcher)
        self.parameters = dict(model.field.named_parameters())

        # The sizes of the field.
        self.work = work = Work(shape=field_shape(model.field))
        self.levels = work.shape.n_levels
        self.features = work.shape.features
        rows = [level.rows for level in work.shape.levels[: self.levels]]
        work.first_row[: self.levels] = [sum(rows[:level]) for level in range(self.levels)]
        self.n_rows = sum(rows)
        self.words_per_row = max(1, self.features // 2)

        # When a ray ends, and where the scene is.
        minimum = model.settings.minimum_transmittance
        work.greatest_thickness = -math.log(minimum) if minimum > 0 else math.inf
        work.minimum_weight = model.settings.minimum_weight
        work.space.corner[:] = model.box.corner.tolist()
        work.space.side = model.box.side
        contraction = model.box.contraction
        if contraction is not None:
            work.space.center[:] = contraction.center.tolist()
            work.space.radius = contraction.radius
            work.space.near = contraction.near

        work.resolution = model.occupancy.resolution
        work.n_layers = len(self._layers())
        self.refresh()

    def _layers(self) -> list[tuple[str, int]]:
        """Returns the layers' names and their `split`, see LayerShape in src/layer.h."""
        density = self.model.field.density_mlp.weights
        color = self.model.field.color_mlp.weights
        splits = [weight.shape[1] for weight in [*density, *color]]
        splits[len(density)] = density[-1].shape[0]
        names = [f"density_mlp.weights.{i}" for i in range(len(density))]
        return list(zip([*names, *(f"color_mlp.weights.{i}" for i in range(len(color)))], splits))

    def refresh(self) -> None:
        """Copies the model's tensors to the device."""
        self.ahead = False
        work = self.work
        put = self.arrays.put

        # Parameters and moments, as they are.
        moments = self.learns.moments if self.learns else {}
        for key, tensors in {"": self.parameters, **moments}.items():
            for name, tensor in tensors.items():
                put(key + name, tensor.detach())
        at = {name: tensor.data_ptr() for name, tensor in self.arrays.held.items()}
        work.table = at["encoding.table"]
        work.table_first_moment = at.get("exp_avgencoding.table")
        work.table_second_moment = at.get("exp_avg_sqencoding.table")

        # Room for the forms that the kernels read: a packed table, and layers both ways round.
        work.packed = self.arrays.get("packed", (self.n_rows * self.words_per_row,), torch.int32).data_ptr()
        for index, (name, split) in enumerate(self._layers()):
            outputs, inputs = self.parameters[name].shape
            size = padded(outputs) * (padded(split) + padded(inputs - split))
            forms = {form: self.arrays.get(f"{form}.{name}", (size,)).data_ptr() for form in ("forward", "transposed")}
            work.layers[index] = LayerArrays(
                weights=at[name],
                **forms,
                first_moment=at.get("exp_avg" + name),
                second_moment=at.get("exp_avg_sq" + name),
                outputs=outputs,
                inputs=inputs,
                split=split,
            )

        self._put_cells()
        if self.learns:
            self._put_training_arrays(self.learns)
        self._launch("pack_table", self.n_rows * self.words_per_row)
        self._launch_layers("pack_network")

    def _put_cells(self) -> None:
        work = self.work
        occupancy = self.model.occupancy
        for name in ("hull", "occupied", "value"):
            setattr(work, name, self.arrays.put(name, getattr(occupancy, name)))
        cells = occupancy.hull.flatten().nonzero().squeeze(1).to(torch.int32)
        work.hull_cells = self.arrays.put("hull_cells", cells)
        work.n_hull_cells = len(cells)
        work.bits = self.arrays.get("bits", (2 * self._blocks(FINE),), torch.int32).data_ptr()
        work.empty = self.arrays.get("empty", (self._blocks(FINE),), torch.uint8).data_ptr()
        self._pack_cells()

    def _pack_cells(self) -> None:
        self._launch("pack_cells", 2 * self._blocks(FINE))
        self._launch("mark_blocks", self._blocks(COARSE))

    def _blocks(self, side: int) -> int:
        return (-(-self.work.resolution // side)) ** 3

    def _put_training_arrays(self, learns: TrainingArrays) -> None:
        pixels = self.work.pixels
        views = learns.views
        candidates = learns.pixels.candidates
        measured = learns.pixels.measured
        put = self.arrays.put

        if "images" not in self.arrays.held:
            pixels.images = put("images", views.images)
            pixels.candidates = None if candidates is None else put("candidates", candidates)
            if measured is not None:
                pixels.distances = put("distances", measured.distance)
                pixels.distance_scale = measured.scale

            cameras = views.cameras
            pixels.poses = put("poses", cameras.world_from_camera)
            pixels.focal = put("focal", cameras.focal)
            pixels.center = put("center", cameras.center)
            pixels.lens = None if cameras.pinhole else put("lens", cameras.lens)
            pixels.n_candidates = learns.pixels.count
            pixels.width = cameras.width
            pixels.height = cameras.height
            pixels.channels = views.images.shape[-1]
            pixels.bytes = views.images.element_size()
            pixels.white = views.white

        self.work.adam = self.arrays.get("adam", (8,)).data_ptr()
        self._put_gradients()

    def _put_gradients(self) -> None:
        """Makes room for the gradients by the parameters; those by the table are zero between two uses."""
        self.work.grad_table = self.arrays.get("grad_table", (self.n_rows, self.features)).data_ptr()
        for index, (name, _) in enumerate(self._layers()):
            layer = self.work.layers[index]
            size = self.arrays.held[f"forward.{name}"].shape[0]
            layer.grad_weights = self.arrays.get(f"grad.{name}", (size,)).data_ptr()

    @torch.no_grad()
    def copy_back(self) -> bool:
        """Copies what training changes from the device into the model's tensors; returns whether anything had."""
        if not self.ahead:
            return False
        moments = self.learns.moments if self.learns else {}
        for key, tensors in {"": self.parameters, **moments}.items():
            for name, tensor in tensors.items():
                tensor.copy_(self.arrays.held[key + name])
        for name in ("occupied", "value"):
            getattr(self.model.occupancy, name).copy_(self.arrays.held[name])
        self.ahead = False
        return True

    def _launch(self, kernel: str, threads: int, across: int = 1, deep: int = 1) -> None:
        if threads > 0:
            self.launcher.launch(kernel, self.work, grid_of(threads, across, deep))

    def _launch_layers(self, kernel: str) -> None:
        layers = self.work.layers[: self.work.n_layers]
        self._launch(kernel, max(layer.outputs * layer.inputs for layer in layers), len(layers))

    def bytes_per_sample(self) -> int:
        """Returns the memory that one sample in front of the surface takes, with the marched ones behind it."""
        layers = self.work.layers[: self.work.n_layers]
        inputs = sum(padded(layer.split) + padded(layer.inputs - layer.split) for layer in layers)
        forward = 4 * (inputs + GROUP + len(SAMPLE_ARRAYS) + 3)
        back = 4 * (sum(padded(layer.outputs) for layer in layers) + padded(layers[0].inputs) + 1)
        return MARCHED_PER_USED * (forward + 4 * (len(SAMPLE_ARRAYS) + 1)) + back
