"""transforms.json: posed photographs as instant-ngp and nerfstudio write them.

Cameras look along -z with y up (OpenGL). Intrinsics stand at the top, in a frame, or both; the frame's win. The world
stays as the file has it; nerfstudio's ``applied_transform`` says how it got there and needs no undoing.
"""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy

from nerf.config import SceneSettings
from nerf.errors import InputError, nearest
from nerf.geometry.lenses import lens_terms
from nerf.scenes.captures import Photo, checked_photo, found_photos, inside, photo_capture
from nerf.scenes.pictures import SUFFIXES, picture_size
from nerf.scenes.scene import SPLITS, Capture

FILE = "transforms.json"
MODELS = ("OPENCV", "OPENCV_FISHEYE", "PINHOLE", "SIMPLE_PINHOLE", "SIMPLE_RADIAL", "RADIAL", "PERSPECTIVE", "FISHEYE")
CONTRADICTORY = 1.25  # times a focal length that an angle beside it may mean
OTHER_TERMS = ("k5", "k6", "s1", "s2", "s3", "s4")


def is_transforms(folder: Path) -> bool:
    """Returns whether the folder holds this format."""
    return (folder / FILE).is_file()


def _read_json(file: Path) -> dict[str, Any]:
    """Returns the object that a JSON file holds; an empty one if it holds something else."""
    try:
        tree = json.loads(file.read_text(encoding="utf-8-sig"))
    except OSError as error:
        raise InputError(f"{file}: cannot be read ({error.strerror})") from None
    except (json.JSONDecodeError, UnicodeDecodeError, RecursionError) as error:
        raise InputError(f"{file}: not valid JSON ({error})") from None
    return tree if isinstance(tree, dict) else {}


def open_transforms(folder: Path, settings: SceneSettings) -> Capture:
    """Returns the capture in a folder; frames whose pictures do not exist are named and skipped.

    Raises:
        InputError: the file is damaged, or none of its pictures exists.
    """
    file = folder / FILE
    tree = _read_json(file)
    frames = tree.get("frames")
    if not isinstance(frames, list) or not frames or not all(isinstance(frame, dict) for frame in frames):
        raise InputError(f'{file}: no "frames"; expected a list with one entry per picture')

    names = [_name(frame, index, file) for index, frame in enumerate(frames)]
    if len(set(names)) < len(names):
        raise InputError(f"{file}: the same picture is listed twice; remove one of its frames")
    paths = [_path(folder, name, file) for name in names]
    splits = _splits(tree, file)
    there = [index for index, path in enumerate(paths) if path.is_file()]
    if not there:
        raise InputError(f"{file}: none of its {len(frames)} pictures was found (looked for {paths[0]})")

    photos = []
    for index, (frame, name, path) in enumerate(zip(frames, names, paths)):
        where = f'{file}: frame {index} ("{name}")'
        # The size of a missing picture does not matter: it is only named.
        size_from = path if index in there else paths[there[0]]
        photo = _photo(folder, {**tree, **frame}, name, path, size_from, where)
        photos.append(replace(checked_photo(photo, where), split=splits.get(name, "")))
        _check_angles(tree, frame, photo, where)

    notes = [f"format: {FILE} ({len(frames)} frames)"]
    photos = found_photos(photos, notes, str(file))
    if splits and not any(photo.split == "train" for photo in photos):
        raise InputError(f'{file}: none of the pictures found is in "train_filenames"')
    return photo_capture("transforms", photos, notes, settings.holdout, settings.downscale)


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
    for split in SPLITS:
        names = tree.get(f"{split}_filenames", [])
        if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
            raise InputError(f'{file}: "{split}_filenames" is not a list of file names')
        found = {**dict.fromkeys(map(_plain, names), split), **found}
    return found


def _path(folder: Path, name: str, file: Path) -> Path:
    """Returns a picture's path; instant-ngp's files may leave the suffix out."""
    path = inside(folder, name, str(file))
    if path.suffix.lower() in SUFFIXES:
        return path
    candidates = [path.with_name(path.name + suffix) for suffix in SUFFIXES]
    return next((file for file in candidates if file.is_file()), candidates[0])


def _photo(folder: Path, values: dict[str, Any], name: str, path: Path, size_from: Path, where: str) -> Photo:
    """Returns the photograph that a frame describes.

    values: the frame's, and those at the top that it does not have. size_from: the picture that tells the size if
    `values` do not.
    """
    lens = _lens(values, where)

    # Intrinsics: pixels of the camera.
    if "w" in values or "h" in values:
        width = _number(values, "w", where)
        height = _number(values, "h", where)
    else:
        width, height, _ = picture_size(size_from)
    focal_x = _focal(values, "x", width, where)
    focal_y = _focal(values, "y", height, where) if {"fl_y", "camera_angle_y"} & values.keys() else focal_x
    center = (_number(values, "cx", where, width / 2), _number(values, "cy", where, height / 2))

    mask = values.get("mask_path")
    if mask is not None and not isinstance(mask, str):
        raise InputError(f'{where}: "mask_path" is {mask!r}; expected a file name')
    masked = inside(folder, mask, where) if mask else None
    if masked is not None and not masked.is_file():
        raise InputError(f'{where}: mask "{mask}" not found; restore it or remove "mask_path"')

    pose = _pose(values, where)
    return Photo(name, path, pose, (focal_x, focal_y or focal_x), center, (width, height), lens, mask=masked)


def _number(values: dict[str, Any], key: str, where: str, default: float | None = None) -> float:
    value = values.get(key, default)
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not abs(value) < 1e30:
        raise InputError(f'{where}: "{key}" is {value!r}; expected a number')
    return float(value)


def _focal(values: dict[str, Any], axis: str, side: float, where: str) -> float:
    """Returns the focal length along an axis, pixels, which may be given as a field of view over `side` pixels."""
    if f"fl_{axis}" in values:
        return _number(values, f"fl_{axis}", where)
    angle = _number(values, f"camera_angle_{axis}", where)
    if not 0 < angle < math.pi:
        raise InputError(f'{where}: "camera_angle_{axis}" is {angle}; expected radians below pi')
    return 0.5 * side / math.tan(0.5 * angle)


def _check_angles(tree: dict[str, Any], frame: dict[str, Any], photo: Photo, where: str) -> None:
    """Refuses a focal length and an angle of view that stand side by side and contradict each other."""
    for axis, focal, side in zip("xy", photo.focal, photo.size):
        keys = {f"fl_{axis}", f"camera_angle_{axis}"}
        # A frame's own focal length says nothing against the angle of another camera at the top.
        beside = frame if keys & frame.keys() else tree
        if not keys <= beside.keys() or photo.lens[0]:
            continue
        by_angle = _focal({f"camera_angle_{axis}": beside[f"camera_angle_{axis}"]}, axis, side, where)
        if not 1 / CONTRADICTORY < focal / by_angle < CONTRADICTORY:
            raise InputError(
                f'{where}: "fl_{axis}" is {focal:.6g} pixels, but "camera_angle_{axis}" over {side:g} pixels means '
                f'{by_angle:.6g}: are the intrinsics those of pictures of another size, or parts of 1? give "w" and '
                f'"h" of that size, or lengths in pixels, or remove the wrong one of the two'
            )


def _lens(values: dict[str, Any], where: str) -> list[float]:
    """Returns the lens, see `nerf.geometry.lenses`."""
    model = values.get("camera_model", "OPENCV")
    if model not in MODELS:
        raise InputError(f'{where}: camera model "{model}" is not supported{nearest(str(model), MODELS)}')

    fisheye = "FISHEYE" in model or bool(values.get("is_fisheye"))
    terms = {key: _number(values, key, where) for key in ("k1", "k2", "k3", "k4", "p1", "p2") if key in values}
    if model in ("PINHOLE", "SIMPLE_PINHOLE"):
        terms = {}
    if not fisheye and terms.get("k4"):
        # Beyond k3 OpenCV's perspective model goes on in a denominator.
        terms["d1"] = terms.pop("k4")

    unread = [key for key in OTHER_TERMS if values.get(key)]
    if unread:
        raise InputError(f"{where}: lens terms {', '.join(unread)} are not supported; undistort the pictures")
    return lens_terms(fisheye, terms)


def _pose(values: dict[str, Any], where: str) -> numpy.ndarray:
    """Returns world_from_camera (3, 4) with the camera's y and z axes turned from OpenGL's."""
    try:
        matrix = numpy.array(values.get("transform_matrix"), dtype=numpy.float64)
    except (TypeError, ValueError, OverflowError):
        matrix = numpy.empty(0)
    if matrix.shape not in ((4, 4), (3, 4)):
        raise InputError(f'{where}: "transform_matrix" is not a 4 x 4 matrix of numbers')
    return matrix[:3] * numpy.array([1.0, -1.0, -1.0, 1.0])
