"""The colour of a surface: what the training cameras see of it in the model, blended."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from nerf.ops.sight import interpolated, surrounding_pixels
from nerf.rendering.depth_views import DepthViews, grown
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
    parts = [slice(start, start + POINTS_AT_ONCE) for start in range(0, len(point), POINTS_AT_ONCE)]
    for frame in progress(range(len(views)), title="colours of the surface", unit="view"):
        seen = [_seen_by(views, frame, point[some], normal[some], slack) for some in parts]
        layers = _opaque_colors(model, views, frame, [each.pixels for each in seen])
        for some, each in zip(parts, seen):
            row, share, color = each.colored(layers)
            total[some.start + row] += share[:, None] * color
            weight[some.start + row] += share

    rgb = total / weight[:, None]
    unseen = weight == 0
    rgb[unseen] = model.color(point[unseen], -normal[unseen])
    return rgb.clamp(0, 1)


@dataclass(frozen=True)
class _Seen:
    """What a camera sees of some points, (M) of them."""

    row: Tensor  # (M,), which points
    share: Tensor  # (M,), how much the camera counts for them
    pixels: Tensor  # (4, M), rows of the pixels round each
    part: Tensor  # (M, 2), where between them it lies

    def colored(self, layers: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Returns row, share and colours (K, 3) of the points of which enough of the pixels round them are opaque.

        layers: (H * W, 4), see `_opaque_colors`.
        """
        rgb, opaque = interpolated(layers[self.pixels], self.part).split([3, 1], dim=1)
        colored = opaque[:, 0] > LEAST_OPACITY
        return self.row[colored], self.share[colored], rgb[colored] / opaque[colored]


def _seen_by(views: DepthViews, frame: int, point: Tensor, normal: Tensor, slack: float) -> _Seen:
    """Returns what a camera sees of points (N, 3)."""
    cameras = views.cameras
    towards = cameras.world_from_camera[frame, :, 3] - point
    distance = towards.norm(dim=1)
    cosine = (towards * normal).sum(1) / distance

    # The points that face the camera, and that nothing hides from it.
    row = (cosine > LEAST_COSINE).nonzero().squeeze(1)
    row = row[views.gaps(frame, point[row], slack).abs() < slack]

    pixels, part = surrounding_pixels(cameras.project(frame, point[row])[0], cameras.width, cameras.height)
    share = cosine[row] ** FACING * (cameras.focal[frame, 0] / distance[row]).square()
    return _Seen(row, share, pixels, part)


def _opaque_colors(model: RadianceModel, views: DepthViews, frame: int, pixels: list[Tensor]) -> Tensor:
    """Returns (H * W, 4) of one camera's picture: the colours of its opaque pixels, else 0, and whether they are.

    Only the pixels that are asked for are rendered, and of those only what is near a surface that the camera sees.
    """
    wanted = torch.zeros(views.cameras.height * views.cameras.width, dtype=torch.bool)
    for some in pixels:
        wanted[some] = True
    near_surface = grown(views.distance[frame].isfinite())
    picture = model.picture(views.cameras, frame, wanted.view_as(near_surface) & near_surface)
    opaque = picture.opacity > LEAST_OPACITY
    rgb = torch.where(opaque[..., None], picture.rgb / picture.opacity.clamp(min=LEAST_OPACITY)[..., None], 0)
    return torch.cat([rgb, opaque[..., None].float()], dim=2).view(-1, 4)
