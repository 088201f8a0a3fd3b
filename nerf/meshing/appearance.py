"""The colour of a surface: what the training cameras that see it best see of it in the model, blended."""

from __future__ import annotations

import torch
from torch import Tensor

from nerf.geometry.cameras import Rays
from nerf.rendering.depth_views import DepthViews
from nerf.rendering.model import RadianceModel
from nerf.report import progress

BEHIND = 2.0  # steps that a point may lie off what a camera sees, and still be seen by it
CAMERAS = 8  # that are asked for the colour of a point: those that see it most sharply, which show gloss least
LEAST_COSINE = 0.05  # a camera that sees a point more aslant than this sees what is beside it rather
LEAST_OPACITY = 0.5  # of a ray to have a colour
UNSEEN = 0.5  # the grey of what fades
POINTS_AT_ONCE = 2**15


@torch.no_grad()
def seen_color(
    model: RadianceModel, views: DepthViews, point: Tensor, normal: Tensor, slack: float, fade: bool = False
) -> Tensor:
    """Returns RGB (N, 3) in [0, 1] of surface points (N, 3): the mean of what the best cameras see of them.

    A ray is followed from each camera to the point. A camera counts as sharply as it sees the point: by its distance
    and its angle to the normal (N, 3). Where no camera sees a point, the colour is the field's, seen along the normal.

    Args:
        model: what is looked at.
        views: the cameras, and how far they see.
        point: world points.
        normal: unit vectors, outwards.
        slack: scene units that a point may lie off the surface that is seen.
        fade: what no camera sees is grey instead: the field invents there.
    """
    parts = [slice(start, start + POINTS_AT_ONCE) for start in range(0, len(point), POINTS_AT_ONCE)]
    found = [
        _part_color(model, views, point[some], normal[some], slack, fade)
        for some in progress(parts, title="colours of the surface", unit="part")
    ]
    return torch.cat(found).clamp(0, 1) if found else torch.empty(0, 3)


def _part_color(
    model: RadianceModel, views: DepthViews, point: Tensor, normal: Tensor, slack: float, fade: bool
) -> Tensor:
    cameras, shares = views.best(point, normal, slack, LEAST_COSINE, CAMERAS)

    # The rays of all cameras that were found.
    row, place = (cameras >= 0).nonzero().unbind(1)
    eye = views.cameras.world_from_camera[cameras[row, place], :, 3]
    seen = model.render(Rays(eye, torch.nn.functional.normalize(point[row] - eye, dim=1)))

    share = torch.where(seen.opacity > LEAST_OPACITY, shares[row, place], 0)
    color = seen.rgb / seen.opacity.clamp(min=LEAST_OPACITY)[:, None]
    total = torch.zeros(len(point), 3).index_add_(0, row, share[:, None] * color)
    weight = torch.zeros(len(point)).index_add_(0, row, share)

    unseen = weight == 0
    rgb = total / weight.clamp(min=torch.finfo().tiny)[:, None]
    rgb[unseen] = torch.full((3,), UNSEEN) if fade else model.color(point[unseen], -normal[unseen])
    return rgb
