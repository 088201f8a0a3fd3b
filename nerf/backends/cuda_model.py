"""A radiance field that CUDA kernels compute, on the device's own copies of the tensors of its torch modules."""

from __future__ import annotations

from torch import Tensor

from nerf.backends.cuda_arrays import TrainingArrays
from nerf.backends.cuda_launches import CudaEngine
from nerf.backends.native_model import ChangeTracker, NativeRadianceModel
from nerf.engine.kernels import Launcher


class CudaRadianceModel(NativeRadianceModel):
    """The same model on a launcher's device; its modules' tensors are what the device last gave back."""

    launcher: Launcher
    lesson: TrainingArrays | None = None
    device_is_ahead = False

    def _new_engine(self) -> tuple[CudaEngine, ChangeTracker]:
        moments = self.lesson.tensors() if self.lesson else []
        return CudaEngine(self, self.launcher, self.lesson), ChangeTracker(self, moments)

    def copy_back(self) -> None:
        """Makes the modules' tensors what the device has."""
        if self.device_is_ahead:
            engine, watch = self._engine
            engine.copy_back()
            watch.remember()
            self.device_is_ahead = False

    def density(self, point: Tensor) -> Tensor:
        self.copy_back()
        return super().density(point)

    def color(self, point: Tensor, direction: Tensor) -> Tensor:
        self.copy_back()
        return super().color(point, direction)
