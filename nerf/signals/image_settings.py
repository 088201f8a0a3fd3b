"""The settings of `nerf fit image`."""

from __future__ import annotations

from dataclasses import dataclass

from nerf.config import setting


@dataclass(frozen=True)
class ImageSettings:
    """How a picture is fitted."""

    downscale: int = setting(1, "fit the picture box-averaged by this factor (super-resolution)", 1, 16)
    area: int = setting(1, "points along a pixel's side whose mean is its colour; 1 = its centre alone", 1, 8)
    mask: str = setting("", "picture, not black where pixels are known; the others are filled in")
