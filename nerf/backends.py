"""Which code computes the field: chosen once, printed, never substituted silently."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from nerf.errors import InputError

if TYPE_CHECKING:
    from torch import Tensor

    from nerf.config import Settings
    from nerf.ops.march import Cube
    from nerf.rendering import RadianceModel
    from nerf.scenes import Views
    from nerf.tasks.radiance import RadianceTask

BACKENDS = ("auto", "native", "cuda", "tcnn", "reference")
DEVICES = ("auto", "cpu", "cuda")


@dataclass(frozen=True)
class Backend:
    """name: native or reference. detail: what it runs on, and why it was taken."""

    name: str
    detail: str

    def task(self, views: Views, settings: Settings) -> RadianceTask:
        """Returns the training task that this backend computes."""
        if self.name == "native":
            from nerf.tasks.native import NativeRadianceTask

            return NativeRadianceTask(views, settings)
        from nerf.tasks.radiance import RadianceTask

        return RadianceTask(views, settings)

    def model(self, settings: Settings, cube: Cube, hull: Tensor | None = None) -> RadianceModel:
        """Returns a new model that this backend renders."""
        if self.name == "native":
            from nerf.tasks.native import native_model

            return native_model(settings, cube, hull)
        from nerf.tasks.radiance import new_model

        return new_model(settings, cube, hull)


def choose_backend(backend: str = "auto", device: str = "auto") -> Backend:
    """Returns the backend that will compute, for what the user asked.

    ``auto`` takes the native engine, or the reference where the engine was not built.

    Raises:
        InputError: what was asked for is not here.
    """
    if device == "cuda":
        raise InputError("--device cuda: no CUDA backend in this version; use --device cpu")
    if backend in ("cuda", "tcnn"):
        raise InputError(f"--backend {backend}: is not part of this version; use --backend native")
    if backend == "reference":
        return Backend("reference", "plain torch on the CPU")
    from nerf.engine import available, library

    if backend == "auto" and not available():
        return Backend("reference", "plain torch on the CPU; the native engine was not built: it needs a C++ compiler")
    return Backend("native", f"{library().name} on the CPU")
