"""Blender (NeRF-synthetic) format: ``transforms_<split>.json`` beside PNG files with alpha.

The file's cameras look along -z with y up (OpenGL); `_pose` turns them to the project's axes (z forward, y down).
The world stays as it is.
"""

from __future__ import annotations

import json
import math
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import numpy
import torch

from nerf.config import SceneSettings
from nerf.errors import InputError
from nerf.files import check_readable
from nerf.geometry.cameras import Cameras
from nerf.scenes.pictures import read_picture
from nerf.scenes.room import check_room
from nerf.scenes.scene import SPLITS, Capture, Views, box_average


def is_blender(folder: Path) -> bool:
    """Returns whether the folder holds this format."""
    return any((folder / f"transforms_{split}.json").exists() for split in SPLITS)


def open_blender(folder: Path, settings: SceneSettings) -> Capture:
    """Returns the capture in a folder: its splits train and test, and val if there is such a file."""
    splits = [split for split in SPLITS if split != "val" or (folder / "transforms_val.json").is_file()]
    return Capture("blender", {split: partial(load_blender, folder, split, settings.downscale) for split in splits})


def load_blender(folder: Path, split: str, downscale: int = 1) -> Views:
    """Returns the pictures and cameras of one split.

    Raises:
        InputError: a file is missing, damaged or contradicts another; the message names it.
    """
    file = folder / f"transforms_{split}.json"
    tree = _read_json(file)
    if not isinstance(tree, dict):
        tree = {}
    frames = tree.get("frames")
    if not isinstance(frames, list) or not frames:
        raise InputError(f'{file}: no "frames"; expected a list with one entry per picture')
    angle = _camera_angle(tree, file)

    # A picture is called by its file alone, or with its folders where that is not unique.
    paths = [_picture_path(folder, frame, i, file) for i, frame in enumerate(frames)]
    names = tuple(path.stem for path in paths)
    if len(set(names)) < len(names):
        names = tuple("_".join(path.relative_to(folder.resolve()).with_suffix("").parts) for path in paths)
    if len(set(names)) < len(names):
        raise InputError(f"{file}: the same picture is listed twice; remove one of its frames")

    poses = torch.stack([_pose(frame, i, file) for i, frame in enumerate(frames)])
    images, white = _read_images(paths, downscale)

    _, height, width, _ = images.shape
    focal = 0.5 * width / math.tan(0.5 * angle)
    cameras = Cameras(
        poses,
        torch.full((len(paths), 2), focal),
        torch.tensor([[width / 2, height / 2]]).repeat(len(paths), 1),
        width,
        height,
    )
    return Views(names, images, white, cameras)


def _read_json(file: Path) -> object:
    """Returns what the file of a split holds; if there is no such file, the error names those that there are."""
    check_readable(file)
    try:
        return json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        there = [f"transforms_{split}.json" for split in SPLITS if (file.parent / f"transforms_{split}.json").exists()]
        raise InputError(f"{file}: not found; the folder has {', '.join(there) or 'no transforms file'}") from None
    except OSError as error:
        raise InputError(f"{file}: cannot be read ({error.strerror})") from None
    except (ValueError, RecursionError) as error:
        raise InputError(f"{file}: not valid JSON ({error})") from None


def _camera_angle(tree: dict, file: Path) -> float:
    """Returns the horizontal field of view, radians."""
    angle = tree.get("camera_angle_x")
    if isinstance(angle, bool) or not isinstance(angle, (int, float)) or not 0 < angle < math.pi:
        raise InputError(f'{file}: "camera_angle_x" is {angle!r}; expected the horizontal field of view in radians')
    return float(angle)


def _picture_path(folder: Path, frame: object, index: int, file: Path) -> Path:
    """Returns where a frame's picture lies; the suffix .png may be left out of the file."""
    text = frame.get("file_path") if isinstance(frame, dict) else None
    if not isinstance(text, str) or not text or "\0" in text:
        raise InputError(f'{file}: frame {index}: no "file_path"')
    path = (folder / text).resolve()
    if not path.is_relative_to(folder.resolve()):
        raise InputError(f'{file}: frame {index}: "{text}" leads out of the scene folder; pictures must lie inside it')
    if path.suffix.lower() not in (".png", ".jpg", ".jpeg"):
        path = path.with_name(path.name + ".png")
    if not path.is_file():
        raise InputError(
            f'{file}: frame {index}: file "{text}" not found (looked for {path.relative_to(folder.resolve())} '
            "in the scene folder); restore the picture or remove the frame"
        )
    return path


def _pose(frame: dict, index: int, file: Path) -> torch.Tensor:
    """Returns world_from_camera (3, 4) float32 with the camera's y and z axes turned from OpenGL's."""
    try:
        matrix = numpy.array(frame.get("transform_matrix"), dtype=numpy.float64)
    except (TypeError, ValueError, OverflowError):
        matrix = numpy.empty(0)
    if matrix.shape not in ((4, 4), (3, 4)):
        raise InputError(f'{file}: frame {index}: "transform_matrix" is not a 4 x 4 matrix of numbers')

    with numpy.errstate(over="ignore"):
        single = matrix.astype(numpy.float32)
    if not numpy.isfinite(single).all():
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

    return torch.from_numpy(single[:3] * numpy.array([1, -1, -1, 1], numpy.float32))


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
