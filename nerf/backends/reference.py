"""Plain torch: the same mathematics as the engines, written to be read, that tests compare them with.

It draws from torch's generators, one a step, so that nothing about randomness is saved. It computes any field.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import cast

import torch
from torch import Tensor

from nerf.geometry.cameras import Rays
from nerf.ops.composite import Rendering, composite, distance_at, transmittance
from nerf.ops.march import Samples, march
from nerf.rendering.losses import distance_loss, distortion_loss, faded, near_part, photometric_errors
from nerf.rendering.model import RadianceModel
from nerf.rendering.radiance_engine import OccupancyUpdate, RayBatch, StepResult, TrainingStep
from nerf.seeding import generator
from nerf.training.adam import Adam
from nerf.training.camera_optimizer import apply_exposure, perturbed_rays
from nerf.training.radiance import TrainingArrays

RAYS_AT_ONCE = 2048  # through the field: bounds the memory of their samples to some hundred MB
NEGLIGIBLE_WEIGHT = 1e-4  # of a sample, in any ray
PART_OF_HEAVIEST = 0.5  # of the samples of a ray: what weighs as much is never too light


class ReferenceEngine:
    """Computes a model on the tensors of its modules; it keeps no copies."""

    def __init__(self, model: RadianceModel) -> None:
        self.model = model
        self.learns = cast(TrainingArrays, model.learns)  # None while the model only renders
        if model.learns is not None:
            optimizer = self.learns.settings.optimizer
            self.adam = Adam(dict(model.field.named_parameters()), optimizer, self.learns.moments)
        self._random: torch.Generator | None = None  # of the step in hand
        self._observed: tuple[Tensor, Tensor] | None = None  # its samples' positions and densities

    def refresh(self) -> None:
        """Does nothing: there are no copies."""

    def copy_back(self) -> bool:
        """Returns False: the model's tensors are the only ones."""
        return False

    def most_samples(self) -> int | None:
        """Returns None: torch takes what memory a step needs."""
        return None

    def samples(self, rays: Rays, step: float, offset: Tensor) -> Samples:
        """Returns the samples of rays that matter: in occupied cells, in front of the surface, not too light.

        Most samples lie behind a surface or in all but empty space; a first pass without gradients finds and drops
        them. Too light is what weighs less than `minimum_weight` in its ray's colour, unless the whole ray is fog: less
        than half of its heaviest sample. What is dropped counts as empty.
        """
        model = self.model
        minimum = model.settings.minimum_weight
        samples = march(rays, model.box, model.occupancy.occupied, step, offset)
        with torch.no_grad():
            position = self.unit_positions(rays, samples)
            sigma = model.field.density(position)[0] / model.box.side
            reached = transmittance(sigma * step, samples.ray, len(rays))
            seen = reached >= model.settings.minimum_transmittance
            weight = torch.where(seen, reached * -torch.expm1(-sigma * step), 0)
            heaviest = weight.new_zeros(len(rays)).scatter_reduce(0, samples.ray, weight, "amax")
            least = (PART_OF_HEAVIEST * heaviest).clamp(NEGLIGIBLE_WEIGHT, max(NEGLIGIBLE_WEIGHT, minimum))
        return samples.where(seen & (weight >= least[samples.ray]))

    def unit_positions(self, rays: Rays, samples: Samples) -> Tensor:
        """Returns positions (S, 3) of samples in the unit cube."""
        return self.model.box.unit_from_world(samples.positions(rays)).clamp(0, 1)

    def shade(
        self, rays: Rays, samples: Samples, code: Tensor | None = None, near: float = 0.0
    ) -> tuple[Rendering, Tensor, Tensor]:
        """Returns the rendering of R rays through S samples, unit positions (S, 3) and density per box side (S,).

        Differentiable in the field's parameters, in rays, whose samples stay at their t, and in code (R, code_size).
        near: scene units; gradients of samples that are nearer to their camera fade, see `near_part`.
        """
        field = self.model.field
        position = self.unit_positions(rays, samples)
        density, features = field.density(position)
        rgb = field.color(rays.direction[samples.ray], features, None if code is None else code[samples.ray])
        if near > 0:
            part = near_part(samples.t, near)
            density = faded(density, part)
            rgb = faded(rgb, part[:, None])
        return composite(density / self.model.box.side, rgb, samples), position, density

    def distortion(self, rays: Rays, samples: Samples, density: Tensor) -> Tensor:
        """Returns the distortion loss of R rays through S samples of density (S,) per box side, box sides."""
        box = self.model.box
        return distortion_loss(density, box.marched(rays, samples.ray, samples.t), samples, samples.step / box.side)

    def distance(self, rays: Rays, samples: Samples, density: Tensor, measured: Tensor) -> Tensor:
        """Returns the distance loss of R rays, box sides. measured: (R,) scene units along them; 0 where none was."""
        box = self.model.box
        at = box.marched(rays, torch.arange(len(rays)), measured)
        at = torch.where(measured > 0, at, torch.inf)
        where = box.marched(rays, samples.ray, samples.t)
        return distance_loss(density, where, at, samples, samples.step / box.side)

    def gradients(self, step: TrainingStep) -> tuple[dict[str, Tensor], StepResult]:
        """Returns the gradients of a step's loss by the field's parameters; see `RadianceEngine`."""
        with self.model.field.coarsest(step.levels):
            return self._gradients(step)

    def _gradients(self, step: TrainingStep) -> tuple[dict[str, Tensor], StepResult]:
        learns = self.learns
        train = learns.settings.train
        camera_optimizer = learns.camera_optimizer

        # Draw pixels, and march their rays.
        self._random = random = generator(train.seed, "step", step.number - 1)
        drawn = learns.pixels.draw(step.n_rays, random)
        frame, rays, target, measured = drawn.frame, drawn.rays, drawn.color, drawn.distance
        offset = torch.rand(len(rays), generator=random)
        samples = self.samples(rays, step.step_length, offset)

        # Shade from the poses and in the exposures that are being learned; both start the step at no change.
        pose_change = torch.zeros(len(learns.views), 6, requires_grad=True)
        color = camera_optimizer.colors.clone()
        moved = perturbed_rays(rays, *pose_change[frame].split(3, dim=1)) if camera_optimizer.refines else rays
        rendering, position, density = self.shade(moved, samples, near=learns.near)
        if camera_optimizer.exposes:
            rendering = apply_exposure(rendering, color.requires_grad_()[frame], target)

        errors = photometric_errors(rendering, target, train.background)
        loss = (errors if drawn.weight is None else drawn.weight * errors).mean()
        result = StepResult(loss.item(), len(rays), len(samples))
        if train.distortion > 0:
            loss = loss + train.distortion * self.distortion(rays, samples, density)
        if step.distance > 0 and measured is not None:
            loss = loss + step.distance * self.distance(rays, samples, density, measured)

        gradients = self.adam.gradients(loss)
        if camera_optimizer:
            for part, tensor in zip(camera_optimizer.gradients.split(6, dim=1), (pose_change, color)):
                part.copy_(torch.zeros_like(tensor) if tensor.grad is None else tensor.grad)
        if learns.by_ray is not None:
            learns.by_ray.pixel = drawn.pixel
            learns.by_ray.error = errors.detach()
        self._observed = position.detach(), density.detach()
        return gradients, result

    def descend(self, step: TrainingStep, gradients: Mapping[str, Tensor]) -> None:
        """Moves the parameters by Adam, and lets the occupancy grid see the densities of the step's samples."""
        self.adam.step(gradients, step.number, step.rate)
        if self._observed is not None:
            self.model.occupancy.observe(*self._observed)

    def step(self, step: TrainingStep) -> StepResult:
        """Takes a whole step. Where the loss is not finite nothing is moved."""
        gradients, result = self.gradients(step)
        if math.isfinite(result.loss):
            self.descend(step, gradients)
        return result

    @torch.no_grad()
    def update_occupancy(self, update: OccupancyUpdate) -> None:
        """Updates the occupancy grid with the random numbers that the step before it has left."""
        model = self.model
        random = self._random or generator(update.seed, "step", update.number)
        with model.field.coarsest(update.levels):
            model.occupancy.update(
                lambda position: model.field.density(position)[0],
                update.step_length / model.box.side,
                update.prune,
                random,
            )

    def render(self, rays: RayBatch, step_length: float) -> tuple[Tensor, Tensor, Tensor]:
        """Returns colour over black (R, 3), opacity (R,) and depth (R,) of R rays. step_length: scene units."""
        parts = []
        for start in range(0, max(len(rays.origin), 1), RAYS_AT_ONCE):
            part = _part(rays, start)
            seen = Rays(part.origin, part.direction)
            samples = self.samples(seen, step_length, part.offset)
            parts.append(self.shade(seen, samples, part.code)[0])
        pixels = [(part.rgb, part.opacity, part.depth) for part in parts]
        rgb, opacity, depth = (torch.cat(each) for each in zip(*pixels))
        return rgb, opacity, depth

    @torch.enable_grad()
    def render_vjp(
        self, rays: RayBatch, step_length: float, grads: Sequence[Tensor], needed: Mapping[str, bool]
    ) -> dict[str, Tensor]:
        """Returns the gradients that are needed from those by what `render` returns, some rays at a time."""
        parameters = {name: value for name, value in self.model.field.named_parameters() if needed[name]}
        found = {name: torch.zeros_like(value) for name, value in parameters.items()}
        by_ray: dict[str, list[Tensor]] = {name: [] for name in ("origin", "direction", "code") if needed[name]}

        for start in range(0, max(len(rays.origin), 1), RAYS_AT_ONCE):
            part = _part(rays, start)
            leaves = {name: getattr(part, name).detach().requires_grad_() for name in by_ray}
            part = part._replace(**leaves)
            wanted = {**leaves, **parameters}
            pixels = self.render(part, step_length)
            values = torch.autograd.grad(
                pixels,
                list(wanted.values()),
                [grad[start : start + RAYS_AT_ONCE] for grad in grads],
                allow_unused=True,
            )
            for (name, tensor), value in zip(wanted.items(), values):
                value = torch.zeros_like(tensor) if value is None else value
                if name in by_ray:
                    by_ray[name].append(value)
                else:
                    found[name] += value
        return found | {name: torch.cat(values) for name, values in by_ray.items()}

    @torch.no_grad()
    def surface(self, rays: Rays, step_length: float, level: float) -> Tensor:
        """Returns the distance (R,) at which `level` of the light is left; infinite where more goes on."""
        parts = [torch.empty(0)]
        for start in range(0, len(rays), RAYS_AT_ONCE):
            part = rays[start : start + RAYS_AT_ONCE]
            samples = self.samples(part, step_length, torch.full((len(part),), 0.5))
            density = self.density(self.unit_positions(part, samples))
            parts.append(distance_at(density / self.model.box.side, samples, level))
        return torch.cat(parts)

    def density(self, position: Tensor) -> Tensor:
        """Returns density (N,) per side of the box at positions (N, 3) in [0, 1]."""
        return self.model.field.density(position)[0]

    def state(self) -> dict[str, Tensor]:
        """Returns nothing: a step's random numbers follow from its own number."""
        return {}

    def load_state(self, tensors: Mapping[str, Tensor]) -> None:
        """Does nothing."""


def _part(rays: RayBatch, start: int) -> RayBatch:
    some = slice(start, start + RAYS_AT_ONCE)
    code = None if rays.code is None else rays.code[some]
    return RayBatch(rays.origin[some], rays.direction[some], rays.offset[some], code)
