"""The capture formats: one row each, in the order in which a folder's formats are tried.

A new format is a module of this package with two functions, one that recognises a folder and one that opens it, and a
row here. Photographs with poses end in `nerf.scenes.captures.photo_capture`. Messages, the help and the choices of
``scene.format`` read the rows; data/README.md describes each of them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from nerf.config import PLACE, SceneSettings
from nerf.errors import InputError, nearest
from nerf.scenes.blender import blender_ground, is_blender, open_blender
from nerf.scenes.colmap import is_colmap, open_colmap
from nerf.scenes.llff import is_llff, open_llff
from nerf.scenes.polycam import is_polycam, open_polycam
from nerf.scenes.scene import Capture
from nerf.scenes.sfm import is_photos, open_photos
from nerf.scenes.transforms import is_transforms, open_transforms

AUTO = "auto"  # value of scene.format: the first format that the folder holds


@dataclass(frozen=True)
class Format:
    """A capture format: how it is recognised, and how it is read."""

    name: str  # its word for scene.format
    files: str  # what a folder of this format holds, as messages and the help say it
    detect: Callable[[Path], bool]  # whether a folder holds it
    open: Callable[[Path, SceneSettings], Capture]  # reads all of it but the pictures
    ground: Callable[[Path], str] = lambda folder: PLACE  # what is behind the thing in its pictures, see `Scene.ground`
    poses: bool = True  # False: poses have to be found first, so it is taken only where nothing has poses


FORMATS = (
    Format("blender", "transforms_train.json", is_blender, open_blender, blender_ground),
    Format("transforms", "transforms.json", is_transforms, open_transforms),
    Format("colmap", "a COLMAP model", is_colmap, open_colmap),
    Format("polycam", "Polycam's keyframes/", is_polycam, open_polycam),
    Format("llff", "poses_bounds.npy", is_llff, open_llff),
    Format("photos", "photographs", is_photos, open_photos, poses=False),
)


def formats_with_poses() -> list[Format]:
    """Returns the formats that scene.format may name."""
    return [row for row in FORMATS if row.poses]


def found_formats(folder: Path) -> list[Format]:
    """Returns the formats that a folder holds, the one to take first; without poses only if nothing has them."""
    found = [row for row in formats_with_poses() if row.detect(folder)]
    return found or [row for row in FORMATS if not row.poses and row.detect(folder)]


def has_poses(folder: Path) -> bool:
    """Returns whether a folder holds poses in any format."""
    return any(row.detect(folder) for row in formats_with_poses())


def ground_of(folder: Path, name: str = AUTO) -> str:
    """Returns what is behind the thing in the pictures of a folder, see `Scene.ground`; "" if it holds no format.

    name: the value of scene.format.

    Raises:
        InputError: a file that tells it is damaged.
    """
    chosen = next((row for row in found_formats(folder) if name in (AUTO, row.name)), None)
    return "" if chosen is None else chosen.ground(folder)


def check_format(name: str) -> None:
    """Refuses a value of scene.format that names no format.

    Raises:
        InputError: it is neither "auto" nor the name of a format with poses.
    """
    choices = (AUTO, *(row.name for row in formats_with_poses()))
    if name not in choices:
        raise InputError(f'scene.format: "{name}" is not a choice{nearest(name, choices)}')


def chosen_format(folder: Path, name: str) -> tuple[Format, list[str]]:
    """Returns the format to read from a folder, and a note for the user if there was a choice.

    name: the value of scene.format.

    Raises:
        InputError: the folder holds no known format, or not the one that is named.
    """
    check_format(name)
    found = found_formats(folder)
    if not found:
        *others, last = (row.files for row in FORMATS)
        expected = f"{', '.join(others)} or {last}"
        raise InputError(f"{folder}: nothing to learn from; expected {expected} (see data/README.md)")

    chosen = next((row for row in found if name in (AUTO, row.name)), None)
    if chosen is None:
        names = ", ".join(row.name for row in found)
        raise InputError(f"{folder}: has {names}, not {name} (see data/README.md)")

    others = [row.name for row in found[1:]] if chosen == found[0] else []
    return chosen, [f"the folder also has {', '.join(others)}: scene.format=... chooses"] if others else []
