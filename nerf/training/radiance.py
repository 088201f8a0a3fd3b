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
from nerf.geometry.scene_box import SceneBox
from nerf.rendering.losses import photometric_loss
from nerf.rendering.model import RadianceModel, box_numbers, box_of_numbers
from nerf.rendering.occupancy import OccupancyGrid
from nerf.runs import checked
from nerf.scenes import Views
from nerf.seeding import generator
from nerf.training.adam import Adam
from nerf.training.camera_optimizer import POSE_SLACK, CameraOptimizer, apply_exposure, perturbed_rays
from nerf.training.pixel_sampler import PixelSampler
from nerf.training.trainer import StepReport
from nerf.training.weight_average import WeightAverage

FEWEST_RAYS, MOST_RAYS = 256, 65536  # a step


def new_model(settings: Settings, box: SceneBox, hull: Tensor | None = None, code_size: int = 0) -> RadianceModel:
    """Returns a model with its first parameters, drawn from the seed. hull: (G, G, G) bool; all cells if None.

    Raises:
        InputError: the settings leave `render.steps` to a capture, see `resolved_settings`.
    """
    if settings.render.steps == 0:
        raise InputError("render.steps is 0, which only a capture's cameras decide; give a number")
    field = RadianceField(settings.field, generator(settings.train.seed, "parameters"), code_size)
    if hull is None:
        hull = torch.ones((settings.render.occupancy_resolution,) * 3, dtype=torch.bool)
    return RadianceModel(field, OccupancyGrid(hull), box, settings.render)


def pose_slack(settings: Settings) -> float:
    """Returns how far silhouettes may be out of place, of the longer side of a picture."""
    return POSE_SLACK if settings.capture.poses == "refine" else 0.0


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
    if part > 0 and box.contraction is None:
        raise InputError(
            f"train.fade_near={part:g} is for photographs of a whole place; this scene has bounds or silhouettes: "
            "leave it 0"
        )
    return part * box.contraction.radius if part > 0 else 0.0


class RadianceTask:
    """A model that learns, the mean of its way, its pixels, what is learned of the pictures, and its optimiser."""

    figure, counted = "psnr", "rays"

    def __init__(self, views: Views, settings: Settings) -> None:
        self.settings = settings = resolved_settings(settings, views)
        slack = pose_slack(settings)
        box, hull = scene_space(views, settings.scene.bounds, settings.render.occupancy_resolution, slack)
        self.near = fading_near(settings, box)
        self.model = self._new_model(box, hull)
        self.camera_optimizer = CameraOptimizer(views, settings, box)
        self.views = self.camera_optimizer.views
        self.pixels = PixelSampler(self.views, slack)
        self.descent = Adam(dict(self.model.field.named_parameters()), settings.optimizer)
        self.average = WeightAverage(self.descent.parameters)
        self.rays_per_step = settings.train.samples // 8

    def _new_model(self, box: SceneBox, hull: Tensor) -> RadianceModel:
        return new_model(self.settings, box, hull)

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
        change, color = torch.zeros(len(self.views), 6, requires_grad=True), self.camera_optimizer.colors.clone()
        here = perturbed_rays(rays, *change[frame].split(3, dim=1)) if self.camera_optimizer.refines else rays
        rendering, position, density = model.shade(here, samples, near=self.near)
        if self.camera_optimizer.exposes:
            rendering = apply_exposure(rendering, color.requires_grad_()[frame], target)
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
        if self.camera_optimizer:
            for part, tensor in zip(self.camera_optimizer.gradients.split(6, dim=1), (change, color)):
                part.copy_(torch.zeros_like(tensor) if tensor.grad is None else tensor.grad)
            self.camera_optimizer.descend(step + 1, progress)
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
            model.step_length(progress) / model.box.side,
            step >= self.settings.render.occupancy_from,
            random,
        )

    def averaged(self) -> RadianceModel:
        """Returns what the training has given so far: a model of its own, at the mean of the parameters."""
        return averaged(self._new_model(self.model.box, self.model.occupancy.hull), self.state())

    def state(self) -> dict[str, Tensor]:
        """Returns every tensor that training changes, by name; what a run renders, ``field.*``, is the mean."""
        tensors = model_state(self.model) | self.descent.state() | self.average.state() | self.camera_optimizer.state()
        return tensors | {"rays_per_step": torch.tensor(self.rays_per_step)}

    def load_state(self, tensors: dict[str, Tensor]) -> None:
        """Takes over a state that `state` returned, exactly."""
        load_model_state(self.model, tensors)
        self.camera_optimizer.load_state(tensors)
        self.descent.load_state(tensors)
        self.average.load_state(tensors)
        self.rays_per_step = int(checked(tensors, "rays_per_step", torch.Size([])))


def adapted_rays(rays: int, samples: int, wanted: int) -> int:
    """Returns the rays of the next step: moved, by at most a quarter, towards as many as give `wanted` samples."""
    factor = min(1.25, max(0.8, wanted / max(samples, 1)))
    return min(MOST_RAYS, max(FEWEST_RAYS, round(rays * factor)))


def model_state(model: RadianceModel) -> dict[str, Tensor]:
    """Returns the tensors of a model by name: ``field.*``, ``occupancy.*`` and ``cube``."""
    return {**{name: value.detach() for name, value in model.state_dict().items()}, "cube": box_numbers(model.box)}


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
    model.box = box_of_numbers(checked(tensors, "cube", torch.Size([9 if contracted else 4])))


def averaged(model: RadianceModel, tensors: dict[str, Tensor]) -> RadianceModel:
    """Returns a model with the tensors that a task's `state` returned."""
    load_model_state(model, tensors)
    return model.eval()
