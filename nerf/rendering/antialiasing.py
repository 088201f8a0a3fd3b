"""Pictures whose pixels are means: seen from afar or small, one ray a pixel falls on one leaf or beside it."""

from __future__ import annotations

from dataclasses import replace
from itertools import product

import torch
from torch import Tensor

from nerf.geometry.cameras import Cameras
from nerf.rendering.baked import BakedModel
from nerf.rendering.model import Picture, RadianceModel
from nerf.rendering.witnesses import Witnesses, thumbnails

MOST_RAYS = 4  # a pixel, each way: sixteen times the time
SIDE = 24  # pixels of the longer side of the pictures in which distances are measured


def averaged_picture(model: RadianceModel | BakedModel, cameras: Cameras, frame: int, rays: int) -> Picture:
    """Returns what one camera sees, each pixel being the mean of rays x rays evenly spread over it.

    The memory it takes is that of a few pictures, however many rays.
    """
    if rays == 1:
        return model.picture(cameras, frame)
    sums = [torch.zeros(())] * 3
    for row, column in product(range(rays), repeat=2):
        # To move the principal point one way is to move the rays in their pixels the other way.
        aside = (torch.tensor([column, row]) + 0.5) / rays - 0.5
        part = model.picture(replace(cameras, center=cameras.center - aside), frame)
        sums = [total + value for total, value in zip(sums, (part.rgb, part.opacity, part.depth))]
    return Picture(*(total / rays**2 for total in sums))


def rays_wanted(witnesses: Witnesses, training: Cameras, cameras: Cameras) -> Tensor:
    """Returns how many rays each way a pixel of each picture takes, (F,) int64 in 1 .. MOST_RAYS.

    As many as the pixel is wider, where it meets the surface, than pixels of the training pictures, which the field
    has details for. Both widths are medians over the pixels.

    Args:
        witnesses: what the cameras that were learned from see of the model.
        training: those cameras.
        cameras: F pictures to be rendered.
    """
    learned = _median(witnesses.views.distance) / training.focal.mean(dim=1).median()
    small = thumbnails(cameras, SIDE)
    seen = torch.stack([_median(witnesses.model.distances(small, frame)) for frame in range(len(small))])
    rays = seen / cameras.focal.mean(dim=1) / learned
    return rays.nan_to_num(1.0).round().clamp(1, MOST_RAYS).long()


def _median(distance: Tensor) -> Tensor:
    """Returns the median of what is finite; not a number where nothing is."""
    met = distance[distance.isfinite()]
    return met.median() if len(met) else torch.tensor(torch.nan)
