"""Alpha and backgrounds. Colours are display colours (sRGB as stored), straight alpha, in [0, 1]."""

from __future__ import annotations

import torch
from torch import Tensor

BACKGROUNDS = {"white": 1.0, "black": 0.0}


def over(pixels: Tensor, background: str) -> Tensor:
    """Returns RGB (..., 3) of pixels (..., 3 or 4) with straight alpha laid over ``white`` or ``black``."""
    if pixels.shape[-1] == 3:
        return pixels
    rgb = pixels[..., :3]
    alpha = pixels[..., 3:]
    return rgb * alpha + (1 - alpha) * BACKGROUNDS[background]


def linear(rgb: Tensor) -> Tensor:
    """Returns linear light of display colours, both in [0, 1]. Source: IEC 61966-2-1, sRGB."""
    return torch.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)


def to_bytes(rgb: Tensor) -> Tensor:
    """Returns uint8 colours of float colours in [0, 1], rounded to nearest."""
    return (rgb.clamp(0, 1) * 255 + 0.5).to(torch.uint8)
