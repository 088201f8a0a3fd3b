"""The radiance task by the CUDA kernels: the native task, computed on a device."""

from __future__ import annotations

from torch import Tensor

from nerf.backends.cuda_arrays import TrainingArrays
from nerf.backends.cuda_model import CudaRadianceModel
from nerf.backends.native_task import NativeRadianceTask
from nerf.config import Settings
from nerf.engine.kernels import Launcher
from nerf.errors import InputError
from nerf.geometry.scene_box import SceneBox
from nerf.scenes import Views
from nerf.training.radiance import new_model
from nerf.training.trainer import StepReport

MEMORY_TAKEN = 0.8  # of what is free, at most
FEWEST_SAMPLES = 256


def cuda_model(
    settings: Settings, launcher: Launcher, box: SceneBox, hull: Tensor | None = None, code_size: int = 0
) -> CudaRadianceModel:
    """Returns the model that `new_model` returns, rendered by the kernels."""
    made = new_model(settings, box, hull, code_size)
    model = CudaRadianceModel(made.field, made.occupancy, made.box, made.settings)
    model.launcher = launcher
    return model


class CudaRadianceTask(NativeRadianceTask):
    """A model on a device, the pixels it learns from, and Adam's moments."""

    def __init__(self, views: Views, settings: Settings, launcher: Launcher) -> None:
        if settings.capture.poses == "refine" or settings.capture.exposure == "learn":
            raise InputError("capture.poses=refine, capture.exposure=learn: not on CUDA yet; train with --device cpu")
        self.launcher = launcher
        super().__init__(views, settings)
        self.model.lesson = TrainingArrays(views, self.pixels.candidates, self.moments)
        room = int(self.launcher.free_bytes() * MEMORY_TAKEN) // self.model.engine().bytes_per_sample()
        if room < self.samples_per_step:
            self.samples_per_step = max(FEWEST_SAMPLES, room)
            print(f"CUDA: the free memory holds {self.samples_per_step} samples a step, not {settings.train.samples}")
            self.rays_per_step = self.samples_per_step // 8

    def _new_model(self, box: SceneBox, hull: Tensor) -> CudaRadianceModel:
        return cuda_model(self.settings, self.launcher, box, hull)

    def train_step(self, step: int, progress: float) -> StepReport:
        asked = self.rays_per_step
        report = super().train_step(step, progress)
        self.model.device_is_ahead = True
        if report.rays < asked:
            # Memory ran out: what did not fit once is not asked for again.
            self.samples_per_step = max(FEWEST_SAMPLES, self.samples_per_step * report.rays // asked)
            self.rays_per_step = report.rays
        return report

    def _take_average(self) -> None:
        self.model.device_is_ahead = True
        self.model.copy_back()
        super()._take_average()

    def state(self) -> dict[str, Tensor]:
        self.model.copy_back()
        return super().state()

    def load_state(self, tensors: dict[str, Tensor]) -> None:
        self.model.device_is_ahead = False
        super().load_state(tensors)
