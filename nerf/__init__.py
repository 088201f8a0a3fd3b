"""nerf: 3D reconstruction from posed photographs with implicit neural representations.

What an application needs is here, and is loaded when it is first used; docs/python-api.md shows it at work.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from nerf.api import (
        CropBox,
        ExportRequest,
        FilmRequest,
        InputError,
        Observer,
        SurfaceRequest,
        evaluate,
        export,
        fit,
        listen,
        load_scene,
        open_fit,
        open_run,
        render,
        silence,
        train,
    )

__version__ = "0.1.0"

__all__ = [
    "CropBox",
    "ExportRequest",
    "FilmRequest",
    "InputError",
    "Observer",
    "SurfaceRequest",
    "evaluate",
    "export",
    "fit",
    "listen",
    "load_scene",
    "open_fit",
    "open_run",
    "render",
    "silence",
    "train",
]


def __getattr__(name: str) -> Any:
    if name in __all__:
        from nerf import api

        return getattr(api, name)
    raise AttributeError(f"module 'nerf' has no attribute {name!r}")


def __dir__() -> list[str]:
    return [*globals(), *__all__]
