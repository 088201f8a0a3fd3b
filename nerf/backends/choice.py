"""Which code computes the field: chosen once, printed, never substituted silently."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from nerf.errors import InputError

if TYPE_CHECKING:
    from torch import Tensor

    from nerf.config import Settings
    from nerf.geometry.scene_box import SceneBox
    from nerf.rendering.model import RadianceModel
    from nerf.scenes import Views
    from nerf.training.radiance import RadianceTask

BACKENDS = ("auto", "native", "cuda", "tcnn", "reference")
DEVICES = ("auto", "cpu", "cuda")


@dataclass(frozen=True)
class Backend:
    """name: native, cuda, tcnn or reference. detail: what it runs on, and why it was taken."""

    name: str
    detail: str

    def task(self, views: Views, settings: Settings) -> RadianceTask:
        """Returns the training task that this backend computes."""
        if self.name == "cuda":
            from nerf.backends.cuda_task import CudaRadianceTask
            from nerf.engine.driver import DriverLauncher

            return CudaRadianceTask(views, settings, DriverLauncher(settings.field.features_per_level))
        if self.name == "native":
            from nerf.backends.native_task import NativeRadianceTask as Task
        elif self.name == "tcnn":
            from nerf.backends.tcnn_task import TcnnRadianceTask as Task
        else:
            from nerf.training.radiance import RadianceTask as Task
        return Task(views, settings)

    def model(self, settings: Settings, box: SceneBox, hull: Tensor | None = None) -> RadianceModel:
        """Returns a new model that this backend renders."""
        if self.name == "cuda":
            from nerf.backends.cuda_task import cuda_model
            from nerf.engine.driver import DriverLauncher

            return cuda_model(settings, DriverLauncher(settings.field.features_per_level), box, hull)
        if self.name == "native":
            from nerf.backends.native_task import native_model as model
        elif self.name == "tcnn":
            from nerf.backends.tcnn_task import tcnn_model as model
        else:
            from nerf.training.radiance import new_model as model
        return model(settings, box, hull)


def choose_backend(backend: str = "auto", device: str = "auto") -> Backend:
    """Returns the backend that will compute, for what the user asked.

    ``auto`` takes the CUDA kernels where there is a GPU and their compiler, else the native engine, else the reference
    where the engine was not built.

    Raises:
        InputError: what was asked for is not here.
    """
    from nerf.engine import available, library
    from nerf.engine.driver import why_no_gpu

    if device == "cpu" and backend in ("cuda", "tcnn"):
        raise InputError(f"--device cpu: --backend {backend} computes on a GPU; use --device auto")
    if device == "cuda" and backend in ("native", "reference"):
        raise InputError(f"--device cuda: --backend {backend} computes on the CPU; use --backend cuda")
    missing = "it was asked to compute on the CPU" if device == "cpu" else why_not_cuda()
    if backend == "cuda" or (backend == "auto" and (device == "cuda" or not missing)):
        if missing:
            asked = "--backend cuda" if backend == "cuda" else "--device cuda"
            raise InputError(f"{asked}: {missing}; --backend native computes on the CPU")
        return Backend("cuda", f"kernels on {gpu_name()}")
    if backend == "tcnn":
        from nerf.backends.tcnn_field import load_tinycudann

        load_tinycudann()
        if why_no_gpu():
            raise InputError(f"--backend tcnn: {why_no_gpu()}; --backend native computes on the CPU")
        return Backend("tcnn", f"tiny-cuda-nn on {gpu_name()}; marching and compositing in plain torch")
    if backend == "reference":
        return Backend("reference", "plain torch on the CPU")
    # Who has no GPU need not read how to set one up.
    why = "" if backend == "native" or why_no_gpu() else f"; {missing}"
    if backend == "auto" and not available():
        return Backend(
            "reference", f"plain torch on the CPU; the native engine was not built: it needs a C++ compiler{why}"
        )
    return Backend("native", f"{library().name} on the CPU{why}")


def why_not_cuda() -> str:
    """Returns why the CUDA kernels cannot compute here, or an empty text where they can."""
    from nerf.engine import nvrtc
    from nerf.engine.driver import why_no_gpu

    if why_no_gpu():
        return why_no_gpu()
    return "" if nvrtc.available() else f"a GPU is here, but not the compiler NVRTC: {nvrtc.HOW}"


def gpu_name() -> str:
    """Returns the name of the GPU that torch has current."""
    import torch

    return torch.cuda.get_device_name()
