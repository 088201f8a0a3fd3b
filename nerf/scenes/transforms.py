"""transforms.json: posed photographs as instant-ngp and nerfstudio write them, see `nerf.scenes.frames`."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from nerf.config import SceneSettings
from nerf.errors import InputError
from nerf.scenes.captures import UPRIGHT, checked_photo, found_photos, photo_capture
from nerf.scenes.frames import SPLIT_LISTS, Frame, open_frames, unread_notes
from nerf.scenes.masks import with_masks
from nerf.scenes.picture_names import find_pictures
from nerf.scenes.scene import SPLITS, Capture

FILE = "transforms.json"


def is_transforms(folder: Path) -> bool:
    """Returns whether the folder holds this format."""
    return (folder / FILE).is_file()


def open_transforms(folder: Path, settings: SceneSettings) -> Capture:
    """Returns the capture in a folder; frames whose pictures do not exist are named and skipped.

    Raises:
        InputError: the file is damaged, or none of its pictures exists.
    """
    file = folder / FILE
    tree, frames = open_frames(file)
    names = [_name(frame, index, file) for index, frame in enumerate(frames)]
    if len(set(names)) < len(names):
        raise InputError(f"{file}: the same picture is listed twice; remove one of its frames")
    paths = find_pictures(folder, names, str(file))
    splits = _splits(tree, file)
    there = [index for index, path in enumerate(paths) if path.is_file()]
    if not there:
        raise InputError(f"{file}: none of its {len(frames)} pictures was found (looked for {paths[0]})")

    photos = []
    for index, (frame, name, path) in enumerate(zip(frames, names, paths)):
        where = f'{file}: frame {index} ("{name}")'
        # The size of a missing picture does not matter: it is only named.
        size_from = path if index in there else paths[there[0]]
        photo = Frame(tree, frame, name, path, where).photo(folder, size_from, settings.orientation == UPRIGHT)
        photos.append(replace(checked_photo(photo, where), split=splits.get(name, "")))

    notes = [f"format: {FILE} ({len(frames)} frames)", *unread_notes(tree, frames, file, SPLIT_LISTS)]
    photos = with_masks(found_photos(photos, notes, str(file)), folder, notes)
    if splits and not any(photo.split == "train" for photo in photos):
        raise InputError(f'{file}: none of the pictures found is in "train_filenames"')
    return photo_capture("transforms", photos, notes, settings, settings.downscale)


def _name(frame: dict, index: int, file: Path) -> str:
    """Returns the file of a frame's picture, as it is written there but for the prefix ``./``."""
    text = frame.get("file_path")
    if not isinstance(text, str) or not text:
        raise InputError(f'{file}: frame {index}: no "file_path"')
    return _plain(text)


def _plain(text: str) -> str:
    return text.replace("\\", "/").removeprefix("./")


def _splits(tree: dict, file: Path) -> dict[str, str]:
    """Returns the split of every picture that nerfstudio's ``train_filenames`` and its like name."""
    found: dict[str, str] = {}
    for split, key in zip(SPLITS, SPLIT_LISTS):
        names = tree.get(key, [])
        if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
            raise InputError(f'{file}: "{key}" is not a list of file names')
        found = {**dict.fromkeys(map(_plain, names), split), **found}
    return found
