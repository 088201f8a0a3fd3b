"""The radiance task by the native engine: the same field, loss and occupancy rules, a whole step in one call."""

from __future__ import annotations

import ctypes
import math

import torch
from torch import Tensor

from nerf.backends.native_model import NativeRadianceModel, parameter_addresses
from nerf.capture.visual_hull import scene_space
from nerf.config import Settings
from nerf.engine.signatures import BACKGROUNDS, OccupancyCall, Parameters, Pixels, StepCall
from nerf.engine.tensors import address
from nerf.errors import InputError
from nerf.geometry.scene_box import SceneBox
from nerf.runs import checked
from nerf.scenes import Views
from nerf.training.camera_optimizer import CameraOptimizer
from nerf.training.pixel_sampler import PixelSampler
from nerf.training.radiance import (
    adapted_rays,
    averaged,
    fading_near,
    load_model_state,
    model_state,
    new_model,
    pose_slack,
    resolved_settings,
)
from nerf.training.trainer import StepReport
from nerf.training.weight_average import WeightAverage

SAMPLES_PER_TILE = 512
FEWEST_RAYS_PER_TILE = 16


def native_model(
    settings: Settings, box: SceneBox, hull: Tensor | None = None, code_size: int = 0
) -> NativeRadianceModel:
    """Returns the model that `new_model` returns, rendered by the engine."""
    model = new_model(settings, box, hull, code_size)
    return NativeRadianceModel(model.field, model.occupancy, model.box, model.settings)


class NativeRadianceTask:
    """A model that learns, the mean of its way, its pixels, what is learned of the pictures, and Adam's moments."""

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
        self.parameters = dict(self.model.field.named_parameters())
        self.moments = {
            key: {name: torch.zeros_like(parameter) for name, parameter in self.parameters.items()}
            for key in ("exp_avg", "exp_avg_sq")
        }
        self.average = WeightAverage(self.parameters)
        self.samples_per_step = settings.train.samples
        self.rays_per_step = self.samples_per_step // 8
        self.rays_drawn = self.steps_taken = 0
        self._sources = pixel_addresses(self.views, self.pixels)
        self._moments = {key: parameter_addresses(tensors) for key, tensors in self.moments.items()}

    def _new_model(self, box: SceneBox, hull: Tensor) -> NativeRadianceModel:
        return native_model(self.settings, box, hull)

    def step_call(self, progress: float, gradients: Parameters | None = None) -> StepCall:
        """Returns the next step as the engine takes it, or only its gradients into `gradients`."""
        settings, adam = self.settings, self.settings.optimizer
        rays_per_tile = round(self.rays_per_step * SAMPLES_PER_TILE / settings.train.samples)
        return StepCall(
            pixels=ctypes.pointer(self._sources),
            gradients=ctypes.pointer(gradients) if gradients is not None else None,
            first_moments=ctypes.pointer(self._moments["exp_avg"]),
            second_moments=ctypes.pointer(self._moments["exp_avg_sq"]),
            seed=settings.train.seed,
            first_ray=self.rays_drawn,
            number=self.steps_taken + 1,
            step_length=self.model.step_length(progress),
            rate=adam.learning_rate * adam.final_factor**progress,
            beta1=adam.beta1,
            beta2=adam.beta2,
            epsilon=adam.epsilon,
            distortion=settings.train.distortion,
            near=self.near,
            n_rays=self.rays_per_step,
            rays_per_tile=max(FEWEST_RAYS_PER_TILE, rays_per_tile),
            levels=self.model.active_levels(progress),
            background=BACKGROUNDS[settings.train.background],
            threads=torch.get_num_threads(),
            colors=address(self.camera_optimizer.colors) if self.camera_optimizer.exposes else None,
            view_gradients=address(self.camera_optimizer.gradients) if self.camera_optimizer else None,
            n_views=len(self.views),
            turns=self.camera_optimizer.refines,
        )

    def train_step(self, step: int, progress: float) -> StepReport:
        """Takes optimiser step number `step` (from 0), `progress` in [0, 1] through the training.

        Raises:
            InputError: the loss is not a finite number.
        """
        settings, call = self.settings, self.step_call(progress)
        report = self.model.engine().step(call)
        if not math.isfinite(report.loss):
            raise InputError(
                f"training diverged at step {step}: the loss is {report.loss}; train again with a lower "
                f"optimizer.learning_rate than {settings.optimizer.learning_rate:g}"
            )
        self.steps_taken += 1
        self.rays_drawn += call.n_rays
        if self.average.due(self.steps_taken):
            self._take_average()
        if self.camera_optimizer:
            self.camera_optimizer.descend(self.steps_taken, progress)
        if step % settings.render.occupancy_every == settings.render.occupancy_every - 1:
            self._update_occupancy(step, progress)
        self.rays_per_step = adapted_rays(call.n_rays, report.samples, self.samples_per_step)
        return StepReport(report.loss * self.pixels.part, call.n_rays, report.samples)

    def _take_average(self) -> None:
        self.average.take(self.steps_taken)

    def _update_occupancy(self, step: int, progress: float) -> None:
        call = OccupancyCall(
            seed=self.settings.train.seed,
            number=step,
            step_length=self.model.step_length(progress) / self.model.box.side,
            levels=self.model.active_levels(progress),
            prune=step >= self.settings.render.occupancy_from,
            threads=torch.get_num_threads(),
        )
        self.model.engine().update_occupancy(call)

    def averaged(self) -> NativeRadianceModel:
        """Returns what the training has given so far, see `RadianceTask.averaged`."""
        return averaged(self._new_model(self.model.box, self.model.occupancy.hull), self.state())

    def state(self) -> dict[str, Tensor]:
        """Returns every tensor that training changes, by the names that the reference backend uses."""
        tensors = model_state(self.model) | self.average.state()
        for name in self.parameters:
            tensors[f"adam.{name}.step"] = torch.tensor(float(self.steps_taken))
            tensors |= {f"adam.{name}.{key}": moments[name] for key, moments in self.moments.items()}
        return (
            tensors
            | self.camera_optimizer.state()
            | {
                "rays_per_step": torch.tensor(self.rays_per_step),
                "rays_drawn": torch.tensor(self.rays_drawn),
            }
        )

    def load_state(self, tensors: dict[str, Tensor]) -> None:
        """Takes over a state that `state` returned, exactly; the reference backend's has drawn no rays in our order."""
        load_model_state(self.model, tensors)
        self.average.load_state(tensors)
        self.camera_optimizer.load_state(tensors)
        for key, moments in self.moments.items():
            for name, moment in moments.items():
                moment.copy_(checked(tensors, f"adam.{name}.{key}", moment.shape))
        number = torch.Size([])
        self.steps_taken = int(checked(tensors, f"adam.{next(iter(self.parameters))}.step", number))
        self.rays_per_step = int(checked(tensors, "rays_per_step", number))
        self.rays_drawn = int(tensors.get("rays_drawn", 0))


def pixel_addresses(views: Views, sampler: PixelSampler) -> Pixels:
    """Returns where the engine finds the pictures, their cameras and the pixels to draw; `views` must stay alive."""
    cameras, images = views.cameras, views.images
    return Pixels(
        images=address(images, images.dtype),
        candidates=address(sampler.candidates, torch.int64),
        poses=address(cameras.world_from_camera),
        focal=address(cameras.focal),
        center=address(cameras.center),
        lens=None if cameras.pinhole else address(cameras.lens),
        n_candidates=len(sampler.candidates),
        width=cameras.width,
        height=cameras.height,
        channels=images.shape[-1],
        bytes=images.element_size(),
        white=views.white,
    )
