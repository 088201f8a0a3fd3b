"""Pictures to PNG files."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

from nerf.color import to_bytes
from nerf.files import replacing
from nerf.rendering.model import Picture


def write_rgb(file: Path, rgb: Tensor) -> None:
    """Writes a picture (H, W, 3), float in [0, 1], as 8-bit PNG."""
    from PIL import Image

    with replacing(file) as partial:
        Image.fromarray(to_bytes(rgb).numpy()).save(partial)


def write_depth(file: Path, picture: Picture, unit: float) -> None:
    """Writes distance along the ray as 16-bit PNG, `unit` scene units a count; 0 where opacity is below half."""
    from PIL import Image

    depth = torch.where(picture.opacity > 0.5, picture.depth / picture.opacity.clamp(min=0.5), 0.0)
    counts = (depth / unit).round().clamp(0, 65535).to(torch.int32).numpy().astype("uint16")
    with replacing(file) as partial:
        Image.fromarray(counts).save(partial)
