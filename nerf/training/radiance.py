"""The radiance task: posed pictures -> a radiance field. Plain torch: the reference backend."""

from __future__ import annotations

import math
from dataclasses import replace

import torch
from torch import Tensor

from nerf.capture.visual_hull import scene_space
from nerf.config import STEPS_AROUND, STEPS_ONE_WAY, Settings
from nerf.errors import InputError
from nerf.fields.radiance import RadianceField
from nerf.geometry.camera_rig import forward_facing
from nerf.geometry.scene_box import Cube
from nerf.rendering.losses import photometric_loss
from nerf.rendering.model import RadianceModel, cube_numbers, cube_of_numbers
from nerf.rendering.occupancy import OccupancyGrid
from nerf.runs import checked
from nerf.scenes import Views
from nerf.seeding import generator
from nerf.training.adam import Descent
from nerf.training.camera_optimizer import POSE_SLACK, Adjustments, shown, turned
from nerf.training.pixel_sampler import PixelSampler
from nerf.training.trainer import StepReport
from nerf.training.weight_average import Average

FEWEST_RAYS, MOST_RAYS = 256, 65536  # a step


def new_model(settings: Settings, cube: Cube, hull: Tensor | None = None, code_size: int = 0) -> RadianceModel:
    """Returns a model with its first parameters, drawn from the seed. hull: (G, G, G) bool; all cells if None.

    Raises:
        InputError: the settings leave `render.steps` to a capture, see `suited`.
    """
    if settings.render.steps == 0:
        raise InputError("render.steps is 0, which only a capture's cameras decide; give a number")
    field = RadianceField(settings.field, generator(settings.train.seed, "parameters"), code_size)
    if hull is None:
        hull = torch.ones((settings.render.occupancy_resolution,) * 3, dtype=torch.bool)
    return RadianceModel(field, OccupancyGrid(hull), cube, settings.render)


def pose_slack(settings: Settings) -> float:
    """Returns how far silhouettes may be out of place, of the longer side of a picture."""
    return POSE_SLACK if settings.capture.poses == "refine" else 0.0


def suited(settings: Settings, views: Views) -> Settings:
    """Returns the settings with what they leave to the capture chosen: `render.steps`.

    Cameras that all face one way tell depth less finely than cameras all round: finer steps would learn its noise.
    """
    if settings.render.steps > 0:
        return settings
    steps = STEPS_ONE_WAY if forward_facing(views.cameras) else STEPS_AROUND
    return replace(settings, render=replace(settings.render, steps=steps))


def fading_near(settings: Settings, cube: Cube) -> float:
    """Returns the distance from a camera, scene units, within which gradients fade; 0 for none.

    Raises:
        InputError: `train.fade_near` is set, but no distance of the cameras is known.
    """
    part = settings.train.fade_near
    if part > 0 and cube.contraction is None:
        raise InputError(
            f"train.fade_near={part:g} is for photographs of a whole place; this scene has bounds or silhouettes: "
            "leave it 0"
        )
    return part * cube.contraction.radius if part > 0 else 0.0


class RadianceTask:
    """A model that learns, the mean of its way, its pixels, what is learned of the pictures, and its optimiser."""

    figure, counted = "psnr", "rays"

    def __init__(self, views: Views, settings: Settings) -> None:
        self.settings = settings = suited(settings, views)
        slack = pose_slack(settings)
        cube, hull = scene_space(views, settings.scene.bounds, settings.render.occupancy_resolution, slack)
        self.near = fading_near(settings, cube)
        self.model = self._new_model(cube, hull)
        self.adjustments = Adjustments(views, settings, cube)
        self.views = self.adjustments.views
        self.pixels = PixelSampler(self.views, slack)
        self.descent = Descent(dict(self.model.field.named_parameters()), settings.optimizer)
        self.average = Average(self.descent.parameters)
        self.rays_per_step = settings.train.samples // 8

    def _new_model(self, cube: Cube, hull: Tensor) -> RadianceModel:
        return new_model(self.settings, cube, hull)

    def train_step(self, step: int, progress: float) -> StepReport:
        """Takes optimiser step number `step` (from 0), `progress` in [0, 1] through the training.

        Raises:
            InputError: the loss is not a finite number.
        """
        with self.model.field.encoding.coarsest(self.model.active_levels(progress)):
            return self._train_step(step, progress)

    def _train_step(self, step: int, progress: float) -> StepReport:
        settings, model = self.settings, self.model
        random = generator(settings.train.seed, "step", step)
        frame, rays, target = self.pixels.draw(self.rays_per_step, random)
        offset = torch.rand(len(rays), generator=random)
        samples = model.samples(rays, model.step_length(progress), offset)
        change, color = torch.zeros(len(self.views), 6, requires_grad=True), self.adjustments.colors.clone()
        here = turned(rays, *change[frame].split(3, dim=1)) if self.adjustments.refines else rays
        rendering, position, density = model.shade(here, samples, near=self.near)
        if self.adjustments.exposes:
            rendering = shown(rendering, color.requires_grad_()[frame], target)
        loss = photometric_loss(rendering, target, settings.train.background)
        error = loss.item()
        if settings.train.distortion > 0:
            loss = loss + settings.train.distortion * model.distortion(rays, samples, density)
        if not math.isfinite(error):
            raise InputError(
                f"training diverged at step {step}: the loss is {error}; train again with a lower "
                f"optimizer.learning_rate than {settings.optimizer.learning_rate:g}"
            )
        self.descent.descend(loss, progress)
        if self.average.due(step + 1):
            self.average.take(step + 1)
        if self.adjustments:
            for part, tensor in zip(self.adjustments.gradients.split(6, dim=1), (change, color)):
                part.copy_(torch.zeros_like(tensor) if tensor.grad is None else tensor.grad)
            self.adjustments.descend(step + 1, progress)
        model.occupancy.observe(position.detach(), density.detach())
        if step % settings.render.occupancy_every == settings.render.occupancy_every - 1:
            self._update_occupancy(step, progress, random)
        report = StepReport(error * self.pixels.part, len(rays), len(samples))
        self.rays_per_step = adapted_rays(self.rays_per_step, len(samples), settings.train.samples)
        return report

    @torch.no_grad()
    def _update_occupancy(self, step: int, progress: float, random: torch.Generator) -> None:
        model = self.model
        model.occupancy.update(
            lambda position: model.field.density(position)[0],
            model.step_length(progress) / model.cube.side,
            step >= self.settings.render.occupancy_from,
            random,
        )

    def averaged(self) -> RadianceModel:
        """Returns what the training has given so far: a model of its own, at the mean of the parameters."""
        return averaged(self._new_model(self.model.cube, self.model.occupancy.hull), self.state())

    def state(self) -> dict[str, Tensor]:
        """Returns every tensor that training changes, by name; what a run renders, ``field.*``, is the mean."""
        tensors = model_state(self.model) | self.descent.state() | self.average.state() | self.adjustments.state()
        return tensors | {"rays_per_step": torch.tensor(self.rays_per_step)}

    def load_state(self, tensors: dict[str, Tensor]) -> None:
        """Takes over a state that `state` returned, exactly."""
        load_model_state(self.model, tensors)
        self.adjustments.load_state(tensors)
        self.descent.load_state(tensors)
        self.average.load_state(tensors)
        self.rays_per_step = int(checked(tensors, "rays_per_step", torch.Size([])))


def adapted_rays(rays: int, samples: int, wanted: int) -> int:
    """Returns the rays of the next step: moved, by at most a quarter, towards as many as give `wanted` samples."""
    factor = min(1.25, max(0.8, wanted / max(samples, 1)))
    return min(MOST_RAYS, max(FEWEST_RAYS, round(rays * factor)))


def model_state(model: RadianceModel) -> dict[str, Tensor]:
    """Returns the tensors of a model by name: ``field.*``, ``occupancy.*`` and ``cube``."""
    return {**{name: value.detach() for name, value in model.state_dict().items()}, "cube": cube_numbers(model.cube)}


def load_model_state(model: RadianceModel, tensors: dict[str, Tensor]) -> None:
    """Takes over the tensors of a model, exactly.

    Raises:
        InputError: a tensor is missing, has another shape than the settings say, or is not finite.
    """
    found = {name: checked(tensors, name, value.shape) for name, value in model.state_dict().items()}
    model.field.load_tensors({name.removeprefix("field."): value for name, value in found.items()})
    for name, value in model.occupancy.named_buffers():
        value.copy_(found[f"occupancy.{name}"])
    contracted = tensors.get("cube", torch.empty(0)).shape == (9,)
    model.cube = cube_of_numbers(checked(tensors, "cube", torch.Size([9 if contracted else 4])))


def averaged(model: RadianceModel, tensors: dict[str, Tensor]) -> RadianceModel:
    """Returns a model with the tensors that a task's `state` returned."""
    load_model_state(model, tensors)
    return model.eval()
