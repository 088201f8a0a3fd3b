"""The colour of a surface: what the training cameras see of it in the model, blended."""

from __future__ import annotations

import torch
from torch import Tensor

from nerf.rendering.depth_views import DepthViews, grown, interpolated, surrounding_pixels
from nerf.rendering.model import RadianceModel
from nerf.report import progress

BEHIND = 2.0  # steps that a point may lie behind what a camera sees, and still be seen by it
FACING = 2  # power of the cosine by which a camera counts: what it sees aslant is blurred, and gloss is worst there
LEAST_COSINE = 0.05  # a camera that sees a point more aslant than this sees what is beside it rather
LEAST_OPACITY = 0.5  # of a pixel to have a colour, and of the pixels round a point to tell it
POINTS_AT_ONCE = 2**18


@torch.no_grad()
def seen_color(model: RadianceModel, views: DepthViews, point: Tensor, normal: Tensor, slack: float) -> Tensor:
    """Returns RGB (N, 3) in [0, 1] of surface points (N, 3): the mean of what cameras see of them.

    A camera counts as sharply as it sees the point: by its distance and its angle to the normal (N, 3). Where no camera
    sees a point, the colour is the field's, seen along the normal.

    Args:
        model: what is looked at.
        views: the cameras, and how far they see.
        point: world points.
        normal: unit vectors, outwards.
        slack: scene units that a point may lie behind the surface that is seen.
    """
    total = torch.zeros(len(point), 3)
    weight = torch.zeros(len(point))
    for frame in progress(range(len(views)), title="colours of the surface", unit="view"):
        layers = _opaque_colors(model, views, frame)
        for start in range(0, len(point), POINTS_AT_ONCE):
            some = slice(start, start + POINTS_AT_ONCE)
            row, share, color = _seen_by(views, frame, point[some], normal[some], slack, layers)
            total[start + row] += share[:, None] * color
            weight[start + row] += share

    rgb = total / weight[:, None]
    unseen = weight == 0
    rgb[unseen] = model.color(point[unseen], -normal[unseen])
    return rgb.clamp(0, 1)


def _opaque_colors(model: RadianceModel, views: DepthViews, frame: int) -> Tensor:
    """Returns (H * W, 4) of one camera's picture: the colours of its opaque pixels, else 0, and whether they are.

    Where the camera sees no surface there are none.
    """
    picture = model.picture(views.cameras, frame, grown(views.distance[frame].isfinite()))
    opaque = picture.opacity > LEAST_OPACITY
    rgb = torch.where(opaque[..., None], picture.rgb / picture.opacity.clamp(min=LEAST_OPACITY)[..., None], 0)
    return torch.cat([rgb, opaque[..., None].float()], dim=2).view(-1, 4)


def _seen_by(
    views: DepthViews, frame: int, point: Tensor, normal: Tensor, slack: float, layers: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Returns which of points (N, 3) a camera sees (M,), how much it counts for them (M,), and the colours (M, 3).

    layers: (H * W, 4), see `_opaque_colors`.
    """
    cameras = views.cameras
    towards = cameras.world_from_camera[frame, :, 3] - point
    distance = towards.norm(dim=1)
    cosine = (towards * normal).sum(1) / distance

    # The points that face the camera, and that nothing hides from it.
    row = (cosine > LEAST_COSINE).nonzero().squeeze(1)
    row = row[views.gaps(frame, point[row], slack).abs() < slack]

    # Their colours, where enough of the pixels round them are opaque.
    pixels, part = surrounding_pixels(cameras.project(frame, point[row])[0], cameras.width, cameras.height)
    rgb, opaque = interpolated(layers[pixels], part).split([3, 1], dim=1)
    colored = opaque[:, 0] > LEAST_OPACITY
    row = row[colored]

    share = cosine[row] ** FACING * (cameras.focal[frame, 0] / distance[row]).square()
    return row, share, rgb[colored] / opaque[colored]
