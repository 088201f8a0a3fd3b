"""The native engine on a model: C++ that computes on the tensors of its modules."""

from __future__ import annotations

import ctypes
import weakref
from collections.abc import Mapping, Sequence
from typing import cast

import torch
from torch import Tensor

from nerf.engine import library
from nerf.engine.signatures import (
    BACKGROUNDS,
    LARGEST_CODE,
    FieldShape,
    Level,
    OccupancyArrays,
    OccupancyCall,
    Parameters,
    Pixels,
    RadianceSpec,
    RayRecords,
    RenderCall,
    RenderGradients,
    StepCall,
    StepReport,
    SurfaceCall,
)
from nerf.engine.tensors import address
from nerf.fields.radiance import RadianceField
from nerf.geometry.cameras import Rays
from nerf.rendering.model import RadianceModel
from nerf.rendering.radiance_engine import OccupancyUpdate, RayBatch, StepResult, TrainingStep
from nerf.training.pixel_sampler import PixelSampler
from nerf.training.radiance import TrainingArrays

SAMPLES_PER_TILE = 512
FEWEST_RAYS_PER_TILE = 16
AT_ONCE = 16384  # rays, or positions, of a call that only reads: between two calls Python hears an interrupt


def parameter_addresses(tensors: Mapping[str, Tensor]) -> Parameters:
    """Returns the addresses of tensors named like the parameters of a RadianceField; null where there is none."""
    found = Parameters(table=address(tensors["encoding.table"]) if "encoding.table" in tensors else None)
    for group, addresses in (("density", found.density), ("color", found.color)):
        for layer in range(len(addresses)):
            name = f"{group}_mlp.weights.{layer}"
            if name in tensors:
                addresses[layer] = address(tensors[name])
    return found


def parts(count: int) -> list[slice]:
    """Returns slices of at most AT_ONCE, which together are 0 .. count - 1."""
    return [slice(start, start + AT_ONCE) for start in range(0, count, AT_ONCE)]


def field_shape(field: RadianceField) -> FieldShape:
    """Returns the sizes of a field."""
    if field.code_size > LARGEST_CODE:
        raise ValueError(f"a code of {field.code_size} numbers: the native engine takes at most {LARGEST_CODE}")
    density = field.density_mlp.weights
    color = field.color_mlp.weights
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


def pixel_addresses(sampler: PixelSampler, bends: bool = False) -> Pixels:
    """Returns where the engine finds the pictures, their cameras and the pixels to draw; they must stay alive.

    bends: whether pinholes may become other lenses.
    """
    views = sampler.views
    cameras = views.cameras

    return Pixels(
        images=address(views.images, views.images.dtype),
        candidates=None if sampler.candidates is None else address(sampler.candidates, torch.int64),
        poses=address(cameras.world_from_camera),
        focal=address(cameras.focal),
        center=address(cameras.center),
        lens=None if cameras.pinhole and not bends else address(cameras.lens),
        n_candidates=sampler.count,
        width=cameras.width,
        height=cameras.height,
        channels=views.images.shape[-1],
        bytes=views.images.element_size(),
        n_frames=len(cameras),
        white=views.white,
        distances=None if sampler.measured is None else address(sampler.measured.distance),
        distance_scale=1 if sampler.measured is None else sampler.measured.scale,
        weights=None if sampler.weights is None else address(sampler.weights.weight),
        weight_scale=1 if sampler.weights is None else sampler.weights.scale,
    )


class NativeEngine:
    """The engine's side of a model: packed copies of its parameters and of its occupied cells.

    It reads and writes the tensors of the model in place; `refresh` tells it that somebody else has changed them.
    """

    def __init__(self, model: RadianceModel) -> None:
        self.native = library()
        self.side = model.box.side
        self.learns = cast(TrainingArrays, model.learns)  # None while the model only renders
        self._tensors = dict(model.field.named_parameters())
        occupancy = model.occupancy
        self._cells = (occupancy.hull, occupancy.occupied, occupancy.value)  # kept alive

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
            spec.center[:] = contraction.center.tolist()
            spec.radius = contraction.radius
            spec.near = contraction.near
        self._handle = self.native.call("nerf_radiance_new", ctypes.byref(spec))
        weakref.finalize(self, self.native.call, "nerf_radiance_free", self._handle)

        self.report: StepReport | None = None  # of the last step, stage by stage
        self._gradients: dict[str, Tensor] | None = None
        if model.learns is not None:
            self._pixels = pixel_addresses(self.learns.pixels, self.learns.camera_optimizer.bends)
            self._moments = {key: parameter_addresses(tensors) for key, tensors in self.learns.moments.items()}

    def refresh(self) -> None:
        """Takes over tensors that were changed elsewhere."""
        self.native.call("nerf_radiance_refresh", self._handle, torch.get_num_threads())

    def copy_back(self) -> bool:
        """Returns False: what the engine learns it writes into the model's tensors."""
        return False

    def most_samples(self) -> int | None:
        """Returns None: a step works on tiles, whose memory does not grow with it."""
        return None

    def step_call(self, step: TrainingStep, gradients: Parameters | None = None) -> StepCall:
        """Returns a step as the C function takes it.

        gradients: arrays for the gradients, shaped as the parameters; None to take the whole step.
        """
        learns = self.learns
        train = learns.settings.train
        adam = learns.settings.optimizer
        camera_optimizer = learns.camera_optimizer

        by_ray = learns.by_ray
        records = None
        if by_ray is not None:
            by_ray.need(step.n_rays)
            records = RayRecords(address(by_ray.pixel, torch.int64), address(by_ray.error))
        rays_per_tile = round(step.n_rays * SAMPLES_PER_TILE / train.samples)
        return StepCall(
            pixels=ctypes.pointer(self._pixels),
            gradients=ctypes.pointer(gradients) if gradients is not None else None,
            first_moments=ctypes.pointer(self._moments["exp_avg"]),
            second_moments=ctypes.pointer(self._moments["exp_avg_sq"]),
            seed=train.seed,
            first_ray=learns.rays_drawn,
            number=step.number,
            step_length=step.step_length,
            rate=step.rate,
            beta1=adam.beta1,
            beta2=adam.beta2,
            epsilon=adam.epsilon,
            distortion=train.distortion,
            distance=step.distance,
            near=learns.near,
            n_rays=step.n_rays,
            rays_per_tile=max(FEWEST_RAYS_PER_TILE, rays_per_tile),
            levels=step.levels,
            background=BACKGROUNDS[train.background],
            threads=torch.get_num_threads(),
            colors=address(camera_optimizer.colors) if camera_optimizer.exposes else None,
            view_gradients=address(camera_optimizer.gradients) if camera_optimizer else None,
            n_views=len(learns.views),
            turns=camera_optimizer.refines,
            by_ray=None if records is None else ctypes.pointer(records),
        )

    def gradients(self, step: TrainingStep) -> tuple[dict[str, Tensor], StepResult]:
        """Returns the gradients of a step's loss by the field's parameters; see `RadianceEngine`.

        They lie in arrays that the next call fills anew.
        """
        if self._gradients is None:
            self._gradients = {name: torch.empty_like(value) for name, value in self._tensors.items()}
        call = self.step_call(step, parameter_addresses(self._gradients))
        return self._gradients, self._step(call)

    def descend(self, step: TrainingStep, gradients: Mapping[str, Tensor]) -> None:
        """Moves the parameters by Adam, down the gradients that `gradients` returned for the same step."""
        call = self.step_call(step, parameter_addresses(gradients))
        self.native.call("nerf_radiance_descend", self._handle, ctypes.byref(call))
        self.learns.rays_drawn += step.n_rays

    def step(self, step: TrainingStep) -> StepResult:
        """Takes a whole step. Where the loss is not finite nothing is moved."""
        result = self._step(self.step_call(step))
        self.learns.rays_drawn += step.n_rays
        return result

    def _step(self, call: StepCall) -> StepResult:
        self.report = report = StepReport()
        self.native.call("nerf_radiance_step", self._handle, ctypes.byref(call), ctypes.byref(report))
        return StepResult(report.loss, call.n_rays, report.samples, report.marched)

    def update_occupancy(self, update: OccupancyUpdate) -> None:
        """Updates the occupancy grid, see `OccupancyGrid.update`."""
        call = OccupancyCall(
            seed=update.seed,
            number=update.number,
            step_length=update.step_length / self.side,
            levels=update.levels,
            prune=update.prune,
            threads=torch.get_num_threads(),
        )
        self.native.call("nerf_radiance_update_occupancy", self._handle, ctypes.byref(call))

    def render(self, rays: RayBatch, step_length: float) -> tuple[Tensor, Tensor, Tensor]:
        """Returns colour over black (R, 3), opacity (R,) and depth (R,) of R rays. step_length: scene units."""
        n_rays = len(rays.origin)
        out = torch.empty(n_rays, 3), torch.empty(n_rays), torch.empty(n_rays)
        for part in parts(n_rays):
            code = None if rays.code is None else rays.code[part]
            some = RayBatch(rays.origin[part], rays.direction[part], rays.offset[part], code)
            call = _render_call(some, step_length, [pixels[part] for pixels in out])
            self.native.call("nerf_radiance_render", self._handle, ctypes.byref(call))
        return out

    def render_vjp(
        self, rays: RayBatch, step_length: float, grads: Sequence[Tensor], needed: Mapping[str, bool]
    ) -> dict[str, Tensor]:
        """Returns the gradients that are needed from those by what `render` returns; the networks come all together."""
        tensors = {"origin": rays.origin, "direction": rays.direction, "code": rays.code, **self._tensors}
        networks = any(needed[name] for name in self._tensors if name != "encoding.table")
        found = {
            name: torch.zeros_like(tensor)
            for name, tensor in tensors.items()
            if tensor is not None and (needed[name] or (networks and "_mlp" in name))
        }
        gradients = RenderGradients(
            parameter_addresses(found),
            *(address(found[name]) if name in found else None for name in ("origin", "direction", "code")),
        )
        call = _render_call(rays, step_length, [grad.contiguous() for grad in grads])
        self.native.call("nerf_radiance_render_vjp", self._handle, ctypes.byref(call), ctypes.byref(gradients))
        return found

    def surface(self, rays: Rays, step_length: float, level: float) -> Tensor:
        """Returns the distance (R,) at which `level` of the light is left. step_length: scene units."""
        origin = rays.origin.contiguous()
        direction = rays.direction.contiguous()
        distance = torch.empty(len(rays))
        for part in parts(len(rays)):
            some = [tensor[part] for tensor in (origin, direction, distance)]
            call = SurfaceCall(*map(address, some), len(some[0]), step_length, level, torch.get_num_threads())
            self.native.call("nerf_radiance_surface", self._handle, ctypes.byref(call))
        return distance

    def density(self, position: Tensor) -> Tensor:
        """Returns density (N,) per side of the box at positions (N, 3) in [0, 1]."""
        position = position.contiguous()
        out = torch.empty(len(position))
        for part in parts(len(out)):
            addresses = address(position[part]), len(out[part]), address(out[part])
            self.native.call("nerf_radiance_density", self._handle, *addresses, torch.get_num_threads())
        return out

    def state(self) -> dict[str, Tensor]:
        """Returns how many rays were drawn: each has random numbers of its own."""
        return {"rays_drawn": torch.tensor(self.learns.rays_drawn)}

    def load_state(self, tensors: Mapping[str, Tensor]) -> None:
        """Takes over what `state` returned; of the reference backend's checkpoint no ray was drawn in our order."""
        self.learns.rays_drawn = int(tensors.get("rays_drawn", 0))


def _render_call(rays: RayBatch, step_length: float, pixels: Sequence[Tensor]) -> RenderCall:
    addresses = [address(part) if part is not None else None for part in rays]
    return RenderCall(*addresses, *map(address, pixels), len(rays.origin), step_length, torch.get_num_threads())
