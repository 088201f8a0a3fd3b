"""Pictures that EXIF asks to turn: whether their poses are meant for them as they are stored, or turned.

Programs that find poses differ in it. Where a picture turned has another shape its camera tells; where it has not, half
a turn, a mirrored or a square picture, the pictures must: under the right reading neighbours show the same things, see
`nerf.capture.matching`.
"""

from __future__ import annotations

from dataclasses import replace

import numpy
import torch

from nerf.capture.camera_check import MATCHED
from nerf.capture.matching import neighbours, sweep
from nerf.config import SceneSettings
from nerf.scenes import Scene, SceneFolder, Views, load_scene
from nerf.scenes.captures import UPRIGHT
from nerf.scenes.pictures import upright

STORED = "stored"  # values of scene.orientation
AUTO = "auto"
BETTER = 1.5  # times as many patches found again by which one reading is told from the other


def oriented_scene(
    folder: SceneFolder, splits: tuple[str, ...], settings: SceneSettings
) -> tuple[Scene, SceneSettings]:
    """Returns a scene, and the settings with the orientation of its pictures that was chosen, if there was a choice.

    Raises:
        InputError: as `load_scene`.
    """
    scene = load_scene(folder, splits, settings)
    turns = scene.splits["train"].turns
    if settings.orientation != AUTO or not turns:
        return scene, settings

    stored, turned = _parts(scene.splits["train"])
    asked = f"EXIF asks to turn {len(turns)} of {len(scene.splits['train'])} pictures"
    found = f"their neighbours show {stored:.0%} of the same as they are stored, {turned:.0%} if they are turned"
    if max(stored, turned) < MATCHED or max(stored, turned) < BETTER * min(stored, turned):
        note = (
            f"warning: {asked}, and nothing tells whether their poses are meant for that: they are read as they are "
            "stored; if the scene comes out wrong, give scene.orientation=upright"
        )
        return replace(scene, notes=(*scene.notes, note)), settings

    settings = replace(settings, orientation=STORED if stored > turned else UPRIGHT)
    done = "which is not done" if stored > turned else "which is done"
    note = f"orientation: {asked}, {done}: {found} (scene.orientation)"
    if turned > stored:
        scene = load_scene(folder, splits, settings)
    return replace(scene, notes=(*scene.notes, note)), settings


def _parts(views: Views) -> tuple[float, float]:
    """Returns which part of the pictures that may have to be turned their neighbours show: as stored, and turned."""
    pairs = neighbours(views.cameras, sorted(views.turns))
    frames = sorted({frame for pair in pairs for frame in pair})
    there = [(frames.index(frame), frames.index(other)) for frame, other in pairs]
    some = replace(
        views,
        names=tuple(views.names[frame] for frame in frames),
        images=views.images[frames],
        cameras=views.cameras[torch.tensor(frames)],
        used=None,
    )
    stored = sweep(some, some.cameras, there).part
    for index, frame in enumerate(frames):
        if frame in views.turns:
            _turn(some, index, views.turns[frame])
    return stored, sweep(some, some.cameras, there).part


def _turn(views: Views, frame: int, turn: int) -> None:
    """Turns a picture in place as EXIF asks for; where its sides differ, what both shapes have in common."""
    width, height = views.cameras.size[frame].tolist()
    turned = upright(views.images[frame, :height, :width].numpy(), turn)[:height, :width]
    rows, columns = turned.shape[:2]
    views.images[frame, :rows, :columns] = torch.from_numpy(numpy.ascontiguousarray(turned))
