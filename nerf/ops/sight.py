"""Sight: what cameras see of points, by the distances that their pixels have.

A gap is how far a point lies in front of what a camera sees in its direction, scene units: above 0 in the free, below
behind the surface.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn.functional import max_pool2d

from nerf.geometry.cameras import Cameras
from nerf.ops.autograd import is_native


def gaps(cameras: Cameras, distance: Tensor, frame: int, point: Tensor, sharp: float) -> Tensor:
    """Returns the gaps (N,) of points (N, 3) and one camera; nan out of its picture.

    Args:
        cameras: F cameras with pictures of one size.
        distance: (F, H, W) along the rays, scene units, infinite where nothing is seen.
        frame: which camera.
        point: world points.
        sharp: between pixels distances are interpolated, but not over steps of so many scene units.
    """
    pixel, depth = cameras.project(frame, point)
    inside = cameras.shows(frame, pixel, depth)
    # In the plane of the camera a point has no pixel at all: any will do, for it is out of the picture.
    pixel = torch.where(inside[:, None], pixel, 0.0)

    pixels, part = surrounding_pixels(pixel, cameras.width, cameras.height)
    seen = distance[frame].flatten()[pixels]
    nearest = seen.gather(0, (part.round() @ torch.tensor([1.0, 2.0])).long()[None])[0]
    surface = torch.where(seen.amax(0) - seen.amin(0) < sharp, interpolated(seen, part), nearest)

    gap = surface - (point - cameras.world_from_camera[frame, :, 3]).norm(dim=1)
    return torch.where(inside, gap, math.nan)


def surrounding_pixels(position: Tensor, width: int, height: int) -> tuple[Tensor, Tensor]:
    """Returns which pixels lie round positions (N, 2) in a picture, and where between them the positions are.

    The pixels are flat numbers (4, N), left and right, above and then below; the border's stand for those beyond it.
    Where between them: (N, 2) in [0, 1], counted from the left and from above.
    """
    lower = (position - 0.5).floor()
    column, row = lower.long().unbind(1)

    left = column.clamp(0, width - 1)
    right = (column + 1).clamp(0, width - 1)
    above = row.clamp(0, height - 1) * width
    below = (row + 1).clamp(0, height - 1) * width
    return torch.stack([above + left, above + right, below + left, below + right]), position - 0.5 - lower


def interpolated(value: Tensor, part: Tensor) -> Tensor:
    """Returns values (N, ...) from four neighbours (4, N, ...), at where `surrounding_pixels` says (N, 2)."""
    x, y = part.view(len(part), 2, *(1,) * (value.dim() - 2)).unbind(1)
    return torch.lerp(torch.lerp(value[0], value[1], x), torch.lerp(value[2], value[3], x), y)


def fused(
    cameras: Cameras, distance: Tensor, point: Tensor, reach: float, through: float, backend: str = "reference"
) -> Tensor:
    """Returns the mean (N,) of what cameras say of points (N, 3), in [-1, 1] and above 0 inside of things.

    A camera says how deep the point is behind what it sees, in units of `reach` and cut to 1; of what is deeper than
    that it knows nothing. Where no camera says anything, the value is 1. Source: Curless and Levoy 1996.

    Args:
        cameras, distance: see `gaps`.
        point: world points.
        reach: scene units.
        through: weight of a camera that sees the point free, against one that sees it filled.
        backend: see `nerf.ops.autograd`.
    """
    if is_native(backend):
        from nerf.engine import bindings as ops

        return ops.fuse(cameras, distance, point, reach, through)
    total = torch.zeros(len(point))
    weight = torch.zeros(len(point))
    for frame in range(len(cameras)):
        gap = (gaps(cameras, distance, frame, point, reach) / reach).clamp(max=1)
        share = torch.where(gap > 0, through, torch.where(gap >= -1, 1.0, 0.0))  # nan has none
        total += share * gap.nan_to_num(0)
        weight += share
    return torch.where(weight > 0, -total / weight.clamp(min=1), 1.0)


def witnessed(
    cameras: Cameras,
    distance: Tensor,
    point: Tensor,
    before: Tensor,
    behind: Tensor,
    enough: Tensor,
    sharp: float = 0.0,
    backend: str = "reference",
) -> Tensor:
    """Returns (N,) bool: whether enough cameras see something within a distance before or behind points (N, 3).

    Args:
        cameras, distance: see `gaps`.
        point: world points.
        before: (N,) scene units that a point may lie in front of what is seen; infinite: what is seen may be nothing.
        behind: (N,) likewise.
        enough: (N,) int32, how many cameras it takes.
        sharp: see `gaps`; 0: nothing is interpolated, and of the pixel and the one beside it that sees the nearest
            one is to agree, so that thin things are met, too.
        backend: see `nerf.ops.autograd`.
    """
    if is_native(backend):
        from nerf.engine import bindings as ops

        return ops.find_witnesses(cameras, distance, point, (before, behind), enough, sharp)
    missing = enough.clone()
    asked = (missing > 0).nonzero().squeeze(1)  # those that witnesses are missing of
    for frame in range(len(cameras)):
        some = point[asked]
        found = [gaps(cameras, distance, frame, some, sharp)] if sharp else _pixel_gaps(cameras, distance, frame, some)
        witness = torch.zeros(len(asked), dtype=torch.bool)
        for gap in found:
            witness |= (gap > -behind[asked]) & (gap <= before[asked])
        missing[asked] -= witness.to(missing.dtype)
        asked = asked[missing[asked] > 0]
    return missing <= 0


def best_views(
    cameras: Cameras,
    distance: Tensor,
    point: Tensor,
    normal: Tensor,
    slack: float,
    least_cosine: float,
    count: int,
    backend: str = "reference",
) -> tuple[Tensor, Tensor]:
    """Returns which cameras see points of a surface best, (N, count) int32, the best first, and how well, (N, count).

    How well is the square of the pixels that a scene unit of the surface has in the picture, as it is foreshortened.
    Where fewer cameras see a point, -1 and 0 stand.

    Args:
        cameras, distance: see `gaps`.
        point: (N, 3), world.
        normal: (N, 3), of unit length, outwards.
        slack: scene units that what a camera sees may lie off the point.
        least_cosine: of the angle between normal and camera; cameras that see the point more aslant do not count.
        count: how many cameras.
        backend: see `nerf.ops.autograd`.
    """
    if is_native(backend):
        from nerf.engine import bindings as ops

        return ops.find_best_views(cameras, distance, point, normal, slack, least_cosine, count)
    found = torch.full((len(point), count), -1, dtype=torch.int32)
    shares = torch.zeros(len(point), count)
    for frame in range(len(cameras)):
        towards = cameras.world_from_camera[frame, :, 3] - point
        away = towards.norm(dim=1)
        cosine = (towards * normal).sum(1) / away
        sees = (cosine > least_cosine) & (gaps(cameras, distance, frame, point, slack).abs() < slack)
        share = torch.where(sees, (cosine * cameras.focal[frame, 0] / away).square(), 0)
        better = torch.cat([shares, share[:, None]], dim=1).sort(dim=1, descending=True, stable=True)
        which = torch.where(sees, frame, -1).int()
        shares = better.values[:, :count]
        found = torch.cat([found, which[:, None]], dim=1).gather(1, better.indices[:, :count])
    return found, shares


def _pixel_gaps(cameras: Cameras, distance: Tensor, frame: int, point: Tensor) -> list[Tensor]:
    """Returns the gaps (N,) at the points' pixels, and at the nearest beside them; nan out of the picture."""
    pixel, depth = cameras.project(frame, point)
    inside = cameras.shows(frame, pixel, depth)
    column, row = torch.where(inside[:, None], pixel, 0.0).long().unbind(1)
    index = row * cameras.width + column
    away = (point - cameras.world_from_camera[frame, :, 3]).norm(dim=1)
    nearest = -max_pool2d(-distance[frame][None, None], 3, 1, 1)
    return [torch.where(inside, seen.flatten()[index] - away, math.nan) for seen in (distance[frame], nearest)]
