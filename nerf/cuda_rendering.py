"""A radiance field that CUDA kernels compute, on the device's own copies of the tensors of its torch modules."""

from __future__ import annotations

from torch import Tensor

from nerf.cuda_engine import CudaEngine
from nerf.cuda_tensors import Lesson
from nerf.engine.kernels import Launcher
from nerf.native_rendering import NativeRadianceModel
from nerf.rendering import cube_numbers


class CudaRadianceModel(NativeRadianceModel):
    """The same model on a launcher's device; its modules' tensors are what the device last gave back."""

    launcher: Launcher
    lesson: Lesson | None = None
    device_is_ahead = False

    def engine(self) -> CudaEngine:
        """Returns the device's engine; tensors that were changed here since are copied to it."""
        if self._engine is None or self._place() != self._seen[0]:
            self._engine = CudaEngine(self, self.launcher, self.lesson)
        elif self._versions() != self._seen[1]:
            self._engine.refresh()
        self._remember()
        return self._engine

    def copy_back(self) -> None:
        """Makes the modules' tensors what the device has."""
        if self.device_is_ahead:
            self._engine.copy_back()
            self.device_is_ahead = False
            self._remember()

    def density(self, point: Tensor) -> Tensor:
        self.copy_back()
        return super().density(point)

    def color(self, point: Tensor, direction: Tensor) -> Tensor:
        self.copy_back()
        return super().color(point, direction)

    def _place(self) -> tuple[object, ...]:
        return tuple(cube_numbers(self.cube).tolist())

    def _versions(self) -> tuple[int, ...]:
        moments = self.lesson.tensors() if self.lesson else []
        return tuple(t._version for t in [*self.field.parameters(), *self.occupancy.buffers(), *moments])

    def _remember(self) -> None:
        self._seen = (self._place(), self._versions())
