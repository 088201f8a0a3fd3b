"""The colour of a surface: what the training cameras see of it in the model, blended."""

from __future__ import annotations

import torch
from torch import Tensor

from nerf.meshing.volume import DepthViews, between, neighbours
from nerf.rendering.model import RadianceModel

BEHIND = 2.0  # steps that a place may lie behind what a camera sees, and still be seen by it
FACING = 2  # power of the cosine by which a camera counts: what it sees aslant is blurred, and gloss is worst there
LEAST_COSINE = 0.05  # more aslant, a camera sees rather what is beside the place
LEAST_OPACITY = 0.5  # of a pixel to have a colour, and of the pixels round a place to tell it
POINTS_AT_ONCE = 2**18


@torch.no_grad()
def seen_color(model: RadianceModel, views: DepthViews, point: Tensor, normal: Tensor, slack: float) -> Tensor:
    """Returns RGB (N, 3) in [0, 1] of surface points (N, 3): the mean of what cameras see of them.

    A camera counts as sharply as it sees the place: by its distance and its angle to the normal (N, 3). Where no camera
    sees a place, the colour is the field's, seen along the normal.

    Args:
        model: what is looked at.
        views: the cameras, and how far they see.
        point: world points.
        normal: unit vectors, outwards.
        slack: scene units that a point may lie behind the surface that is seen.
    """
    from tqdm import trange

    total, weight = torch.zeros(len(point), 3), torch.zeros(len(point))
    for frame in trange(len(views), desc="colours of the surface", unit="view"):
        picture = model.picture(views.cameras, frame)
        opaque = picture.opacity > LEAST_OPACITY
        rgb = torch.where(opaque[..., None], picture.rgb / picture.opacity.clamp(min=LEAST_OPACITY)[..., None], 0)
        layers = torch.cat([rgb, opaque[..., None].float()], dim=2).view(-1, 4)
        for start in range(0, len(point), POINTS_AT_ONCE):
            some = slice(start, start + POINTS_AT_ONCE)
            row, share, color = _seen_by(views, frame, point[some], normal[some], slack, layers)
            total[start + row] += share[:, None] * color
            weight[start + row] += share
    rgb, lost = total / weight[:, None], weight == 0
    rgb[lost] = model.color(point[lost], -normal[lost])
    return rgb.clamp(0, 1)


def _seen_by(
    views: DepthViews, frame: int, point: Tensor, normal: Tensor, slack: float, layers: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Returns which of points (N, 3) a camera sees (M,), how much it counts for them (M,), and the colours (M, 3).

    layers: (H * W, 4), the colours of its picture times its opaqueness, and that.
    """
    lens = views.cameras
    away = lens.world_from_camera[frame, :, 3] - point
    distance = away.norm(dim=1)
    cosine = (away * normal).sum(1) / distance
    row = (cosine > LEAST_COSINE).nonzero().squeeze(1)
    row = row[views.gaps(frame, point[row], slack).abs() < slack]
    around, part = neighbours(lens.project(frame, point[row])[0], lens.width, lens.height)
    rgb, opaque = between(layers[around], part).split([3, 1], dim=1)
    told = opaque[:, 0] > LEAST_OPACITY
    row = row[told]
    share = cosine[row] ** FACING * (lens.focal[frame, 0] / distance[row]).square()
    return row, share, rgb[told] / opaque[told]
