"""The space of a training: its box, the cells of it that can hold matter, and what of the pictures tells so."""

from __future__ import annotations

import time
from dataclasses import dataclass

from torch import Tensor

from nerf.capture.stereo import MeasuredDistances, free_cells, measure_distances
from nerf.capture.visual_hull import Silhouettes, find_silhouettes, scene_space
from nerf.config import Settings
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
    measured: MeasuredDistances | None = None  # how far what the pictures show was measured to be by stereo


def find_space(views: Views, settings: Settings, slack: float = 0.0) -> SceneSpace:
    """Returns the space that a training on pictures has.

    Silhouettes carve it where the pictures have alpha. Of photographs of a whole place few say little: there stereo
    measures how far what they show is, and what lies before that is empty at first. A training may fill it: leaves that
    are thinner than stereo's windows were measured as what is behind them.

    slack: how far silhouettes may be misplaced, as a part of the pictures' longer side.

    Raises:
        InputError: the cameras stand in one place.
    """
    silhouettes = find_silhouettes(views)
    resolution = settings.render.occupancy_resolution
    box, hull = scene_space(views, settings.scene.bounds, resolution, slack, silhouettes)
    if box.contraction is None or not _wants_stereo(views, settings):
        return SceneSpace(box, hull, hull, silhouettes)

    start = time.perf_counter()
    measured = measure_distances(views, box.contraction.near, fastest())
    cells = hull.nonzero()
    free = free_cells(views.cameras, measured, box, cells, resolution)
    occupied = hull.clone()
    occupied[tuple(cells[free].T)] = False
    say(
        "stereo",
        f"stereo: {measured.part:.0%} of the pictures measured; {free.float().mean():.0%} of space is empty at first; "
        f"{time.perf_counter() - start:.1f} s",
    )
    return SceneSpace(box, hull, occupied, None, measured)


def _wants_stereo(views: Views, settings: Settings) -> bool:
    """Whether stereo is asked for, or left to the capture, which it suits; without the engine it would take minutes."""
    asked = settings.capture.stereo
    large = max(views.cameras.width, views.cameras.height) >= LEAST_FOR_STEREO
    return asked == "always" or (asked == "auto" and large and len(views) <= MOST_FOR_STEREO and fastest() == "native")
