"""The radiance task: posed pictures -> a radiance field, on whatever engine computes the model."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from nerf.capture.space import find_space
from nerf.checkpoints import checked, checked_whole_number
from nerf.config import STEPS_AROUND, STEPS_ONE_WAY, Settings
from nerf.errors import InputError
from nerf.geometry.camera_rig import forward_facing
from nerf.geometry.scene_box import SceneBox
from nerf.rendering.model import RadianceModel, load_model_state, model_state
from nerf.rendering.radiance_engine import OccupancyUpdate, TrainingStep
from nerf.report import say
from nerf.runs import MOST_STEPS
from nerf.scenes import Views
from nerf.training.adam import MOMENTS, learning_rate, new_moments
from nerf.training.camera_optimizer import POSE_SLACK, CameraOptimizer
from nerf.training.lens_refinement import LensRefinement
from nerf.training.pixel_sampler import PixelSampler
from nerf.training.trainer import StepFigures
from nerf.training.transients import Transients
from nerf.training.weight_average import WeightAverage

FEWEST_RAYS = 256  # a step
MOST_RAYS = 65536  # a step
FEWEST_SAMPLES = 256  # a step, however little memory is free
DISTANCE_UNTIL = 0.5  # progress at which the distance loss has faded out
MOST_DRAWN = 2**62  # rays, by all steps

ModelMaker = Callable[[Settings, SceneBox, Tensor], RadianceModel]


@dataclass
class RayArrays:
    """What each of a step's rays was and did; an engine that is given such writes the first n_rays of each."""

    pixel: Tensor  # (R,) int64, (frame * height + row) * width + column
    error: Tensor  # (R,) float32, photometric, mean over channels, before it is weighted

    def need(self, n_rays: int) -> None:
        """Makes room for so many rays."""
        if len(self.pixel) < n_rays:
            self.pixel = torch.zeros(n_rays, dtype=torch.int64)
            self.error = torch.zeros(n_rays)


@dataclass
class TrainingArrays:
    """What an engine learns from, and what it keeps from step to step; all tensors are changed in place."""

    settings: Settings
    pixels: PixelSampler  # the pictures and the pixels to draw
    camera_optimizer: CameraOptimizer  # poses and exposures that are learned, and room for their gradients
    moments: dict[str, dict[str, Tensor]]  # Adam's, by MOMENTS and by parameter
    near: float  # scene units; gradients of samples nearer to their camera fade; 0 for none
    by_ray: RayArrays | None = None  # what is asked of each ray
    rays_drawn: int = 0  # by all steps so far, where rays are numbered

    @property
    def views(self) -> Views:
        """The pictures, and their cameras as they are learned."""
        return self.pixels.views

    def tensors(self) -> list[Tensor]:
        """Returns the moments, which a checkpoint loads."""
        return [moment for moments in self.moments.values() for moment in moments.values()]


def pose_slack(settings: Settings) -> float:
    """Returns how far silhouettes may be out of place, of the longer side of a picture."""
    return POSE_SLACK if "refine" in (settings.capture.poses, settings.capture.lens) else 0.0


def resolved_settings(settings: Settings, views: Views) -> Settings:
    """Returns the settings with what they leave to the capture chosen: `render.steps`.

    Cameras that all face one way tell depth less finely than cameras all round: finer steps would learn its noise.
    """
    if settings.render.steps > 0:
        return settings
    steps = STEPS_ONE_WAY if forward_facing(views.cameras) else STEPS_AROUND
    return replace(settings, render=replace(settings.render, steps=steps))


def fading_near(settings: Settings, box: SceneBox) -> float:
    """Returns the distance from a camera, scene units, within which gradients fade; 0 for none.

    Raises:
        InputError: `train.fade_near` is set, but no distance of the cameras is known.
    """
    part = settings.train.fade_near
    if part <= 0:
        return 0.0
    if box.contraction is None:
        raise InputError(
            f"train.fade_near={part:g} is for photographs of a whole place; this scene has bounds or silhouettes: "
            "leave it 0"
        )
    return part * box.contraction.radius


class RadianceTask:
    """A model that learns, its weight average, its pixels, and what is learned of the pictures."""

    figure = "psnr"
    counted = "rays"

    def __init__(self, views: Views, settings: Settings, make_model: ModelMaker) -> None:
        """make_model: settings, scene box, cells that can hold matter -> a model with the engine that computes it."""
        self.settings = settings = resolved_settings(settings, views)
        self.make_model = make_model

        # Where the scene is, and the model in it.
        slack = pose_slack(settings)
        self.space = space = find_space(views, settings, slack)
        near = fading_near(settings, space.box)
        self.model = make_model(settings, space.box, space.hull)
        self.model.occupancy.occupied.copy_(space.occupied)
        self.parameters = dict(self.model.field.named_parameters())

        # What it learns from.
        self.camera_optimizer = CameraOptimizer(views, settings, space.box)
        self.views = self.camera_optimizer.views
        self.transients = Transients(views) if settings.capture.transients == "discount" else None
        weights = None if self.transients is None else self.transients.weights
        self.pixels = PixelSampler(self.views, slack, space.silhouettes, space.measured, weights)
        self.lens: LensRefinement | None = None
        if self.camera_optimizer.bends:
            self.lens = LensRefinement(self.pixels, self.camera_optimizer, space.box, settings.train.seed)
        self.moments = new_moments(self.parameters)
        self.arrays = TrainingArrays(settings, self.pixels, self.camera_optimizer, self.moments, near)
        if self.transients is not None:
            self.arrays.by_ray = RayArrays(torch.zeros(0, dtype=torch.int64), torch.zeros(0))
        self.model.learn_from(self.arrays)

        self.average = WeightAverage(self.parameters)
        self.steps_taken = 0
        self.samples_per_step = self._samples_that_fit()
        self.rays_per_step = self.samples_per_step // 8

    def _samples_that_fit(self) -> int:
        wanted = self.settings.train.samples
        most = self.model.engine().most_samples()
        if most is None or most >= wanted:
            return wanted
        fit = max(FEWEST_SAMPLES, most)
        say("memory", f"the free memory holds {fit} samples a step, not {wanted}")
        return fit

    def next_step(self, progress: float) -> TrainingStep:
        """Returns the next step as engines take it, `progress` in [0, 1] through the training."""
        return TrainingStep(
            number=self.steps_taken + 1,
            n_rays=self.rays_per_step,
            step_length=self.model.step_length(progress),
            levels=self.model.active_levels(progress),
            rate=learning_rate(self.settings.optimizer, progress),
            distance=self.settings.train.distance * max(0.0, 1 - progress / DISTANCE_UNTIL),
        )

    def train_step(self, step: int, progress: float) -> StepFigures:
        """Takes optimiser step number `step` (from 0), `progress` in [0, 1] through the training.

        Raises:
            InputError: the loss is not a finite number.
        """
        asked = self.next_step(progress)
        result = self.model.engine().step(asked)
        if not math.isfinite(result.loss):
            raise InputError(
                f"training diverged at step {step}: the loss is {result.loss}; train again with a lower "
                f"optimizer.learning_rate than {self.settings.optimizer.learning_rate:g}"
            )
        self.steps_taken += 1

        if self.average.due(self.steps_taken):
            self.model.copy_back()
            self.average.take(self.steps_taken)
        by_ray = self.arrays.by_ray
        if by_ray is not None and self.transients is not None:
            self.transients.observe(self.steps_taken, by_ray.pixel[: result.n_rays], by_ray.error[: result.n_rays])
        if self.camera_optimizer:
            self.camera_optimizer.descend(self.steps_taken, progress)
        if self.lens is not None and self.lens.due(progress):
            self.lens.step(self.model, progress)
        if step % self.settings.render.occupancy_every == self.settings.render.occupancy_every - 1:
            self._update_occupancy(step, asked)

        if result.n_rays < asked.n_rays:
            # Memory ran out: what did not fit once is not asked for again.
            self.samples_per_step = max(FEWEST_SAMPLES, self.samples_per_step * result.n_rays // asked.n_rays)
            self.rays_per_step = result.n_rays
        else:
            self.rays_per_step = adapted_rays(result.n_rays, result.samples, self.samples_per_step)
        return StepFigures(result.loss * self.pixels.part, result.n_rays, result.samples)

    def _update_occupancy(self, step: int, taken: TrainingStep) -> None:
        update = OccupancyUpdate(
            seed=self.settings.train.seed,
            number=step,
            step_length=taken.step_length,
            levels=taken.levels,
            prune=step >= self.settings.render.occupancy_from,
        )
        self.model.engine().update_occupancy(update)

    def averaged(self, model: RadianceModel | None = None) -> RadianceModel:
        """Returns what the training has given so far: a model of its own, at the weight average.

        model: one that this has returned before, to be brought up to date; a new one if None.
        """
        if model is None:
            model = self.make_model(self.settings, self.model.box, self.model.occupancy.hull)
        load_model_state(model, self.state())
        return model.eval()

    def state(self) -> dict[str, Tensor]:
        """Returns every tensor that training changes, by name; what a run renders, ``field.*``, is the average."""
        self.model.copy_back()
        portable = self.model.field.portable
        values = portable({name: parameter.detach() for name, parameter in self.parameters.items()})
        tensors = model_state(self.model)
        tensors |= {f"field.{name}": mean for name, mean in portable(self.average.mean).items()}
        tensors |= {f"adam.{name}.value": value for name, value in values.items()}
        tensors |= {f"adam.{name}.step": torch.tensor(float(self.steps_taken)) for name in values}
        for key in MOMENTS:
            tensors |= {f"adam.{name}.{key}": moment for name, moment in portable(self.moments[key]).items()}
        if self.transients is not None:
            tensors |= self.transients.state()
        if self.lens is not None:
            tensors |= self.lens.state()
        tensors |= self.camera_optimizer.state() | self.model.engine().state()
        return tensors | {"rays_per_step": torch.tensor(self.rays_per_step)}

    @torch.no_grad()
    def load_state(self, tensors: dict[str, Tensor]) -> None:
        """Takes over a state that `state` returned, exactly, whichever engine it was computed by.

        Raises:
            InputError: a tensor is missing, has another shape than the settings say, or its numbers are out of range.
        """
        load_model_state(self.model, tensors)
        shapes = {name: value.shape for name, value in self.model.field.portable(self.parameters).items()}

        def read(form: str, targets: Mapping[str, Tensor]) -> None:
            found = {name: checked(tensors, form.format(name), shape) for name, shape in shapes.items()}
            for name, value in self.model.field.own(found).items():
                targets[name].copy_(value)

        read("field.{}", self.average.mean)
        read("adam.{}.value", self.parameters)
        for key in MOMENTS:
            read(f"adam.{{}}.{key}", self.moments[key])
        self.camera_optimizer.load_state(tensors)
        if self.transients is not None:
            self.transients.load_state(tensors)
        if self.lens is not None:
            self.lens.load_state(tensors)
        if "rays_drawn" in tensors:
            checked_whole_number(tensors, "rays_drawn", 0, MOST_DRAWN)
        self.model.engine().load_state(tensors)
        self.steps_taken = checked_whole_number(tensors, f"adam.{next(iter(shapes))}.step", 0, MOST_STEPS)
        most_rays = max(MOST_RAYS, self.settings.train.samples // 8)
        self.rays_per_step = checked_whole_number(tensors, "rays_per_step", 1, most_rays)


def adapted_rays(rays: int, samples: int, wanted: int) -> int:
    """Returns the rays of the next step: moved, by at most a quarter, towards as many as give `wanted` samples."""
    factor = min(1.25, max(0.8, wanted / max(samples, 1)))
    return min(MOST_RAYS, max(FEWEST_RAYS, round(rays * factor)))
