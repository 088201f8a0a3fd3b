"""The space of a training: its box, the cells of it that can hold matter, and what of the pictures tells so."""

from __future__ import annotations

import time
from dataclasses import dataclass

import torch
from torch import Tensor

from nerf.capture.depth_maps import SensedDistances, sensed_distances
from nerf.capture.stereo import MeasuredDistances, free_cells, measure_distances
from nerf.capture.visual_hull import Silhouettes, find_silhouettes, scene_space
from nerf.config import Settings
from nerf.geometry.scale import Scale
from nerf.geometry.scene_box import SceneBox
from nerf.ops.autograd import fastest
from nerf.report import say
from nerf.scenes.scene import Views

MOST_FOR_STEREO = 300  # pictures: more would take minutes, and tell better by themselves where matter is
LEAST_FOR_STEREO = 128  # pixels of the longer side: windows of smaller pictures hold more than one surface


@dataclass(frozen=True)
class SceneSpace:
    """Where a scene is, as its pictures tell before training."""

    box: SceneBox
    hull: Tensor  # (G, G, G) bool, the cells of the box that can hold matter, [x, y, z]
    occupied: Tensor  # (G, G, G) bool, those that hold some at first: others may come to
    silhouettes: Silhouettes | None = None  # of pictures with alpha
    measured: MeasuredDistances | None = None  # how far what the pictures show was measured to be
    scale: Scale | None = None  # how long a scene unit is, by depth maps


def find_space(views: Views, settings: Settings, slack: float = 0.0) -> SceneSpace:
    """Returns the space that a training on pictures has.

    Silhouettes carve it where the pictures have alpha. Of photographs of a whole place few say little: there stereo
    measures how far what they show is, and what lies before that is empty at first. A training may fill it: leaves that
    are thinner than stereo's windows were measured as what is behind them.

    Depth maps that came with the photographs go before stereo, wherever they show anything.

    slack: how far silhouettes may be misplaced, as a part of the pictures' longer side.

    Raises:
        InputError: the cameras stand in one place.
    """
    silhouettes = find_silhouettes(views)
    resolution = settings.render.occupancy_resolution
    box, hull = scene_space(views, settings.scene.bounds, resolution, slack, silhouettes)
    start = time.perf_counter()
    sensed = sensed_distances(views)
    stereo = None
    if box.contraction is not None and _wants_stereo(views, settings):
        stereo = measure_distances(views, box.contraction.near, fastest())
    measured = _both(sensed, stereo)
    if measured is None:
        return SceneSpace(box, hull, hull, silhouettes)

    cells = hull.nonzero()
    free = free_cells(views.cameras, measured, box, cells, resolution)
    occupied = hull.clone()
    occupied[tuple(cells[free].T)] = False
    how = [*([] if sensed is None else [f"{sensed.maps} depth maps"]), *([] if stereo is None else ["stereo"])]
    say(
        "stereo",
        f"{' and '.join(how)}: {measured.part:.0%} of the pictures measured; {free.float().mean():.0%} of space is "
        f"empty at first; {time.perf_counter() - start:.1f} s",
    )
    return SceneSpace(box, hull, occupied, silhouettes, measured, None if sensed is None else sensed.scale)


def _both(sensed: SensedDistances | None, stereo: MeasuredDistances | None) -> MeasuredDistances | None:
    """Returns distances by depth maps and, where these have none, by stereo; None if there is neither."""
    if sensed is None or stereo is None:
        return stereo if sensed is None else sensed.measured
    known = sensed.measured.distance
    return MeasuredDistances(torch.where(known > 0, known, stereo.distance), stereo.scale)


def _wants_stereo(views: Views, settings: Settings) -> bool:
    """Whether stereo is asked for, or left to the capture, which it suits; without the engine it would take minutes."""
    asked = settings.capture.stereo
    large = max(views.cameras.width, views.cameras.height) >= LEAST_FOR_STEREO
    return asked == "always" or (asked == "auto" and large and len(views) <= MOST_FOR_STEREO and fastest() == "native")
