"""LLFF captures: ``poses_bounds.npy`` beside the photographs (Mildenhall et al. 2019).

A row has 17 numbers: a 3 x 5 matrix [down | right | backwards | centre | height, width, focal], row-major, then the
nearest and farthest depth. Rows go with the pictures in the order of their names.
"""

from __future__ import annotations

import re
from pathlib import Path
from tokenize import TokenError

import numpy

from nerf.config import SceneSettings
from nerf.errors import InputError
from nerf.scenes.captures import Photo, checked_photo, photo_capture
from nerf.scenes.colmap import picture_folder
from nerf.scenes.masks import with_masks
from nerf.scenes.picture_names import picture_files, some
from nerf.scenes.scene import Capture

FILE = "poses_bounds.npy"


def is_llff(folder: Path) -> bool:
    """Returns whether the folder holds this format."""
    return (folder / FILE).is_file()


def open_llff(folder: Path, settings: SceneSettings) -> Capture:
    """Returns the capture in a folder.

    Raises:
        InputError: the file is damaged, or its rows do not go with the pictures.
    """
    file = folder / FILE
    rows = _rows(file)

    pictures, left = picture_folder(folder, settings.downscale)
    names = picture_files(pictures)
    if len(names) != len(rows):
        raise InputError(
            f"{file}: {len(rows)} poses, but {pictures} has {len(names)} pictures; they go together by order, "
            "so none may be missing"
        )

    photos = []
    for name, row in zip(names, rows.astype(numpy.float64)):
        matrix = row[:15].reshape(3, 5)
        down, right, back, center = matrix[:, :4].T
        height, width, focal = matrix[:, 4]
        pose = numpy.stack([right, down, -back, center], axis=1)
        photo = Photo(
            name, pictures / name, pose, (focal, focal), (width / 2, height / 2), (width, height),
            depths=(row[15], row[16]),
        )  # fmt: skip
        photos.append(checked_photo(photo, str(file)))
        if not 0 < row[15] < row[16] < numpy.inf:
            raise InputError(f'{file}: depths of "{name}" are {row[15]:g} to {row[16]:g}; expected 0 < near < far')

    notes = [f"format: LLFF {FILE} ({len(rows)} poses), pictures in {pictures.name}"]
    counted = sorted(names, key=_by_numbers)
    if counted != names:
        notes.append(
            f"warning: poses go to pictures in the order of their letters ({some(names, 3)}), as LLFF has it, "
            f"not of their numbers ({some(counted, 3)}); if that is wrong, rename them with leading zeros"
        )
    photos = with_masks(photos, folder, notes)
    return photo_capture("llff", photos, notes, settings, left)


def _by_numbers(name: str) -> list[tuple[int, str]]:
    """Returns what sorts names by the numbers in them."""
    return [(int(part), "") if part.isdecimal() else (0, part) for part in re.split(r"(\d+)", name)]


def _rows(file: Path) -> numpy.ndarray:
    """Returns the file's rows (N, 17)."""
    try:
        # Mapped: a header that claims more than the file holds is refused, not allocated.
        rows = numpy.array(numpy.lib.format.open_memmap(file, mode="r"))
    except (OSError, ValueError, EOFError, OverflowError, SyntaxError, TokenError) as error:
        raise InputError(f"{file}: not a readable array ({' '.join(str(error).split())})") from None
    if rows.ndim != 2 or rows.shape[1] != 17 or not numpy.issubdtype(rows.dtype, numpy.floating) or len(rows) == 0:
        raise InputError(f"{file}: expected rows of 17 numbers, found {rows.dtype} of shape {rows.shape}")
    return rows
