"""Distances from the pictures alone: a coarse plane sweep between neighbours (Collins 1996).

Patches of a picture are looked for along their rays in a neighbouring one, at depths whose images lie half a pixel
apart. Shrunk pictures and a few hundred patches a pair are enough for what is asked here: how far a scene is, and
whether poses fit their pictures at all.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from nerf.geometry.cameras import Cameras
from nerf.scenes.scene import Views

SIDE = 160  # pixels of the longer side of the shrunk pictures
PATCH = 3  # shrunk pixels to either side of a patch's middle
SPACING = 12  # shrunk pixels from one patch to the next
PAIRS = 8  # pictures, at most, in which patches are looked for
STEP = 0.5  # shrunk pixels from one depth's image to the next
DEPTHS = 64  # that are tried
SAME = 0.85  # correlation from which two patches show the same
FLAT = 4.0 / 255  # standard deviation of brightness below which a patch shows nothing
NEAR_BY = 12.0  # degrees between the axes of neighbours, if there are such
NEIGHBOURS = 4  # of which the one that stands farthest off is taken


@dataclass(frozen=True)
class Matches:
    """What a sweep has found."""

    asked: int  # patches that show something and were looked for
    part: float  # of the patches that show something, how many were found again
    depth: Tensor  # (N,) along the z axis, scene units, of those found nearer than infinity


def sweep(views: Views, cameras: Cameras, pairs: Sequence[tuple[int, int]] | None = None) -> Matches:
    """Returns which patches of pictures their neighbours show, if the cameras stand as given, and how far they are.

    pairs: the pictures whose patches are looked for, each with that in which they are; None: some of all.
    """
    factor = max(1, min(max(cameras.width, cameras.height) // SIDE, int(cameras.size.min()) // (2 * PATCH + 1)))
    asked = 0
    found = 0
    depths = [torch.empty(0)]
    for frame, other in neighbours(cameras, range(len(cameras))) if pairs is None else pairs:
        best, depth = _matched(views, cameras, (frame, other), factor)
        asked += len(best)
        found += int((best > SAME).sum())
        depths.append(depth[(best > SAME) & depth.isfinite()])
    return Matches(asked, found / max(asked, 1), torch.cat(depths))


def neighbours(cameras: Cameras, among: Sequence[int]) -> list[tuple[int, int]]:
    """Returns pictures, spread over some, each with a neighbour that looks nearly the same way from another place."""
    eye = cameras.world_from_camera[:, :, 3]
    turn = cameras.world_from_camera[:, :, :3]
    pairs = []
    for number in torch.linspace(0, len(among) - 1, min(PAIRS, len(among))).round().long().tolist():
        frame = among[number]
        trace = (turn * turn[frame]).sum(dim=(1, 2))
        degrees = ((trace - 1) / 2).clamp(-1, 1).acos().rad2deg()
        apart = (eye - eye[frame]).norm(dim=1)
        degrees[apart == 0] = torch.inf
        if not degrees.isfinite().any():
            continue
        unlike = degrees / NEAR_BY + apart / apart[degrees.isfinite()].median()
        unlike[degrees > max(NEAR_BY, degrees.min().item())] = torch.inf
        nearest = unlike.argsort()[: min(NEIGHBOURS, int(unlike.isfinite().sum()))]
        pairs.append((frame, int(nearest[apart[nearest].argmax()])))
    return pairs


def _matched(views: Views, cameras: Cameras, pair: tuple[int, int], factor: int) -> tuple[Tensor, Tensor]:
    """Returns the best correlation (N,) of each patch of one picture with another, and the depth (N,) that it has."""
    frame, other = pair
    width, height = cameras.size[frame].tolist()
    middle, offset = _patches(width, height, factor)
    if len(middle) == 0:  # too small a picture
        return torch.empty(0), torch.empty(0)

    pixel = middle[:, None] + offset
    column, row = pixel.reshape(-1, 2).unbind(1)
    patch = _sampled(_shrunk(views, frame, factor), factor, pixel + 0.5)
    shown = patch.std(dim=1) > FLAT
    patch = patch[shown]

    # Rays with one unit of depth, and inverse depths whose images are STEP apart.
    pose = cameras.world_from_camera[frame]
    direction = cameras.rays(frame, column, row).direction
    direction = (direction / (direction @ pose[:, 2])[:, None]).view(*pixel.shape[:2], 3)[shown]
    baseline = (cameras.world_from_camera[other, :, 3] - pose[:, 3]).norm()
    step = STEP * factor / (cameras.focal[other].max() * baseline)
    inverse = step * torch.arange(DEPTHS)
    inverse[0] = step * 1e-3  # as good as infinitely far

    picture = _shrunk(views, other, factor)
    best = torch.full((len(patch),), -1.0)
    depth = torch.full((len(patch),), torch.inf)
    for number, each in enumerate(inverse):
        place, ahead = cameras.project(other, (pose[:, 3] + direction / each).view(-1, 3))
        inside = cameras.shows(other, place, ahead).view(patch.shape).all(dim=1)
        seen = _sampled(picture, factor, place.view(*patch.shape, 2))
        likeness = torch.where(inside, _correlation(patch, seen), -1.0)
        better = likeness > best
        best = torch.where(better, likeness, best)
        depth = torch.where(better, torch.inf if number == 0 else 1 / each, depth)
    return best, depth


def _patches(width: int, height: int, factor: int) -> tuple[Tensor, Tensor]:
    """Returns the middles (N, 2) of a picture's patches and the offsets (P, 2) of their pixels, whole pixels."""
    margin = (PATCH + 1) * factor
    columns = torch.arange(margin, max(margin, width - margin), SPACING * factor)
    rows = torch.arange(margin, max(margin, height - margin), SPACING * factor)
    along = torch.arange(-PATCH, PATCH + 1) * factor
    return torch.cartesian_prod(columns, rows), torch.cartesian_prod(along, along)


def _shrunk(views: Views, frame: int, factor: int) -> Tensor:
    """Returns the brightness (H', W') in [0, 1] of a picture shrunk by a factor."""
    return torch.nn.functional.avg_pool2d(views.picture(frame, "black").mean(dim=2)[None, None], factor)[0, 0]


def _sampled(shrunk: Tensor, factor: int, place: Tensor) -> Tensor:
    """Returns the brightness (N, P) of a shrunk picture at places (N, P, 2), pixels of the whole one."""
    height, width = shrunk.shape
    grid = place / (torch.tensor([width, height]) * factor) * 2 - 1
    return torch.nn.functional.grid_sample(shrunk[None, None], grid[None], align_corners=False, padding_mode="border")[
        0, 0
    ]


def _correlation(ours: Tensor, theirs: Tensor) -> Tensor:
    """Returns the correlation (N,) of patches (N, P)."""
    ours = ours - ours.mean(dim=1, keepdim=True)
    theirs = theirs - theirs.mean(dim=1, keepdim=True)
    return (ours * theirs).sum(dim=1) / (ours.norm(dim=1) * theirs.norm(dim=1)).clamp(min=1e-6)
