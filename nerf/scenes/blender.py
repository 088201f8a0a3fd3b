"""Blender (NeRF-synthetic) format: ``transforms_<split>.json`` beside pictures, mostly PNG files with alpha.

The file's cameras look along -z with y up (OpenGL); `_pose` turns them to the project's axes (z forward, y down).
The world stays as it is. Files that say more of their cameras than one angle of view, and pictures of a whole place,
are read as photographs are, see `nerf.scenes.frames`.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy
import torch

from nerf.config import PLACE, SceneSettings
from nerf.errors import InputError
from nerf.files import check_readable
from nerf.geometry.cameras import Cameras
from nerf.geometry.origin import near_origin
from nerf.scenes.captures import UPRIGHT, checked_photo, evenly_spread, photo_capture
from nerf.scenes.frames import Frame, open_frames, says_more, unread_notes
from nerf.scenes.masks import FOLDERS, with_masks
from nerf.scenes.picture_names import file_names, find_pictures, inside, unique_words
from nerf.scenes.pictures import doubtful_turn, read_picture
from nerf.scenes.room import check_room
from nerf.scenes.scene import SPLITS, Capture, Views, box_average

JUDGED = 8  # pictures that tell what is behind the thing
BORDER = 0.99  # of a picture's border must have a colour for it to be what is behind the thing
NEARLY = 6  # of 255 by which colours of a border may differ from white or black: compression


def is_blender(folder: Path) -> bool:
    """Returns whether the folder holds this format."""
    return any(_file(folder, split).exists() for split in SPLITS)


def blender_ground(folder: Path) -> str:
    """Returns what is behind the thing in the pictures, see `Scene.ground`: their values tell, not their kind of file.

    Raises:
        InputError: a file is damaged.
    """
    file = _file(folder, "train")
    if not file.is_file():
        return ""
    _, frames = open_frames(file)
    paths = find_pictures(folder, [_file_path(frame, i, file) for i, frame in enumerate(frames)], str(file))
    paths = [path for path in paths if path.is_file()]
    chosen = sorted({round(index) for index in numpy.linspace(0, len(paths) - 1, JUDGED).tolist()} if paths else ())

    borders = []
    for index in chosen:
        pixels = read_picture(paths[index])
        if pixels.shape[2] == 4 and pixels[..., 3].min() < 255:
            return ""
        borders += [pixels[0], pixels[-1], pixels[:, 0], pixels[:, -1]]
    if not borders:
        return ""

    border = numpy.concatenate(borders)[:, :3]
    for ground, value in (("white", 255), ("black", 0)):
        if (abs(border.astype(numpy.int16) - value) <= NEARLY).all(axis=1).mean() >= BORDER:
            return ground
    return PLACE


def open_blender(folder: Path, settings: SceneSettings) -> Capture:
    """Returns the capture in a folder: its splits train and test, and val if there is such a file.

    Raises:
        InputError: a file is missing or damaged.
    """
    splits = [split for split in SPLITS if split != "val" or _file(folder, "val").is_file()]
    notes: list[str] = []
    ground = ""
    file = _file(folder, "train")  # the other splits have pictures of the same kind, read only if they are asked for
    if file.is_file():
        tree, frames = open_frames(file)
        notes += unread_notes(tree, frames, file)
        ground = blender_ground(folder)
        if ground == PLACE or _says_more(folder) or _any_turned(folder, frames, file):
            return _with_intrinsics(folder, settings, ground, notes)

    masks = [path.name for path in sorted(folder.iterdir()) if path.name.lower() in FOLDERS and path.is_dir()]
    if masks:
        notes.append(f"warning: {', '.join(masks)}: not used; in this format frames name their masks as mask_path")
    if ground:
        notes.append(f"background: {ground}, as the borders of the pictures are (they have no alpha)")
    read = {split: partial(load_blender, folder, split, settings.downscale) for split in splits}
    if settings.pictures:
        read["train"] = partial(load_blender, folder, "train", settings.downscale, settings.pictures)
        notes.append(f"learned from: {settings.pictures} pictures of the training split, evenly spread")
    return Capture("blender", read, notes=notes)


def _says_more(folder: Path) -> bool:
    """Returns whether a file of a folder says more of its pictures than one angle of view, see `says_more`."""
    for split in SPLITS:
        file = _file(folder, split)
        try:
            if file.is_file() and says_more(*open_frames(file)):
                return True
        except InputError:
            # A damaged file is an error where its split is read.
            continue
    return False


def _any_turned(folder: Path, frames: list[dict], file: Path) -> bool:
    """Returns whether EXIF asks to turn a picture that a file names."""
    paths = find_pictures(folder, [_file_path(frame, i, file) for i, frame in enumerate(frames)], str(file))
    return any(doubtful_turn(path, shape_told=False) != 1 for path in paths if path.is_file())


def _with_intrinsics(folder: Path, settings: SceneSettings, ground: str, notes: list[str]) -> Capture:
    """Returns the capture of a folder whose files say more of the cameras, or whose pictures show a whole place."""
    photos = []
    for split in SPLITS:
        file = _file(folder, split)
        if not file.is_file():
            continue

        tree, frames = open_frames(file)
        texts = [_file_path(frame, index, file) for index, frame in enumerate(frames)]
        paths = _found(folder, texts, file)
        for index, (frame, path) in enumerate(zip(frames, paths)):
            where = f'{file}: frame {index} ("{texts[index]}")'
            name = path.relative_to(folder).as_posix()
            photo = Frame(tree, frame, name, path, where).photo(folder, path, settings.orientation == UPRIGHT)
            photos.append(replace(checked_photo(photo, where), split=split))

    photos = with_masks(photos, folder, notes)
    capture = photo_capture("blender", photos, notes, settings, settings.downscale)
    if ground == PLACE:
        return replace(
            capture, notes=[*capture.notes, "pictures of a whole place: they have no alpha, nor one background"]
        )
    bounded = {split: partial(_bounded, read) for split, read in capture.read.items()}
    return replace(capture, read=bounded)


def _bounded(read: Callable[[], Views]) -> Views:
    """Returns the views of one thing that a split holds."""
    return replace(read(), unbounded=False)


def _file(folder: Path, split: str) -> Path:
    """Returns the file that lists the pictures of a split."""
    return folder / f"transforms_{split}.json"


def _found(folder: Path, texts: list[str], file: Path) -> list[Path]:
    """Returns where the pictures that a file names lie.

    Raises:
        InputError: one is missing, or is listed twice.
    """
    paths = find_pictures(folder, texts, str(file))
    for index, path in enumerate(paths):
        if not path.is_file():
            raise InputError(
                f'{file}: frame {index}: file "{texts[index]}" not found (looked for {path.relative_to(folder)} in '
                "the scene folder, with the suffix of any picture); restore the picture or remove the frame"
            )
    if len(set(paths)) < len(paths):
        raise InputError(f"{file}: the same picture is listed twice; remove one of its frames")
    return paths


def load_blender(folder: Path, split: str, downscale: int = 1, wanted: int = 0) -> Views:
    """Returns the pictures and cameras of one split.

    wanted: how many of them, evenly spread; 0 for all.

    Raises:
        InputError: a file is missing, damaged or contradicts another; the message names it.
    """
    file = _file(folder, split)
    _check_there(file)
    tree, frames = open_frames(file)
    angle = _camera_angle(tree, file)

    # A picture is called by its file alone, or with its folders where that is not unique.
    paths = _found(folder, [_file_path(frame, i, file) for i, frame in enumerate(frames)], file)
    names = unique_words([path.stem for path in paths])
    if len({path.stem for path in paths}) < len(paths):
        names = file_names([path.relative_to(folder).as_posix() for path in paths])

    matrices = [_pose(frame, index, file) for index, frame in enumerate(frames)]
    if wanted:
        chosen = evenly_spread(len(frames), wanted)
        names = tuple(names[index] for index in chosen)
        paths = [paths[index] for index in chosen]
        matrices = [matrices[index] for index in chosen]
    poses, origin = near_origin(numpy.stack(matrices))
    images, white = _read_images(paths, downscale)

    _, height, width, _ = images.shape
    focal = 0.5 * width / math.tan(0.5 * angle)
    cameras = Cameras(
        poses,
        torch.full((len(paths), 2), focal),
        torch.tensor([[width / 2, height / 2]]).repeat(len(paths), 1),
        width,
        height,
        origin=origin,
    )
    return Views(names, images, white, cameras)


def _check_there(file: Path) -> None:
    """Raises InputError, naming the files that there are, if that of a split is missing."""
    check_readable(file)
    if not file.exists():
        there = [_file(file.parent, split).name for split in SPLITS if _file(file.parent, split).exists()]
        raise InputError(f"{file}: not found; the folder has {', '.join(there) or 'no transforms file'}")


def _camera_angle(tree: dict, file: Path) -> float:
    """Returns the horizontal field of view, radians."""
    angle = tree.get("camera_angle_x")
    if isinstance(angle, bool) or not isinstance(angle, (int, float)) or not 0 < angle < math.pi:
        raise InputError(f'{file}: "camera_angle_x" is {angle!r}; expected the horizontal field of view in radians')
    return float(angle)


def _file_path(frame: object, index: int, file: Path) -> str:
    """Returns the name of a frame's picture, which lies inside the folder; the suffix may be left out."""
    text = frame.get("file_path") if isinstance(frame, dict) else None
    if not isinstance(text, str) or not text:
        raise InputError(f'{file}: frame {index}: no "file_path"')
    inside(file.parent, text, f"{file}: frame {index}")
    return text


def _pose(frame: dict, index: int, file: Path) -> numpy.ndarray:
    """Returns world_from_camera (3, 4) float64 with the camera's y and z axes turned from OpenGL's."""
    try:
        matrix = numpy.array(frame.get("transform_matrix"), dtype=numpy.float64)
    except (TypeError, ValueError, OverflowError):
        matrix = numpy.empty(0)
    if matrix.shape not in ((4, 4), (3, 4)):
        raise InputError(f'{file}: frame {index}: "transform_matrix" is not a 4 x 4 matrix of numbers')

    with numpy.errstate(over="ignore"):
        finite = numpy.isfinite(matrix.astype(numpy.float32)).all()
    if not finite:
        raise InputError(
            f'{file}: frame {index}: "transform_matrix" has a value that is not finite; '
            "correct the pose or remove the frame"
        )
    if len(matrix) == 4 and not numpy.allclose(matrix[3], [0, 0, 0, 1], atol=1e-6):
        raise InputError(
            f'{file}: frame {index}: the last row of "transform_matrix" is {matrix[3].tolist()}, not 0 0 0 1; '
            "is the matrix transposed?"
        )

    rotation = matrix[:3, :3]
    if not numpy.allclose(rotation @ rotation.T, numpy.eye(3), atol=1e-3) or numpy.linalg.det(rotation) < 0:
        raise InputError(
            f'{file}: frame {index}: "transform_matrix" does not hold a rotation '
            "(its axes must be orthonormal and right-handed)"
        )

    return matrix[:3] * numpy.array([1.0, -1.0, -1.0, 1.0])


def _read_images(paths: list[Path], downscale: int) -> tuple[torch.Tensor, int]:
    """Returns pictures (F, H, W, C) and the integer that stands for 1.0."""
    first = read_picture(paths[0])
    height, width, channels = first.shape
    if height % downscale or width % downscale:
        raise InputError(
            f"{paths[0]}: {width} x {height} pixels cannot be divided by --downscale {downscale}; "
            "choose a factor of both"
        )

    check_room(paths[0], (len(paths), height // downscale, width // downscale, channels), downscale)

    # Averaging no picture at all tells the shape and type of what averaging gives.
    like, white = box_average(torch.empty(0, height, width, channels, dtype=torch.uint8), 255, downscale)
    images = torch.empty(len(paths), *like.shape[1:], dtype=like.dtype)

    def read(index: int) -> None:
        picture = read_picture(paths[index])
        if picture.shape != first.shape:
            raise InputError(
                f"{paths[index]}: {_size(picture)}, but {paths[0].name} has {_size(first)}; "
                "all pictures of a split must agree"
            )
        images[index] = box_average(torch.from_numpy(picture)[None], 255, downscale)[0][0]

    with ThreadPoolExecutor(max_workers=4) as pool:
        for _ in pool.map(read, range(len(paths))):
            pass
    return images, white


def _size(picture: numpy.ndarray) -> str:
    height, width, channels = picture.shape
    return f"{width} x {height} pixels with {channels} channels"
