"""A radiance field that the native engine computes, on the tensors of its torch modules."""

from __future__ import annotations

import ctypes
import weakref
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from nerf.engine import Library, library
from nerf.engine.signatures import (
    LARGEST_CODE,
    FieldShape,
    Level,
    OccupancyArrays,
    OccupancyCall,
    Parameters,
    RadianceSpec,
    RenderCall,
    RenderGradients,
    StepCall,
    StepReport,
    SurfaceCall,
)
from nerf.engine.tensors import address
from nerf.fields.radiance import RadianceField
from nerf.geometry.cameras import Rays
from nerf.ops.composite import Rendering
from nerf.rendering.model import SURFACE_LEVEL, RadianceModel


def parameter_addresses(tensors: dict[str, Tensor]) -> Parameters:
    """Returns the addresses of tensors named like the parameters of a RadianceField; null where there is none."""
    found = Parameters(table=address(tensors["encoding.table"]) if "encoding.table" in tensors else None)
    for group, places in (("density", found.density), ("color", found.color)):
        for layer in range(len(places)):
            name = f"{group}_mlp.weights.{layer}"
            if name in tensors:
                places[layer] = address(tensors[name])
    return found


def field_shape(field: RadianceField) -> FieldShape:
    """Returns the sizes of a field."""
    if field.code_size > LARGEST_CODE:
        raise ValueError(f"a code of {field.code_size} numbers: the native engine takes at most {LARGEST_CODE}")
    density, color = field.density_mlp.weights, field.color_mlp.weights
    shape = FieldShape(
        n_levels=len(field.encoding.levels),
        features=field.encoding.table.shape[1],
        density_width=density[0].shape[0],
        geometry_features=density[1].shape[0],
        color_width=color[0].shape[0],
        color_layers=len(color) - 1,
        direction_degree=field.degree,
        code_size=field.code_size,
    )
    for index, level in enumerate(field.encoding.levels):
        shape.levels[index] = Level(level.scale, level.resolution, level.rows, level.hashed)
    return shape


class RayBatch(NamedTuple):
    """Rays as the engine takes them, contiguous: origin (R, 3), direction (R, 3), offset (R,), code (R, C) or None."""

    origin: Tensor
    direction: Tensor
    offset: Tensor
    code: Tensor | None


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
            side=model.box.side,
            minimum_transmittance=model.settings.minimum_transmittance,
            minimum_weight=model.settings.minimum_weight,
        )
        spec.corner[:] = model.box.corner.tolist()
        contraction = model.box.contraction
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

    def render(self, rays: RayBatch, step: float) -> tuple[Tensor, Tensor, Tensor]:
        """Returns colour over black (R, 3), opacity (R,) and depth (R,) of R rays. step: length, scene units."""
        n_rays = len(rays.origin)
        out = torch.empty(n_rays, 3), torch.empty(n_rays), torch.empty(n_rays)
        self.native.call("nerf_radiance_render", self._handle, ctypes.byref(self._render_call(rays, step, out)))
        return out

    def render_vjp(
        self, rays: RayBatch, step: float, grads: Sequence[Tensor], needed: Mapping[str, bool]
    ) -> dict[str, Tensor]:
        """Returns the gradients that are needed from those by what `render` returns.

        They are named origin, direction, code, and as the field's parameters; the networks come all together.
        """
        tensors = {"origin": rays.origin, "direction": rays.direction, "code": rays.code, **self._tensors}
        networks = any(needed[name] for name in self._tensors if name != "encoding.table")
        found = {
            name: torch.zeros_like(tensor)
            for name, tensor in tensors.items()
            if needed[name] or networks and "_mlp" in name
        }
        gradients = RenderGradients(
            parameter_addresses(found),
            *(address(found[name]) if name in found else None for name in ("origin", "direction", "code")),
        )
        call = self._render_call(rays, step, [grad.contiguous() for grad in grads])
        self.native.call("nerf_radiance_render_vjp", self._handle, ctypes.byref(call), ctypes.byref(gradients))
        return found

    def _render_call(self, rays: RayBatch, step: float, pixels: Sequence[Tensor]) -> RenderCall:
        places = [address(part) if part is not None else None for part in rays]
        return RenderCall(*places, *map(address, pixels), len(rays.origin), step, torch.get_num_threads())

    def surface(self, rays: Rays, step_length: float, level: float) -> Tensor:
        """Returns the distance (R,) at which `level` of the light is left. step_length: scene units."""
        origin, direction, distance = rays.origin.contiguous(), rays.direction.contiguous(), torch.empty(len(rays))
        places = (address(tensor) for tensor in (origin, direction, distance))
        call = SurfaceCall(*places, len(rays), step_length, level, torch.get_num_threads())
        self.native.call("nerf_radiance_surface", self._handle, ctypes.byref(call))
        return distance

    def density(self, position: Tensor) -> Tensor:
        """Returns density (N,) per cube side at positions (N, 3) in [0, 1]."""
        position, out = position.contiguous(), torch.empty(len(position))
        threads = torch.get_num_threads()
        self.native.call("nerf_radiance_density", self._handle, address(position), len(out), address(out), threads)
        return out


class ChangeTracker:
    """What an engine has taken over of a model: tells when somebody else has changed it. Asked at every step."""

    def __init__(self, model: RadianceModel, others: Sequence[Tensor] = ()) -> None:
        self._cube, self._parts = model.box, (model.field, model.occupancy)
        modules = [module for part in self._parts for module in part.modules()]
        kept = [names for module in modules for names in (module._modules, module._parameters, module._buffers)]
        self._things = [(names, name, thing) for names in kept for name, thing in names.items()]
        tensors = [thing for _, _, thing in self._things if isinstance(thing, Tensor)]
        self._places = [(tensor, tensor.data_ptr()) for tensor in tensors]
        self._tensors = [*tensors, *others]
        self.remember()

    def remember(self) -> None:
        """Takes what the tensors hold now for known."""
        self._versions = [tensor._version for tensor in self._tensors]

    def written(self) -> bool:
        """Whether somebody wrote into the tensors: torch counts it; what an engine writes it does not see."""
        return self._versions != [tensor._version for tensor in self._tensors]

    def moved(self, model: RadianceModel) -> bool:
        """Whether the model has another cube, or tensors elsewhere."""
        return (
            model.box is not self._cube
            or (model.field, model.occupancy) != self._parts
            or any(names.get(name) is not thing for names, name, thing in self._things)
            or any(tensor.data_ptr() != place for tensor, place in self._places)
        )


class NativeRadianceModel(RadianceModel):
    """The same model, rendered by the engine; parameters and occupancy stay the tensors of its modules."""

    # An engine and what it knows, shared by shallow copies of the model.
    _engine: tuple[Engine, ChangeTracker] | None = None

    def engine(self) -> Engine:
        """Returns the engine on the tensors as they are now."""
        if self._engine is None or self._engine[1].moved(self):
            self._engine = self._new_engine()
        engine, watch = self._engine
        if watch.written():
            engine.refresh()
            watch.remember()
        return engine

    def _new_engine(self) -> tuple[Engine, ChangeTracker]:
        return Engine(self, library()), ChangeTracker(self)

    def render(
        self, rays: Rays, code: Tensor | None = None, step: float | None = None, offset: Tensor | None = None
    ) -> Rendering:
        """Returns what R rays see, see `RadianceModel.render`; nothing is kept for the way back but the rays.

        Raises:
            ValueError: sizes differ, or a number is not finite.
        """
        drawn = RayBatch(
            rays.origin.contiguous(),
            rays.direction.contiguous(),
            torch.full((len(rays),), 0.5) if offset is None else offset.contiguous(),
            None if code is None else code.contiguous(),
        )
        expected = [(len(rays), 3), (len(rays), 3), (len(rays),), (len(rays), self.field.code_size)]
        for name, part, shape in zip(RayBatch._fields, drawn, expected):
            if part is not None and (part.shape != shape or not torch.isfinite(part).all()):
                raise ValueError(f"render: {name}: expected finite numbers {shape}, got {tuple(part.shape)}")
        step = self.step_length() if step is None else step
        return Rendering(*_Render.apply(self, step, *drawn, *self.field.parameters()))

    @torch.no_grad()
    def surface(self, rays: Rays) -> Tensor:
        return self.engine().surface(rays, self.step_length(), SURFACE_LEVEL)

    @torch.no_grad()
    def unit_density(self, position: Tensor) -> Tensor:
        return self.engine().density(position)


class _Render(torch.autograd.Function):
    """Rendering, and its vjp, which traces the rays anew."""

    @staticmethod
    def forward(ctx, model: NativeRadianceModel, step: float, *tensors: Tensor | None) -> tuple[Tensor, ...]:
        ctx.model, ctx.step = model, step
        ctx.save_for_backward(*tensors)  # parameters too: torch then sees if they change before the way back
        return model.engine().render(RayBatch(*tensors[:4]), step)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, *grads: Tensor) -> tuple[Tensor | None, ...]:
        names = [*RayBatch._fields, *(name for name, _ in ctx.model.field.named_parameters())]
        needed = dict(zip(names, ctx.needs_input_grad[2:], strict=True))
        if needed["offset"]:
            raise ValueError("render: not differentiable in offset")
        drawn = RayBatch(*ctx.saved_tensors[:4])
        found = ctx.model.engine().render_vjp(drawn, ctx.step, grads, needed)
        return None, None, *(found[name] if needed[name] else None for name in names)
