"""Stereo: pictures of known cameras -> the depth of every pixel, from its neighbours alone.

Planes of one slope follow each other evenly in inverse depth, the first at infinity. At every plane a neighbouring
picture is drawn as it would be seen from here if all of it lay there, and small windows of both are correlated (Collins
1996). What a plane costs at a pixel is one less the mean correlation with the two neighbours that are most alike.
Windows of pictures from far apart are alike only on planes that slope as the surface does: planes of several slopes are
tried, and of those that pass a pixel at about one depth the cheapest counts (Gallup et al. 2007). Along rows and
columns, both ways, a change of depth costs, too (semi-global matching, Hirschmüller 2008). The cheapest plane wins; a
parabola through its neighbours finds where between planes.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import avg_pool2d, grid_sample

from nerf.ops.autograd import is_native

# As in nerf/engine/src/stereo.h.
WINDOW = 2  # pixels on either side of the middle of a window
FLAT = 3e-5  # variance of brightness that counts as none
WORST = 255  # cost of what is not alike; 0: the same
NEAR_JUMP = 13  # cost, along a path, of a change of depth by one plane
FAR_JUMP = 128  # and by more


def stereo(
    pictures: Tensor,
    others: Tensor,
    warps: Tensor,
    slopes: Tensor,
    steps: Tensor,
    planes: Tensor,
    frames: range | None = None,
    backend: str = "reference",
) -> tuple[Tensor, Tensor]:
    """Returns the inverse depth (N, H, W) along each camera's axis, and the correlation there (N, H, W).

    Not differentiable.

    Args:
        pictures: (F, H, W) float32, brightness in [0, 1], of pinhole cameras.
        others: (F, K) int32, the neighbours of each; -1 where there are fewer.
        warps: (F, K, 3, 4) float32, [M | a]: the point at inverse depth v on the ray of pixel (x, y) is in a neighbour
            at (q0 / q2, q1 / q2), with q = M (x, y, 1) + v a.
        slopes: (F, S, 3) float32, n of planes: the inverse depth on plane j is j step (n . (x, y, 1)) at pixel (x, y).
        steps: (F,) float32, from one inverse depth to the next.
        planes: (F,) int32, how many of each slope, and how many inverse depths.
        frames: the N pictures whose depth is asked for, one after another; all if None.
        backend: see `nerf.ops.autograd`.
    """
    frames = range(len(pictures)) if frames is None else frames
    if not is_native(backend):
        each = (others, warps, slopes, steps, planes)
        found = [_stereo_reference(pictures, frame, *(tensor[frame] for tensor in each)) for frame in frames]
        inverse, likeness = (torch.stack(maps) for maps in zip(*found))
        return inverse * steps[frames.start : frames.stop, None, None], likeness

    from nerf.engine import bindings as ops

    slopes = slopes.contiguous()
    return ops.stereo(pictures.contiguous(), others.contiguous(), warps.contiguous(), slopes, steps, planes, frames)


def _stereo_reference(
    pictures: Tensor, frame: int, others: Tensor, warps: Tensor, slopes: Tensor, step: Tensor, n_planes: Tensor
) -> tuple[Tensor, Tensor]:
    """Returns the plane (H, W) of every pixel of one picture, with its fraction, and the correlation there."""
    picture = pictures[frame]
    neighbours = [index for index, other in enumerate(others.tolist()) if other >= 0]
    pixels = _pixels(*picture.shape)
    planes = int(n_planes)
    cost = torch.full((planes + 1, *picture.shape), WORST, dtype=torch.int32)  # the last: of no inverse depth
    for slope in slopes:
        for plane in range(planes):
            place = plane * (pixels @ slope)
            alike = [_correlation(picture, *_warped(pictures[others[i]], warps[i], place * step)) for i in neighbours]
            best = torch.stack([torch.zeros_like(picture)] * 2 + alike).sort(dim=0, descending=True).values
            likeness = best[: min(2, max(1, len(alike)))].mean(0).clamp(max=1)
            nearest = (place + 0.5).floor().long()
            nearest = torch.where((nearest >= 0) & (nearest < planes), nearest, planes)[None]
            found = (WORST * (1 - likeness) + 0.5).floor().int()[None]
            cost.scatter_(0, nearest, torch.minimum(cost.gather(0, nearest), found))
    cost = cost[:-1]

    total = torch.zeros_like(cost)
    for turned in (cost, cost.transpose(1, 2)):
        paths = _paths(turned) + _paths(turned.flip(1)).flip(1)
        total += paths if turned is cost else paths.transpose(1, 2)

    plane = total.argmin(0)
    inner = plane.clamp(1, max(len(total) - 2, 1)) if len(total) > 2 else plane
    before, here, after = (total.gather(0, (inner + i).clamp(0, len(total) - 1)[None])[0].float() for i in (-1, 0, 1))
    bend = before + after - 2 * here
    offset = torch.where((inner == plane) & (bend > 0), (before - after) / (2 * bend), 0)
    return plane + offset, 1 - cost.gather(0, plane[None])[0] / WORST


def _pixels(height: int, width: int) -> Tensor:
    """Returns (x, y, 1) of the middle of every pixel, (H, W, 3)."""
    row, column = torch.meshgrid(torch.arange(height) + 0.5, torch.arange(width) + 0.5, indexing="ij")
    return torch.stack([column, row, torch.ones_like(row)], dim=-1)


def _warped(picture: Tensor, warp: Tensor, inverse: Tensor) -> tuple[Tensor, Tensor]:
    """Returns a neighbour's picture (H, W) as it would be seen from here if all lay at `inverse`, and where it is."""
    height, width = picture.shape
    q = _pixels(height, width) @ warp[:, :3].T + inverse[..., None] * warp[:, 3]
    place = q[..., :2] / q[..., 2:] - 0.5
    limit = torch.tensor([width - 1, height - 1])
    inside = (q[..., 2] > 0) & (place >= 0).all(dim=-1) & (place < limit).all(dim=-1)
    drawn = grid_sample(picture[None, None], (place / limit * 2 - 1)[None], align_corners=True)[0, 0]
    return torch.where(inside, drawn, 0), inside


def _correlation(ours: Tensor, theirs: Tensor, inside: Tensor) -> Tensor:
    """Returns the normalised cross-correlation (H, W) of the windows of two pictures; 0 outside."""
    mean, their_mean = _window_mean(ours), _window_mean(theirs)
    variance = (_window_mean(ours.square()) - mean.square()).clamp(min=0) + FLAT
    their_variance = (_window_mean(theirs.square()) - their_mean.square()).clamp(min=0) + FLAT
    covariance = _window_mean(ours * theirs) - mean * their_mean
    return inside * covariance / (variance * their_variance).sqrt()


def _window_mean(picture: Tensor) -> Tensor:
    return avg_pool2d(picture[None, None], 2 * WINDOW + 1, 1, WINDOW, count_include_pad=False)[0, 0]


def _paths(cost: Tensor) -> Tensor:
    """Returns what it costs to come to every plane of every pixel down its column; cost: (planes, H, W) int."""
    out = torch.empty_like(cost)
    reached = torch.zeros_like(cost[:, 0])
    never = torch.full_like(reached[:1], FAR_JUMP)
    for row in range(cost.shape[1]):
        beside = torch.minimum(torch.cat([never, reached[:-1]]), torch.cat([reached[1:], never]))
        out[:, row] = cost[:, row] + torch.minimum(reached, beside + NEAR_JUMP).clamp(max=FAR_JUMP)
        reached = out[:, row] - out[:, row].amin(0, keepdim=True)
    return out
