"""Masks beside photographs: where they lie, which pixels they leave, and what is said of them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

import numpy
import torch
from torch import Tensor

from nerf.errors import InputError
from nerf.scenes.picture_names import MASK_BESIDE, PICTURE_FOLDERS, files_under, is_picture, key, some
from nerf.scenes.pictures import SUFFIXES, read_whole_picture

if TYPE_CHECKING:
    from nerf.scenes.captures import Photo

FOLDERS = ("masks", "mask")  # in a scene's folder
LOSSY = (".jpg", ".jpeg", ".jfif", ".webp", ".avif", ".heic", ".heif")  # black is not exactly 0 in them
ASPECT_SLACK = 0.02  # by which a mask's shape may differ from its picture's


def with_masks(photos: Sequence[Photo], scene: Path, notes: list[str]) -> list[Photo]:
    """Returns photographs with the masks that lie in the scene's folder for them; those that have one keep it.

    A mask is ``masks/NAME.png`` or ``mask/NAME.png``, where NAME is the picture's with or without suffix, or
    ``dynamic_mask_NAME.png`` beside the picture, which is white where the others are black. Any picture's suffix will
    do. Masks that fit to no picture are named in a note.

    Raises:
        InputError: two masks fit to one picture, or one mask to two pictures.
    """
    folders = [path for path in sorted(scene.iterdir()) if path.name.lower() in FOLDERS and path.is_dir()]
    files = {path: folder for folder in folders for path in files_under(folder) if is_picture(path)}
    by_name: dict[str, list[Path]] = defaultdict(list)
    for path, folder in files.items():
        by_name[key(path.relative_to(folder).with_suffix("").as_posix())].append(path)

    beside: dict[str, list[Path]] = defaultdict(list)
    for folder in {photo.path.parent for photo in photos if photo.path.parent.is_dir()}:
        for path in sorted(folder.glob(f"{MASK_BESIDE}*")):
            if path.suffix.lower() in SUFFIXES:
                beside[key((folder / path.stem.removeprefix(MASK_BESIDE)).as_posix())].append(path)

    masked = []
    owner: dict[Path, Photo] = {}
    for photo in photos:
        if photo.mask is None:
            file = _fitting(by_name, _names_in_folder(photo.path, scene))
            hidden = _fitting(beside, [photo.path.as_posix(), photo.path.with_suffix("").as_posix()])
            mask = file or hidden
            if mask is not None and owner.setdefault(mask, photo) is not photo:
                both = f'"{owner[mask].name}" and "{photo.name}"'
                raise InputError(f"{mask}: fits to both {both}; name masks by the pictures' folders and whole names")
            photo = replace(photo, mask=mask, mask_hides=file is None and hidden is not None)
        masked.append(photo)

    used = {photo.mask for photo in masked}
    unused = [path for path in [*files, *(path for paths in beside.values() for path in paths)] if path not in used]
    if unused:
        names = some([path.relative_to(scene).as_posix() for path in unused])
        notes.append(
            f"warning: masks: {len(unused)} files fit to no picture by their names and are not used: {names}; "
            f"a mask of a.jpg is masks/a.jpg.png or masks/a.png"
        )
    return masked


def _names_in_folder(picture: Path, scene: Path) -> list[str]:
    """Returns the names, without the mask's suffix, that the mask of a picture may have in a folder of masks."""
    parts = picture.relative_to(scene).parts if picture.is_relative_to(scene) else picture.parts[-1:]
    if parts[0].lower().split("_")[0] in PICTURE_FOLDERS:
        wholes = [PurePosixPath(*parts[1:]), PurePosixPath(*parts)]
    else:
        wholes = [PurePosixPath(*parts)]
    wholes.append(PurePosixPath(parts[-1]))
    return [name.as_posix() for whole in wholes for name in (whole, whole.with_suffix(""))]


def _fitting(masks: dict[str, list[Path]], names: Sequence[str]) -> Path | None:
    """Returns the mask with the first of some names that there is."""
    for name in names:
        found = masks.get(key(name), [])
        if len(found) > 1:
            raise InputError(f"{found[0]}: {found[1].name} beside it is a mask of the same picture; remove one")
        if found:
            return found[0]
    return None


def read_mask(photo: Photo, width: int, height: int, turned: bool = False) -> tuple[Tensor, int]:
    """Returns where a photograph's mask lets its pixels be used, (height, width) bool, and the greatest of its values.

    The mask is resampled to the nearest pixel. turned: see `nerf.scenes.pictures.read_picture`.

    Raises:
        InputError: the mask cannot be read, or has another shape than the picture.
    """
    assert photo.mask is not None
    used, greatest = shown_by_mask(photo.mask, width / height, turned)
    rows, columns = used.shape
    slack = ASPECT_SLACK + 1 / min(width, height) + 1 / min(rows, columns)
    if not 1 - slack < (columns / rows) / (width / height) < 1 + slack:
        raise InputError(
            f"{photo.mask}: {columns} x {rows} pixels, but {photo.path.name} has {width} x {height}: "
            "the mask belongs to another picture"
        )

    row = ((torch.arange(height) + 0.5) * rows / height).long()
    column = ((torch.arange(width) + 0.5) * columns / width).long()
    shown = torch.from_numpy(used)[row][:, column]
    return ~shown if photo.mask_hides else shown, greatest


def shown_by_mask(file: Path, aspect: float | None = None, turned: bool = True) -> tuple[numpy.ndarray, int]:
    """Returns where a mask is white, (H, W) bool, and the greatest of its values.

    Its colours count, and its alpha only where all its colours are one. White is what is brighter than half; if
    nothing is and the file keeps values exactly, all that is not black: masks of 0 and 1 are common.

    aspect, turned: see `read_whole_picture`.
    """
    pixels = read_whole_picture(file, aspect, turned)
    colors = pixels[..., :3] if pixels.shape[2] > 2 else pixels[..., :1]
    if pixels.shape[2] in (2, 4) and (colors == colors[0, 0]).all() and (pixels[..., -1] != pixels[0, 0, -1]).any():
        colors = pixels[..., -1:]

    values = colors.max(axis=2)
    greatest = int(values.max())
    half = int(numpy.iinfo(pixels.dtype).max) // 2
    exact = file.suffix.lower() not in LOSSY
    return values > (0 if exact and greatest <= half else half), greatest
