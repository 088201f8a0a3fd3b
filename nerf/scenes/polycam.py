"""Polycam's raw export: photographs of a phone with LiDAR, their cameras in metres, and depth maps.

``keyframes/`` holds ``corrected_images/`` and ``corrected_cameras/``, or ``images/`` and ``cameras/`` where Polycam did
not optimize them, with ``depth/`` (millimetres) and ``confidence/``; a picture's files have one name. A camera's t_ij
are the rows of its camera-to-world matrix, axes as OpenGL's; the world has y up. Source: the README of Polycam's own
converters (polyform).
"""

from __future__ import annotations

from pathlib import Path

import numpy

from nerf.config import SceneSettings
from nerf.errors import InputError
from nerf.files import read_json
from nerf.scenes.captures import Photo, checked_photo, found_photos, photo_capture
from nerf.scenes.depth_files import MILLIMETRES, DepthFile
from nerf.scenes.masks import with_masks
from nerf.scenes.picture_names import is_picture
from nerf.scenes.scene import Capture
from nerf.text import short

FOLDER = "keyframes"
MEND = "export the capture again"
KINDS = ("corrected_", "")  # what is optimized and undistorted first


def is_polycam(folder: Path) -> bool:
    """Returns whether the folder holds this format."""
    return _kind(folder) is not None


def _kind(folder: Path) -> str | None:
    """Returns the prefix of the folders to read; None if there are none."""
    there = [kind for kind in KINDS if any((folder / FOLDER / f"{kind}cameras").glob("*.json"))]
    return there[0] if there else None


def open_polycam(folder: Path, settings: SceneSettings) -> Capture:
    """Returns the capture in a folder; cameras whose pictures do not exist are named and skipped.

    Raises:
        InputError: a camera is damaged, or no picture exists.
    """
    kind = _kind(folder)
    place = folder / FOLDER
    pictures = {path.stem: path for path in sorted((place / f"{kind}images").glob("*")) if is_picture(path)}
    photos = []
    for file in sorted((place / f"{kind}cameras").glob("*.json")):
        picture = pictures.get(file.stem, place / f"{kind}images" / f"{file.stem}.jpg")
        photos.append(checked_photo(_photo(file, picture, place), str(file)))
    with_depth = sum(photo.depth is not None for photo in photos)
    optimized = "optimized by Polycam" if kind else "as ARKit had them"
    notes = [f"format: Polycam ({len(photos)} cameras, {optimized}; {with_depth} depth maps)"]
    photos = with_masks(found_photos(photos, notes, str(place)), folder, notes)
    return photo_capture("polycam", photos, notes, settings, settings.downscale)


def _photo(file: Path, picture: Path, place: Path) -> Photo:
    """Returns the photograph of a camera's file."""
    tree = read_json(file, MEND)

    def number(key: str) -> float:
        value = tree.get(key) if isinstance(tree, dict) else None
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            raise InputError(f'{file}: "{key}" is {short(value)}; expected a number; {MEND}')
        return float(value)

    matrix = numpy.array([[number(f"t_{row}{column}") for column in range(4)] for row in range(3)])
    depth = place / "depth" / f"{file.stem}.png"
    confidence = place / "confidence" / f"{file.stem}.png"
    return Photo(
        name=f"{file.stem}{picture.suffix}",
        path=picture,
        world_from_camera=matrix * numpy.array([1.0, -1.0, -1.0, 1.0]),
        focal=(number("fx"), number("fy")),
        center=(number("cx"), number("cy")),
        size=(number("width"), number("height")),
        depth=DepthFile(depth, MILLIMETRES, confidence if confidence.is_file() else None) if depth.is_file() else None,
    )
