"""Smooth paths through given poses (rotation splines beside cubic ones for the centres), and tours in a short order."""

from __future__ import annotations

import numpy
import torch
from torch import Tensor

from nerf.errors import InputError

LEAST_GAP = 1e-6  # of the whole path: keys nearer than this are one key, which a spline cannot pass twice at a time
LEAST_PATH = 1e-12  # pose distance: below this nothing moves
LEAST_GAIN = 1e-9  # of a turn in a tour: rounding alone must not keep it turning
WRAPPED = 3  # keys repeated beyond the seam of a loop: a cubic spline forgets its ends within about so many


def pose_distances(poses: Tensor) -> numpy.ndarray:
    """Returns how far poses (K, 3, 4) are apart, (K, K): their centres, in median distances, plus the turn, radians."""
    eye = poses[:, :, 3].double()
    apart = torch.cdist(eye, eye)
    scale = apart[apart > 0].median() if (apart > 0).any() else torch.tensor(1.0)

    turn = torch.einsum("aij,bij->ab", poses[:, :, :3].double(), poses[:, :, :3].double())
    turn = ((turn - 1) / 2).clamp(-1, 1).acos()

    distance = apart / scale + turn
    return distance.fill_diagonal_(0).numpy()


def spread_out(distance: numpy.ndarray, count: int) -> list[int]:
    """Returns `count` numbers of poses far from each other: each next one is the farthest from those before."""
    chosen = [0]
    nearest = distance[0].copy()
    while len(chosen) < min(count, len(distance)):
        chosen.append(int(nearest.argmax()))
        nearest = numpy.minimum(nearest, distance[chosen[-1]])
    return chosen


def short_tour(distance: numpy.ndarray, loop: bool) -> list[int]:
    """Returns a short order of all poses: nearest neighbour, then 2-opt (Croes 1958) until nothing is gained.

    distance: (K, K), symmetric. An open tour may start and end anywhere.
    """
    if not loop:  # a pose at no distance from any other closes the open tour for nothing
        distance = numpy.pad(distance, (0, 1))
    n = len(distance)

    # Nearest neighbour.
    order = [n - 1]
    while len(order) < n:
        away = distance[order[-1]].copy()
        away[order] = numpy.inf
        order.append(int(away.argmin()))

    # 2-opt.
    better = True
    while better:
        better = False
        for i in range(n - 2):
            # The path a-b ... c-d becomes a-c ... b-d: what is between is walked backwards.
            a = order[i]
            b = order[i + 1]
            c = numpy.array(order[i + 2 :])
            d = numpy.array([*order[i + 3 :], order[0]])
            gain = distance[a, b] + distance[c, d] - distance[a, c] - distance[b, d]
            best = int(gain.argmax())
            if gain[best] > LEAST_GAIN:
                order[i + 1 : i + 3 + best] = order[i + 1 : i + 3 + best][::-1]
                better = True

    if loop:
        start = order.index(0)
        return order[start:] + order[:start]
    start = order.index(n - 1)
    return order[start + 1 :] + order[:start]


def spline(poses: Tensor, view: Tensor, u: Tensor, loop: bool, when: Tensor | None) -> tuple[Tensor, Tensor]:
    """Returns poses (F, 3, 4) and fields of view (F,) on a smooth path through the keys, at the parts u (F,) of it.

    Args:
        poses: (K, 3, 4), the keys, in order.
        view: (K,), the fields of view at the keys, radians.
        u: in [0, 1].
        loop: whether the path goes on from the last key to the first.
        when: (K,) or, of a loop, (K + 1,) increasing: the time at each key (and at the return to the first). None = as
            far apart as the keys are.

    Raises:
        InputError: fewer than two different keys.
    """
    from scipy.interpolate import CubicSpline
    from scipy.spatial.transform import Rotation, RotationSpline

    keys = poses.double()
    clock, order = _clock(keys, loop, when)
    if len(order) < 2 or clock[-1] <= 0:
        raise InputError("a path needs at least two different camera poses")
    at = u.double().numpy() * clock[-1]

    # A loop is unrolled beyond its seam, so that it passes there as smoothly as elsewhere.
    if loop and len(order) > 2:
        n = len(order) - 1
        period = clock[-1]
        reach = numpy.arange(-WRAPPED, n + WRAPPED + 1)
        clock = clock[reach % n] + period * (reach // n)
        order = order[reach % n]

    values = numpy.concatenate([keys[order, :, 3].numpy(), view.double().numpy()[order, None]], axis=1)
    values = CubicSpline(clock, values, bc_type="natural")(at)
    turn = RotationSpline(clock, Rotation.from_matrix(keys[order, :, :3].numpy()))(at).as_matrix()
    found = torch.from_numpy(numpy.concatenate([turn, values[:, :3, None]], axis=2)).float()
    return found, torch.from_numpy(values[:, 3]).float()


def _clock(keys: Tensor, loop: bool, when: Tensor | None) -> tuple[numpy.ndarray, numpy.ndarray]:
    """Returns the times of keys (K, 3, 4) from 0, and the keys' numbers; a loop ends with the first again.

    when: see `spline`. Without it, keys that are one pose in a row are one key.
    """
    count = len(keys)
    order = numpy.arange(count + 1) % count if loop else numpy.arange(count)
    if when is not None:
        return when.double().numpy() - when[0].item(), order

    gap = pose_distances(keys)[order[:-1], order[1:]]
    kept = numpy.concatenate([[True], gap > LEAST_GAP * max(gap.sum(), LEAST_PATH)])
    if loop and not kept[-1] and kept.sum() > 1:  # the last key is the first again: the seam is the last kept one
        kept[numpy.flatnonzero(kept)[-1]] = False
        kept[-1] = True
    return numpy.concatenate([[0.0], gap.cumsum()])[kept], order[kept]
