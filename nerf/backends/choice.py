"""Which code computes the field: chosen once, printed, never substituted silently."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from nerf.errors import InputError

if TYPE_CHECKING:
    from torch import Tensor

    from nerf.config import Settings
    from nerf.fields.table import FieldMaker
    from nerf.geometry.scene_box import SceneBox
    from nerf.rendering.model import RadianceModel
    from nerf.rendering.radiance_engine import EngineMaker
    from nerf.scenes import Views
    from nerf.training.radiance import RadianceTask

BACKENDS = ("auto", "native", "cuda", "tcnn", "reference")
DEVICES = ("auto", "cpu", "cuda")


@dataclass(frozen=True)
class Backend:
    """What computes a model."""

    name: str  # native, cuda, tcnn or reference
    detail: str  # what it runs on, and why it was taken

    @property
    def bits(self) -> str:
        """What decides the bits of a training: the backend and, of the native engine, the instruction set."""
        from nerf.engine import library

        return f"{self.name} {library().name}" if self.name == "native" else self.name

    def refuses(self, settings: Settings, training: bool) -> str:
        """Returns in words what of the settings this backend does not compute, or an empty text.

        training: whether the model is to be trained, not only rendered.
        """
        kind = settings.field.kind
        if self.name != "reference" and kind != "hash":
            return f"field.kind={kind}: not on --backend {self.name}, which computes hash only; use --backend reference"
        capture = settings.capture
        learned = {"poses": "refine", "lens": "refine", "exposure": "learn", "transients": "discount"}
        asked = [f"capture.{name}={word}" for name, word in learned.items() if getattr(capture, name) == word]
        if training and self.name == "cuda" and asked:
            return f"{', '.join(asked)}: not on CUDA yet; train with --device cpu"
        return ""

    def task(self, views: Views, settings: Settings) -> RadianceTask:
        """Returns the training task that this backend computes.

        Raises:
            InputError: it does not compute what the settings ask for.
        """
        from nerf.training.radiance import RadianceTask

        self._check(settings, training=True)
        return RadianceTask(views, settings, self.model)

    def model(self, settings: Settings, box: SceneBox, hull: Tensor | None = None, code_size: int = 0) -> RadianceModel:
        """Returns a new model that this backend renders.

        Raises:
            InputError: it does not compute what the settings ask for.
        """
        from nerf.rendering.model import new_model

        self._check(settings, training=False)
        make_engine = ENGINES[self.name](settings)
        return new_model(settings, box, hull, code_size, make_engine=make_engine, make_field=self._field())

    def _check(self, settings: Settings, training: bool) -> None:
        if reason := self.refuses(settings, training):
            raise InputError(reason)

    def _field(self) -> FieldMaker:
        if self.name == "tcnn":
            from nerf.backends.tcnn import TcnnField

            return TcnnField
        from nerf.fields.table import new_field

        return new_field


def _reference(settings: Settings) -> EngineMaker:
    from nerf.backends.reference import ReferenceEngine

    return ReferenceEngine


def _native(settings: Settings) -> EngineMaker:
    from nerf.backends.native import NativeEngine

    return NativeEngine


def _cuda(settings: Settings) -> EngineMaker:
    from nerf.backends.cuda_engine import CudaEngine
    from nerf.engine.driver import DriverLauncher

    return partial(CudaEngine, launcher=DriverLauncher(settings.field.features_per_level))


# What computes on the tensors of a model. tiny-cuda-nn has modules, which plain torch marches through and composites.
ENGINES = {"reference": _reference, "native": _native, "cuda": _cuda, "tcnn": _reference}


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
        from nerf.backends.tcnn import load_tinycudann

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
