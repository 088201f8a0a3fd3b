"""Depth maps that came with the photographs: how long a scene unit is by them, and how far what pictures show is.

Poses may be in any unit, depths are in metres. A point that one map shows is seen where another shows it at one scale
alone: the one at which most points agree is taken.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import interpolate

from nerf.capture.bounds import center_of_attention
from nerf.capture.stereo import MeasuredDistances, along_rays, neighbours, seen_points
from nerf.errors import InputError
from nerf.geometry.cameras import Cameras
from nerf.geometry.scale import Scale
from nerf.report import say
from nerf.scenes.depth_files import read_depth
from nerf.scenes.scene import Views

ASPECT_SLACK = 0.03  # by which a map's shape may differ from its photograph's
LARGEST = 384  # pixels of the longer side that are kept of a map
MOST_PAIRS = 60  # of photographs, whose maps are held against each other
POINTS, COARSE = 2000, 5  # of a map; at first every fifth
TIMES = 8.0  # the scale may be so many times as large or as small as the cameras' distance says
STEP, FINE_STEP, FINE_STEPS = 0.02, 0.003, 20  # of the scale, that are tried
SAME, FINE_SAME = 0.05, 0.02  # part of a depth by which two may differ
LEAST_AGREEING = 0.25  # of the points that two maps share: with fewer the maps do not belong to these poses


@dataclass(frozen=True)
class SensedDistances:
    """How far what the pictures show is by their depth maps, and the scale at which these agree with the poses."""

    measured: MeasuredDistances
    scale: Scale
    maps: int


def sensed_distances(views: Views) -> SensedDistances | None:
    """Returns what depth maps tell of the pictures; None where there are none, or they do not fit the poses.

    Raises:
        InputError: a map cannot be read, or has another shape than its photograph.
    """
    if not any(views.depth_files):
        return None
    count = sum(file is not None for file in views.depth_files)
    cameras, depth = _maps(views)
    try:
        center, _ = center_of_attention(views)
    except InputError:
        say("depth", f"warning: {count} depth maps are not used: the cameras stand in one place")
        return None
    metres, agreeing = scale_of(cameras, depth, center)
    if agreeing < LEAST_AGREEING:
        say(
            "depth", f"warning: {count} depth maps agree with the poses at no scale ({agreeing:.0%}): they are not used"
        )
        return None
    scale = Scale(metres, f"{count} depth maps, which agree in {agreeing:.0%} of what they share")
    return SensedDistances(along_rays(views, cameras, depth / metres), scale, count)


def _maps(views: Views) -> tuple[Cameras, Tensor]:
    """Returns the cameras of depth maps of one size, and the maps (F, h, w) in metres; 0 where there is nothing."""
    whole = views.cameras
    depths = torch.empty(0)
    for frame, file in enumerate(views.depth_files):
        if file is None:
            continue
        depth = read_depth(file)
        if not len(depths):
            shrunk = min(1.0, LARGEST / max(depth.shape))
            rows, columns = (max(1, round(side * shrunk)) for side in depth.shape)
            depths = torch.zeros(len(whole), rows, columns)
        width, height = whole.size[frame].tolist()
        if abs(depth.shape[1] / depth.shape[0] * height / width - 1) > ASPECT_SLACK + 1 / min(depth.shape):
            shape = f"{depth.shape[1]} x {depth.shape[0]} pixels, its photograph has {width} x {height}"
            raise InputError(
                f"{file.path}: {shape}: the depth map belongs to another "
                "picture, or lies on its side: turn it, or remove it"
            )
        depths[frame] = interpolate(depth[None, None], depths.shape[1:], mode="nearest-exact")[0, 0]

    rows, columns = depths.shape[1:]
    factor = torch.tensor([columns, rows]) / whole.size
    pose, lens = whole.world_from_camera, whole.lens
    return Cameras(pose, whole.focal * factor, whole.center * factor, columns, rows, lens, origin=whole.origin), depths


def scale_of(cameras: Cameras, depth: Tensor, center: Tensor) -> tuple[float, float]:
    """Returns how many metres a scene unit is, and the part of the points that agree then.

    cameras, depth: of the maps, (F, h, w) metres. center: (3,), what the cameras look at.
    """
    others = neighbours(cameras, center)
    has_map = (depth > 0).flatten(1).any(dim=1)
    pairs = [
        (frame, other)
        for frame, row in enumerate(others.tolist())
        for other in row
        if other >= 0 and has_map[frame] and has_map[other]
    ]
    pairs = pairs[:: -(-len(pairs) // MOST_PAIRS)] if pairs else []
    points = {frame: _points(cameras, frame, depth[frame]) for frame, _ in pairs}

    # About as far as what the cameras look at.
    away = (cameras.world_from_camera[:, :, 3] - center).norm(dim=1).median().item()
    guess = depth[depth > 0].median().item() / away if has_map.any() else 1.0

    few = {frame: (pixel[::COARSE], own[::COARSE]) for frame, (pixel, own) in points.items()}

    def agreeing(metres: float, same: float, some: dict[int, tuple[Tensor, Tensor]], common: bool = False) -> float:
        told = [_agreement(cameras, depth, pair, some[pair[0]], metres, same) for pair in pairs]
        return sum(agree for agree, _ in told) / max(1, sum(shared if common else 1 for _, shared in told))

    # Roughly at first; then the middle of the peak, which is sharper the less two depths may differ.
    count = math.ceil(math.log(TIMES) / STEP)
    tried = [guess * math.exp(step * STEP) for step in range(-count, count + 1)]
    best = max(tried, key=lambda metres: agreeing(metres, SAME, few))
    tried = [best * math.exp(step * FINE_STEP) for step in range(-FINE_STEPS, FINE_STEPS + 1)]
    scores = [agreeing(metres, FINE_SAME, points) for metres in tried]
    top = min(max(scores.index(max(scores)), 1), len(scores) - 2)
    before, at, after = scores[top - 1 : top + 2]
    bend = before - 2 * at + after
    metres = tried[top] * math.exp(FINE_STEP * (0.5 * (before - after) / bend if bend < 0 else 0.0))
    return metres, agreeing(metres, SAME, points, common=True)


def _points(cameras: Cameras, frame: int, depth: Tensor) -> tuple[Tensor, Tensor]:
    """Returns pixels (N, 2) of a map that have depths, and these (N,)."""
    found = (depth > 0).nonzero()
    found = found[:: -(-len(found) // POINTS)] if len(found) else found
    return found.flip(1), depth[found[:, 0], found[:, 1]]


def _agreement(
    cameras: Cameras,
    depth: Tensor,
    pair: tuple[int, int],
    points: tuple[Tensor, Tensor],
    metres: float,
    same: float,
) -> tuple[float, int]:
    """Returns how many of one map's points another shows as far away, if a scene unit is so many metres.

    Then how many it shows at all. A point counts in full where both depths are the same, and not at all where they
    differ by more than a part of them (Tukey's biweight).
    """
    frame, other = pair
    pixel, own = points
    place, ahead = cameras.project(other, seen_points(cameras, frame, pixel, own / metres))
    there = cameras.shows(other, place, ahead)
    column, row = place[there].long().unbind(1)
    theirs = depth[other, row, column]
    off = torch.where(theirs > 0, (ahead[there] * metres / theirs.clamp(min=1e-9) - 1) / same, 1.0)
    return (1 - off.square()).clamp(min=0).square().sum().item(), int((theirs > 0).sum())
