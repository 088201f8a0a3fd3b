"""Cameras looked over before training: whether each can be, and whether together they fit their pictures.

Poses that are turned to the wrong axes, or inverted, train to the end and show nothing. What gives them away are the
pictures: under the right convention neighbours show the same things, see `nerf.capture.matching`. Under the others they
do not. Where the pictures tell how far the scene is and nothing else does, that is handed on.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from nerf.capture.matching import Matches, sweep
from nerf.capture.visual_hull import carve, find_silhouettes
from nerf.errors import InputError
from nerf.geometry.camera_rig import angle_to_attention, camera_box
from nerf.geometry.cameras import Cameras
from nerf.scenes.scene import Scene, Views

WIDEST = 170.0  # degrees that a picture without a fisheye lens may show
MATCHED = 0.15  # part of the patches found again from which poses fit their pictures
CLEARLY = 2.5  # times as many found again as with the poses as given: then they are of another convention
MISSED = 60.0  # degrees between the axes and the point nearest to them all from which that point says nothing
TOLD = 0.3  # part of the patches found again from which their depths are the scene's
FEWEST = 60  # patches with a depth, likewise
NEAREST = 0.7  # of the depth that a twentieth of them lies before: what is nearer still than any patch
TOO_NEAR = 0.3  # of the least depth that pictures show: axes that meet there meet by chance
HULL_CELLS = 32  # along a side, when looking whether silhouettes meet


@dataclass(frozen=True)
class Convention:
    """A way in which poses may have been meant."""

    words: str  # what the poses look like
    mend: str
    turned: Callable[[Cameras], Cameras]  # the cameras as they then are


def _flipped(cameras: Cameras) -> Cameras:
    """Returns the cameras with y and z axes the other way round."""
    pose = cameras.world_from_camera
    return replace(cameras, world_from_camera=torch.cat([pose[:, :, :1], -pose[:, :, 1:3], pose[:, :, 3:]], dim=2))


def _inverse(cameras: Cameras) -> Cameras:
    """Returns cameras with the inverse poses."""
    pose = cameras.world_from_camera
    turn = pose[:, :, :3].mT
    return replace(cameras, world_from_camera=torch.cat([turn, -turn @ pose[:, :, 3:]], dim=2))


MIXED_UP = (
    Convention(
        "have their y and z axes the wrong way round (OpenCV's axes, x right, y down, z forward, where OpenGL's are "
        "read, or the other way)",
        "multiply the second and third column of each by -1",
        _flipped,
    ),
    Convention(
        "are inverted (camera from world where world from camera is read, or the other way)",
        "invert each matrix",
        lambda cameras: _flipped(_inverse(_flipped(cameras))),
    ),
    Convention(
        "are inverted, with y and z axes the wrong way round besides (camera from world in OpenCV's axes)",
        "invert each matrix, then multiply its second and third column by -1",
        lambda cameras: _inverse(_flipped(cameras)),
    ),
)


def checked_scene(scene: Scene, bounds: float = 0.0) -> Scene:
    """Returns a scene whose cameras can be learned from; its notes say what is doubtful about them.

    Photographs whose cameras do not tell how far the scene is get the depths that the pictures themselves show, unless
    its `bounds` are given.

    Raises:
        InputError: a camera cannot be what its file says, the poses fit their pictures under another convention, or
            the cameras stand in one place.
    """
    for views in scene.splits.values():
        check_each(views)

    train = scene.splits["train"]
    if not _doubtful(train, scene.points):
        return scene
    matches = sweep(train, train.cameras)
    if matches.asked and matches.part < MATCHED:
        _check_convention(train, matches)

    if bounds > 0 or train.has_alpha or not train.unbounded or train.depths is not None:
        return scene
    depths = _depths(matches)
    distance = _distance(train.cameras)
    if not _tells_nothing(train.cameras) and (depths is None or distance > TOO_NEAR * depths[0]):
        return scene
    if depths is None:
        note = (
            "warning: the cameras do not look at one place, and neighbouring pictures have too little in common to "
            "tell how far the scene is: if it comes out blurred, give scene.bounds, half the side of a cube that holds "
            "it, or a COLMAP model with points"
        )
        return replace(scene, notes=(*scene.notes, note))

    near, far = depths
    note = f"depths: {near:.3g} to {far:.3g} scene units, from what neighbouring pictures have in common"
    views = replace(train, depths=torch.tensor([depths] * len(train)))
    return replace(scene, splits={**scene.splits, "train": views}, notes=(*scene.notes, note))


def check_each(views: Views) -> None:
    """Refuses cameras that cannot be what their file says, each for itself.

    Raises:
        InputError: a principal point lies outside its picture, or a picture shows more than a pinhole can.
    """
    cameras = views.cameras
    for frame, name in enumerate(views.names):
        size = cameras.size[frame]
        focal = cameras.focal[frame]
        center = cameras.center[frame]
        width, height = size.tolist()
        if not ((center >= 0) & (center <= size)).all():
            x, y = center.tolist()
            raise InputError(
                f'camera of "{name}": the principal point ({x:.6g}, {y:.6g}) lies outside the picture of {width} x '
                f"{height} pixels; are cx, cy and the focal length those of pictures of another size? give w and h of "
                "that size, too"
            )
        angle = 2 * torch.atan(size / 2 / focal).rad2deg().amax().item()
        if angle > WIDEST and not cameras.lens[frame, 0] > 0:
            raise InputError(
                f'camera of "{name}": a focal length of {focal.min().item():.4g} pixels makes the picture of {width} x '
                f"{height} pixels {angle:.0f} degrees wide, which no lens but a fisheye is; give focal length and "
                "principal point in pixels, not as parts of the picture"
            )


def _tells_nothing(cameras: Cameras) -> bool:
    """Returns whether the cameras do not look at one place: then nothing tells from them how far the scene is."""
    return angle_to_attention(cameras) > MISSED


def _distance(cameras: Cameras) -> float:
    """Returns how far the cameras are from what they look at, in the median.

    Raises:
        InputError: the cameras stand in one place.
    """
    return camera_box(cameras).side


def _doubtful(views: Views, points: Tensor | None) -> bool:
    """Returns whether it must be asked of the pictures if the poses fit them: nothing simpler has told."""
    if points is not None and len(points):
        return not _shown(views.cameras, points)
    if views.has_alpha:
        return _tells_nothing(views.cameras) or not _has_hull(views)
    return len(views) > 1 and views.depths is None


def _shown(cameras: Cameras, points: Tensor) -> bool:
    """Returns whether most cameras show some of the points."""
    shown = 0
    for frame in range(len(cameras)):
        shown += bool(cameras.shows(frame, *cameras.project(frame, points)).any())
    return 2 * shown > len(cameras)


def _has_hull(views: Views) -> bool:
    """Returns whether something is where the silhouettes of most pictures allow it."""
    silhouettes = find_silhouettes(views)
    if silhouettes is None:
        return True
    box = camera_box(views.cameras)
    return bool(carve(views, silhouettes, box, HULL_CELLS, -(-len(views) // 2)).any())


def _check_convention(views: Views, given: Matches) -> None:
    """Raises InputError if another convention fits the pictures clearly better than the one in which poses are read."""
    tried = [(sweep(views, convention.turned(views.cameras)).part, convention) for convention in MIXED_UP]
    part, convention = max(tried, key=lambda pair: pair[0])
    if part < MATCHED or part <= CLEARLY * given.part:
        return
    raise InputError(
        f"the poses do not fit the pictures: they look as if they {convention.words}. Neighbouring pictures have "
        f"{given.part:.0%} of what they show in common with the poses as they are read, and {part:.0%} if they are "
        f"turned; to mend the file, {convention.mend} (see data/README.md, axes)"
    )


def _depths(matches: Matches) -> tuple[float, float] | None:
    """Returns the least and the greatest depth of what pictures have in common; None if too little tells."""
    if matches.part < TOLD or len(matches.depth) < FEWEST:
        return None
    near, far = torch.quantile(matches.depth, torch.tensor([0.05, 0.95])).tolist()
    return NEAREST * near, far
