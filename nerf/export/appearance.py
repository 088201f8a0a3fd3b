"""The colour of a surface from the field: what the training cameras would see of it, averaged over their directions."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from nerf.cameras import Rays
from nerf.export.volume import DepthViews
from nerf.rendering import RadianceModel

ABOVE = 3.0  # steps above the surface at which a ray starts that looks at it
BEHIND = 2.0  # steps that a place may lie behind what a camera sees, and still be seen by it
SPREAD_DEGREES = 25.0  # round the mean direction: gloss on one spot is averaged out
LEAST_OPACITY = 0.2  # of a ray to have a colour; else the field is asked at the place itself
LEAST_SEEN = 1e-3  # sum of cosines: no camera sees what has less
POINTS_AT_ONCE = 2**18


@torch.no_grad()
def facing_directions(views: DepthViews, point: Tensor, normal: Tensor, slack: float) -> Tensor:
    """Returns unit directions (N, 3) from surface points (N, 3) towards the cameras that see them, on average.

    A camera counts by the cosine at which it sees the surface. Where none sees it, the normal (N, 3) is the answer.
    slack: scene units that a point may lie behind the surface that is seen.
    """
    parts = [torch.empty(0, 3)]
    for start in range(0, len(point), POINTS_AT_ONCE):
        part = slice(start, start + POINTS_AT_ONCE)
        parts.append(_mean_direction(views, point[part], normal[part], slack))
    return torch.cat(parts)


def _mean_direction(views: DepthViews, point: Tensor, normal: Tensor, slack: float) -> Tensor:
    total = torch.zeros_like(point)
    for frame in range(len(views)):
        towards = torch.nn.functional.normalize(views.cameras.world_from_camera[frame, :, 3] - point, dim=1)
        cosine = (towards * normal).sum(1)
        sees = (cosine > 0) & (views.gaps(frame, point, slack) > -slack)
        total += torch.where(sees, cosine, 0.0)[:, None] * towards
    length = total.norm(dim=1, keepdim=True)
    return torch.where(length > LEAST_SEEN, total / length.clamp(min=LEAST_SEEN), normal)


@torch.no_grad()
def diffuse_color(model: RadianceModel, point: Tensor, direction: Tensor) -> Tensor:
    """Returns RGB (N, 3) in [0, 1] of surface points (N, 3): a mean over looks from round a direction (N, 3).

    Each look is a ray that starts just above the surface, so that a vertex a little off it still has its colour.
    """
    return torch.cat(
        [
            _mean_look(model, point[start : start + POINTS_AT_ONCE], direction[start : start + POINTS_AT_ONCE])
            for start in range(0, len(point), POINTS_AT_ONCE)
        ]
        or [torch.empty(0, 3)]
    )


def _mean_look(model: RadianceModel, point: Tensor, direction: Tensor) -> Tensor:
    above = ABOVE * model.step_length()
    total, weight = torch.zeros(len(point), 3), torch.zeros(len(point), 1)
    for look in _cone(direction):
        seen = model.render(Rays(point + above * look, -look))
        counts = seen.opacity > LEAST_OPACITY
        total[counts] += seen.rgb[counts] / seen.opacity[counts, None]
        weight[counts] += 1
    lost = weight[:, 0] == 0
    if lost.any():
        total[lost], weight[lost] = model.color(point[lost], -direction[lost]), 1.0
    return (total / weight).clamp(0, 1)


def _cone(direction: Tensor) -> list[Tensor]:
    """Returns a direction (N, 3) and four round it, SPREAD_DEGREES off."""
    least = torch.nn.functional.one_hot(direction.abs().argmin(1), 3).float()
    across = torch.nn.functional.normalize(torch.linalg.cross(direction, least), dim=1)
    beside = torch.linalg.cross(direction, across)
    cosine, sine = math.cos(math.radians(SPREAD_DEGREES)), math.sin(math.radians(SPREAD_DEGREES))
    return [direction, *(cosine * direction + sine * side for side in (across, -across, beside, -beside))]
