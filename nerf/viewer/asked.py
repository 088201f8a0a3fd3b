"""What a browser's messages say, each number checked before it is used; and the commands that they stand for."""

from __future__ import annotations

import json
import math
from collections.abc import Collection
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any

import numpy
import torch
from torch import Tensor

from nerf.errors import InputError, nearest
from nerf.files import check_beside
from nerf.geometry.cameras import Cameras
from nerf.geometry.origin import Origin
from nerf.video.camera_paths import times
from nerf.video.choices import PATHS
from nerf.video.keyframes import FORMAT, Keys, read_keys, write_track
from nerf.video.splines import spline
from nerf.viewer.page import poses

LARGEST = 1e9  # of numbers that nothing else bounds
MOST_KEYS = 500
LEAST_SECONDS = 1e-3  # between key frames
KEYS_FILE = "view.track.json"
KEY_SECONDS = 2.0  # between key frames that have no times
FILMED = (1280, 720)  # size for which key frames are written: films choose their own
OUTPUTS = {"mesh": ".glb", "points": ".ply", "page": ".html"}  # of exports, and the ends of their names


def number(message: dict[str, Any], name: str, low: float, high: float) -> float:
    """Returns a number of a message.

    Raises:
        InputError: it is none, or out of [low, high].
    """
    value = message.get(name)
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not low <= value <= high:
        raise InputError(f"{name}: expected a number from {low:g} to {high:g}, got {str(value)[:40]}")
    return float(value)


def whole(message: dict[str, Any], name: str, low: int, high: int) -> int:
    """Returns a whole number of a message, likewise."""
    value = number(message, name, low, high)
    if value != math.floor(value):
        raise InputError(f"{name}: expected a whole number, got {value:g}")
    return int(value)


def flag(message: dict[str, Any], name: str) -> bool:
    """Returns whether a message says yes."""
    return message.get(name) is True


def numbers(message: dict[str, Any], name: str, length: int) -> list[float]:
    """Returns a list of so many numbers of a message, likewise."""
    values = message.get(name)
    if not isinstance(values, list) or len(values) != length:
        raise InputError(f"{name}: expected {length} numbers")
    return [number({name: value}, name, -LARGEST, LARGEST) for value in values]


@dataclass(frozen=True)
class AskedKeys:
    """Key frames as a browser has them."""

    keys: Keys
    times: list[float]  # seconds, of the key frames
    seconds: float  # of the whole, the way back of a loop included

    def write(self, file: Path, cameras: Cameras) -> None:
        """Writes them into a file as a camera track, see `nerf.video.keyframes`.

        Raises:
            InputError: it cannot be written, or is a file that is no track.
        """
        check_beside(file, lambda text: json.dumps(FORMAT) in text)
        write_track(file, cameras, self.times, self.seconds, self.keys.loop)

    def save(self, run: Path, cameras: Cameras) -> Path:
        """Writes them into a run folder, likewise; returns the file, which `saved_keys` reads."""
        file = run / KEYS_FILE
        self.write(file, cameras)
        return file


def saved_keys(run: Path, cameras: Cameras, up: Tensor) -> dict[str, Any]:
    """Returns the key frames that were saved in a run folder, as a browser has them.

    Raises:
        InputError: there are none, or they cannot be read.
    """
    file = run / KEYS_FILE
    if not file.exists():
        raise InputError(f"no key frames have been saved: there is no {KEYS_FILE} in the run folder")
    keys = read_keys(file, cameras, up)
    if len(keys.poses) > MOST_KEYS:
        raise InputError(f"{file}: {len(keys.poses)} key frames are more than {MOST_KEYS}")
    when = [KEY_SECONDS * k for k in range(len(keys.poses))] if keys.when is None else keys.when.tolist()
    rows = zip(poses(cameras_of(keys)), when)  # of a loop the last time is the way back's
    return {"keys": [{"pose": pose, "time": time} for pose, time in rows], "loop": keys.loop}


def write_film_keys(message: dict[str, Any], film: Path, training: Cameras) -> None:
    """Writes the key frames that a film is to be made from, if it is, beside it: later ones leave it alone.

    Raises:
        InputError: they are none, or cannot be written.
    """
    if message.get("what") == "film" and message.get("path") == "keys":
        keys, cameras = keys_of(message, training)
        keys.write(_film_keys(film), cameras)


def _film_keys(film: Path) -> Path:
    return film.with_name(f"{film.stem}.keys.json")


def keys_of(message: dict[str, Any], training: Cameras) -> tuple[AskedKeys, Cameras]:
    """Returns the key frames of a message, and their cameras.

    Raises:
        InputError: there are too few or too many, one is no camera, or their times do not increase.
    """
    asked = message.get("keys")
    if not isinstance(asked, list) or not 2 <= len(asked) <= MOST_KEYS or not all(isinstance(k, dict) for k in asked):
        raise InputError(f"key frames: expected 2 to {MOST_KEYS}")
    rows = torch.tensor([numbers(key, "pose", 13) for key in asked])
    when = [number(key, "time", 0, LARGEST) for key in asked]
    loop = flag(message, "loop")
    end = number(message, "seconds", 0, LARGEST)
    ends = [*when, when[0] + end] if loop else when
    if any(later - earlier < LEAST_SECONDS for earlier, later in zip(ends, ends[1:])):
        raise InputError("key frames: their times must increase, and a loop's way back takes time, too")

    view = 2 * torch.atan(rows[:, 12] / 2)
    width, height = FILMED
    focal = (height / rows[:, 12:].clamp(min=1e-6)).expand(-1, 2)
    center = torch.tensor([[width / 2, height / 2]]).repeat(len(rows), 1)
    pose = rows[:, :12].view(-1, 4, 3).transpose(1, 2)
    cameras = Cameras(pose.contiguous(), focal.contiguous(), center, width, height, origin=training.origin)

    keys = Keys(cameras.world_from_camera, view, loop, torch.tensor(ends, dtype=torch.float64))
    return AskedKeys(keys, when, end if loop else when[-1] - when[0]), cameras


def path_of(keys: Keys, frames: int) -> Cameras:
    """Returns the path of a film of so many frames through key frames, with pictures of one pixel."""
    pose, view = spline(keys.poses, keys.view, times(frames, keys.loop, "linear"), keys.loop, keys.when)
    return cameras_of(Keys(pose.float(), view, keys.loop, None))


def cameras_of(keys: Keys) -> Cameras:
    """Returns the cameras of key frames, with pictures of one pixel, relative to the same origin."""
    focal = (1 / (2 * torch.tan(keys.view.float() / 2)))[:, None].repeat(1, 2)
    return Cameras(keys.poses, focal, torch.full_like(focal, 0.5), 1, 1)


def command(message: dict[str, Any], run: Path, origin: Origin, taken: Collection[Path]) -> tuple[list[str], Path]:
    """Returns the words of the command that makes what is asked for, and the file that it makes, in the run folder.

    taken: files that other commands are to make.

    Raises:
        InputError: something of it will not do.
    """
    what = message.get("what")
    if what == "film":
        words, file = _film(message, run, taken)
    elif isinstance(what, str) and what in OUTPUTS:
        file = _free(run, what, OUTPUTS[what], taken)
        words = ["export", str(run), f"--{what}", str(file)]
        if what == "mesh":
            words += ["--resolution", str(whole(message, "resolution", 16, 1024))]
    else:
        raise InputError(f"nothing makes {str(what)[:40]!r}{nearest(str(what), ['film', *OUTPUTS])}")

    if message.get("crop") is not None:
        # Not as -1e-05, which a command line takes for an option.
        box = crop_of(message, origin)
        words += ["--crop", *(numpy.format_float_positional(value, precision=9, trim="-") for value in box)]
    return words, file


def crop_of(message: dict[str, Any], origin: Origin) -> list[float]:
    """Returns the crop box of a message, six numbers in the frame of the input poses.

    Raises:
        InputError: they are none.
    """
    return [value + origin[axis % 3] for axis, value in enumerate(numbers(message, "crop", 6))]


def _film(message: dict[str, Any], run: Path, taken: Collection[Path]) -> tuple[list[str], Path]:
    path = message.get("path")
    if path not in PATHS or path == "test":
        raise InputError(f"path: nobody films {str(path)[:40]!r}{nearest(str(path), PATHS)}")
    file = _free(run, "film", ".mp4", taken)
    size = f"{whole(message, 'width', 16, 8192)}x{whole(message, 'height', 16, 8192)}"
    words = ["render", str(run), "--path", str(path), "--out", str(file), "--size", size]
    words += ["--frames", str(whole(message, "frames", 2, 100000)), "--fps", str(whole(message, "fps", 1, 240))]
    return words + (["--keys", str(_film_keys(file))] if path == "keys" else []), file


def _free(run: Path, name: str, end: str, taken: Collection[Path]) -> Path:
    """Returns a file of a run folder that is not there yet, and is not to be."""
    files = (run / f"{name}-{n}{end}" for n in count(1))
    return next(file for file in files if file not in taken and not file.exists())
