"""The thing that a capture is of: the part of the scene that its cameras look at from several sides.

A thing stands on a floor or a table, or hangs on a wall. This support is the plane near the place of attention that
most points lie on, few behind it, and the cameras all before it. What is before it falls into pieces, of which the one
that the cameras look at is the thing. The cameras need not be upright: only their places count.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

import torch
from torch import Tensor

from nerf.geometry.camera_rig import camera_box, forward_facing
from nerf.geometry.cameras import Cameras
from nerf.geometry.scene_box import CropBox
from nerf.seeding import generator

if TYPE_CHECKING:
    import numpy

MOST_POINTS = 60_000  # that are looked at
SUPPORT_POINTS = 8_000  # of them, by which planes are compared
REACHES = (0.4, 0.75)  # of the cameras' distance from the place of attention: where a support is sought, nearest first
IN_COMMON = 0.5  # of the most cameras that have any place in their picture must have what is of the thing
COMMON = 0.8  # likewise, where no support tells the thing apart
TRIES = 1500  # planes through three points
THICK = 0.012  # of the cameras' distance: points so near to a plane lie on it
# Thicknesses that what is before a support must be off it: bumps of a badly learned floor are not. First for things
# that rise, then for flat ones.
CLEAR = (5.0, 2.0)
SUPPORT = 0.08  # of the points sought among must lie on a support
BEHIND = 0.1  # of them at most may be behind it
BEFORE = 0.95  # of the cameras must be before it
CELLS = 48  # to the cameras' distance, in which pieces hang together
FEWEST = (2, 4, 8, 16, 32)  # points in a cell of a piece: the first at which it does not reach the edge
EDGE = 0.9  # of the reach, beyond which is its edge
ATTENTION = 0.25  # of the cameras' distance: a point counts less, the farther it is from the place of attention
FAR = 1.5  # median distances, beyond which nothing is of the thing where no support tells it apart
MARGIN = 0.04  # of the box's diagonal, that is left round the thing
TAIL = 0.005  # of a piece's points beyond each face of its box, which may be strays


@dataclass(frozen=True)
class Subject:
    """The thing that a capture is of."""

    box: CropBox  # what holds it, in the frame of the input poses
    words: str  # what it is, and what it was told by
    floor: tuple[Tensor, float] | None = None  # what it stands or hangs on: n (3,), unit, towards it, and d; n x = d
    thick: float = 0.0  # scene units that what is learned of the floor may be off it


def find_subject(cameras: Cameras, points: Tensor) -> Subject:
    """Returns the thing that cameras look at, of points (N, 3) of surfaces in the frame of the cameras.

    The points may be where rays of the pictures meet the model, or sparse points. Without a support, and where cameras
    face one way, the thing is what most cameras have in their pictures, without the farthest of it.

    Raises:
        InputError: the cameras stand in one place.
        ValueError: there are no points.
    """
    if not len(points):
        raise ValueError("find_subject: expected points, got none")
    points = points[torch.randperm(len(points), generator=generator(0, "subject"))[:MOST_POINTS]]
    share = seen_share(cameras, points)
    attention = camera_box(cameras)
    size = attention.side
    center = attention.corner + size / 2
    apart = (points - center).norm(dim=1) / size
    seen = share >= IN_COMMON * share.max()

    eye = cameras.world_from_camera[:, :, 3]
    thick = THICK * size
    near = [] if forward_facing(cameras) else [(apart < reach) & seen for reach in REACHES]
    floor = next((plane for some in near if (plane := _support(points[some], eye, thick))), None)
    if floor is not None:
        # A wall right behind the thing is a support as well.
        height = points @ floor[0] - floor[1]
        wall = _support(points[near[-1] & (height > CLEAR[-1] * thick)], eye, thick)
        if wall is not None and center @ wall[0] - wall[1] > CLEAR[0] * thick:
            height = torch.minimum(height, points @ wall[0] - wall[1])

        for clear in CLEAR:
            before = near[-1] & (height > clear * thick)
            piece = _piece(points[before] / size, apart[before])
            if len(piece):
                words = f"the part that {len(cameras)} cameras look at"
                return Subject(_box(points[before][piece], floor), words, floor, thick)

    kept = (share >= COMMON * share.max()) & (forward_facing(cameras) | (apart < REACHES[-1]))
    kept = points[kept if kept.any() else share == share.max()]
    away = (kept - cameras.world_from_camera[:, :, 3].mean(0)).norm(dim=1)
    words = f"the part that most of {len(cameras)} cameras have in their pictures"
    return Subject(_box(kept[away <= FAR * away.median()]), words)


def seen_share(cameras: Cameras, points: Tensor) -> Tensor:
    """Returns the share (N,) of the cameras that have each of points (N, 3) in their picture, hidden or not."""
    count = torch.zeros(len(points))
    for frame in range(len(cameras)):
        pixel, depth = cameras.project(frame, points)
        count += ((pixel >= 0) & (pixel < cameras.size[frame])).all(dim=1) & (depth > 0)
    return count / len(cameras)


def _support(points: Tensor, eye: Tensor, thick: float) -> tuple[Tensor, float] | None:
    """Returns the plane (n, d) that most of points (N, 3) lie on, few behind it and the cameras before it, if any.

    eye: (F, 3), where the cameras are. thick: scene units that a point may be off the plane.
    """
    if len(points) < 3:
        return None
    corner = points[torch.randint(len(points), (TRIES, 3), generator=generator(0, "support"))]
    normal = torch.linalg.cross(corner[:, 1] - corner[:, 0], corner[:, 2] - corner[:, 0])
    normal = torch.nn.functional.normalize(normal, dim=1)
    side = (eye @ normal.T - (corner[:, 0] * normal).sum(dim=1)).median(dim=0).values.sign()
    normal = normal * side[:, None]
    offset = (corner[:, 0] * normal).sum(dim=1)

    # Which of the planes is one: by some of the points, which are in no order.
    height = points[:SUPPORT_POINTS] @ normal.T - offset
    on = (height.abs() < thick).float().mean(dim=0)
    on[(height < -3 * thick).float().mean(dim=0) > BEHIND] = 0
    on[(eye @ normal.T > offset).float().mean(dim=0) < BEFORE] = 0
    best = on.argmax()
    if on[best] < SUPPORT:
        return None

    # Twice the plane of all that lie on it, in the least-squares sense.
    found = (normal[best], offset[best].item())
    for _ in range(2):
        flat = points[(points @ found[0] - found[1]).abs() < thick]
        middle = flat.mean(0)
        n = torch.linalg.svd((flat - middle).T @ (flat - middle))[0][:, 2]
        n = n * (n @ normal[best]).sign()
        found = (n, (middle @ n).item())
    return found


def _piece(points: Tensor, apart: Tensor) -> Tensor:
    """Returns the numbers (M,) of those of points (N, 3), whose unit is the cameras' distance, in the piece looked at.

    Pieces that hang together with what is far are parted where fewer and fewer points are. There are none if the points
    are too sparse.

    apart: (N,), their distance from the place of attention.
    """
    from scipy.ndimage import label

    found = torch.zeros(0, dtype=torch.long)
    if not len(points):
        return found
    index = ((points - points.amin(0)) * CELLS).long()
    size = (index.amax(0) + 1).tolist()
    row = (index[:, 0] * size[1] + index[:, 1]) * size[2] + index[:, 2]
    count = torch.bincount(row, minlength=size[0] * size[1] * size[2]).view(size)
    for fewest in FEWEST:
        labelled = label((count >= fewest).numpy(), structure=torch.ones(3, 3, 3).numpy())
        number, pieces = cast("tuple[numpy.ndarray, int]", labelled)  # the stubs know of another form, too
        if not pieces:
            break
        piece = torch.from_numpy(number).flatten().long()[row]
        weight = torch.exp(-(apart / ATTENTION).square()) * (piece > 0)
        found = (piece == torch.bincount(piece, weight).argmax()).nonzero().squeeze(1)
        if (apart[found] > EDGE * REACHES[-1]).float().mean() < TAIL:
            break
    return found


def _box(points: Tensor, floor: tuple[Tensor, float] | None = None) -> CropBox:
    """Returns the box of points, without strays and with a margin; with their feet on the floor, if there is one."""
    if floor is not None:
        normal, offset = floor
        points = torch.cat([points, points - (points @ normal - offset)[:, None] * normal])
    ordered = points.sort(dim=0).values
    strays = int(TAIL * (len(points) - 1))
    low = ordered[strays]
    high = ordered[len(points) - 1 - strays]
    margin = MARGIN * (high - low).norm()
    return CropBox(low - margin, high + margin)
