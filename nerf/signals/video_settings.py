"""The settings of `nerf fit video`."""

from __future__ import annotations

from dataclasses import dataclass

from nerf.config import setting


@dataclass(frozen=True)
class VideoSettings:
    """How a film is fitted."""

    frames: int = setting(0, "fit the first so many frames; 0 = all", 0)
