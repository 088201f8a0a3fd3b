"""A radiance field that the native engine computes, on the tensors of its torch modules."""

from __future__ import annotations

import ctypes
import weakref

import torch
from torch import Tensor

from nerf.cameras import Rays
from nerf.engine import Library, library
from nerf.engine.signatures import (
    FieldShape,
    Level,
    OccupancyArrays,
    OccupancyCall,
    Parameters,
    RadianceSpec,
    RenderCall,
    StepCall,
    StepReport,
)
from nerf.engine.tensors import address
from nerf.field import RadianceField
from nerf.ops.composite import Rendering
from nerf.rendering import RadianceModel, cube_numbers


def parameter_addresses(tensors: dict[str, Tensor]) -> Parameters:
    """Returns the addresses of tensors named like the parameters of a RadianceField."""
    found = Parameters(table=address(tensors["encoding.table"]))
    for group, places in (("density", found.density), ("color", found.color)):
        for layer in range(len(places)):
            name = f"{group}_mlp.weights.{layer}"
            if name in tensors:
                places[layer] = address(tensors[name])
    return found


def field_shape(field: RadianceField) -> FieldShape:
    """Returns the sizes of a field."""
    density, color = field.density_mlp.weights, field.color_mlp.weights
    shape = FieldShape(
        n_levels=len(field.encoding.levels),
        features=field.encoding.table.shape[1],
        density_width=density[0].shape[0],
        geometry_features=density[1].shape[0],
        color_width=color[0].shape[0],
        color_layers=len(color) - 1,
        direction_degree=field.degree,
    )
    for index, level in enumerate(field.encoding.levels):
        shape.levels[index] = Level(level.scale, level.resolution, level.rows, level.hashed)
    return shape


class Engine:
    """The engine's side of a model: packed copies of its parameters and of its occupied cells.

    It reads and writes the tensors of the model in place; `refresh` tells it that somebody else has changed them.
    """

    def __init__(self, model: RadianceModel, native: Library) -> None:
        self.native = native
        occupancy = model.occupancy
        self._tensors = dict(model.field.named_parameters())
        self._cells = (occupancy.hull, occupancy.occupied, occupancy.value)
        spec = RadianceSpec(
            shape=field_shape(model.field),
            parameters=parameter_addresses(self._tensors),
            occupancy=OccupancyArrays(
                address(occupancy.hull, torch.bool),
                address(occupancy.occupied, torch.bool),
                address(occupancy.value),
                occupancy.resolution,
            ),
            side=model.cube.side,
            minimum_transmittance=model.settings.minimum_transmittance,
            minimum_weight=model.settings.minimum_weight,
        )
        spec.corner[:] = model.cube.corner.tolist()
        contraction = model.cube.contraction
        if contraction is not None:
            spec.center[:], spec.radius, spec.near = contraction.center.tolist(), contraction.radius, contraction.near
        self._handle = native.call("nerf_radiance_new", ctypes.byref(spec))
        weakref.finalize(self, native.call, "nerf_radiance_free", self._handle)

    def refresh(self) -> None:
        """Takes over tensors that were changed elsewhere."""
        self.native.call("nerf_radiance_refresh", self._handle, torch.get_num_threads())

    def step(self, call: StepCall) -> StepReport:
        """Takes a training step, or only computes its gradients; the report's loss may not be finite: nothing moved."""
        report = StepReport()
        self.native.call("nerf_radiance_step", self._handle, ctypes.byref(call), ctypes.byref(report))
        return report

    def update_occupancy(self, call: OccupancyCall) -> None:
        """Updates the occupancy grid, see `OccupancyGrid.update`."""
        self.native.call("nerf_radiance_update_occupancy", self._handle, ctypes.byref(call))

    def render(self, rays: Rays, step_length: float) -> Rendering:
        """Returns what R rays see. step_length: scene units."""
        origin, direction, n_rays = rays.origin.contiguous(), rays.direction.contiguous(), len(rays)
        rgb, opacity, depth = torch.empty(n_rays, 3), torch.empty(n_rays), torch.empty(n_rays)
        places = (address(tensor) for tensor in (origin, direction, rgb, opacity, depth))
        call = RenderCall(*places, n_rays, step_length, torch.get_num_threads())
        self.native.call("nerf_radiance_render", self._handle, ctypes.byref(call))
        return Rendering(rgb, opacity, depth)

    def density(self, position: Tensor) -> Tensor:
        """Returns density (N,) per cube side at positions (N, 3) in [0, 1]."""
        position, out = position.contiguous(), torch.empty(len(position))
        threads = torch.get_num_threads()
        self.native.call("nerf_radiance_density", self._handle, address(position), len(out), address(out), threads)
        return out


class NativeRadianceModel(RadianceModel):
    """The same model, rendered by the engine; parameters and occupancy stay the tensors of its modules."""

    _engine: Engine | None = None
    _seen: tuple[object, ...] = ()

    def engine(self) -> Engine:
        """Returns the engine on the tensors as they are now."""
        tensors = (*self.field.parameters(), *self.occupancy.buffers())
        place = (*(tensor.data_ptr() for tensor in tensors), *cube_numbers(self.cube).tolist())
        # Torch counts what it writes into a tensor; what the engine writes it knows itself.
        seen = (place, tuple(tensor._version for tensor in tensors))
        if self._engine is None or self._seen[0] != place:
            self._engine = Engine(self, library())
        elif self._seen != seen:
            self._engine.refresh()
        self._seen = seen
        return self._engine

    @torch.no_grad()
    def render(self, rays: Rays) -> Rendering:
        return self.engine().render(rays, self.step_length())

    @torch.no_grad()
    def unit_density(self, position: Tensor) -> Tensor:
        return self.engine().density(position)
