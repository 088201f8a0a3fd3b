"""Camera tracks as JSON: written beside a film, read as key frames.

{"format": "nerf camera track", "width", "height", "loop", "seconds", "frames": [{"time", "world_from_camera", "focal",
"center", "seen"}]}: poses in the frame of the input (x right, y down, z forward), focal and center in pixels of that
size. A key written by hand may give "eye" and "target" in place of the matrix; time, focal and center may be left out.
"seen" is the part of the frame that training cameras saw; it is not read.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from nerf.errors import InputError
from nerf.files import check_beside, check_readable, check_writable, parsed_json, replacing, write_text
from nerf.geometry.cameras import Cameras, look_at
from nerf.geometry.gltf import OPENGL_FROM_OPENCV, motion_file, read_motion
from nerf.geometry.origin import Origin, absolute_poses, relative
from nerf.geometry.similarity import NOWHERE, Placement

FORMAT = "nerf camera track"
TRACKS = (".glb", ".json")  # by which a track is handed on to other programs
MOST_BYTES = 2**26  # of a file with key frames


@dataclass(frozen=True)
class Keys:
    """K key frames of a camera."""

    poses: Tensor  # (K, 3, 4)
    view: Tensor  # (K,) vertical fields of view, radians
    loop: bool  # whether the path goes on from the last to the first
    when: Tensor | None  # (K,), of a loop (K + 1,) with the return to the first, seconds; None = by their distances


def track_file(film: Path) -> Path:
    """Returns the file of the camera track beside a film."""
    return film.with_name(f"{film.stem}.track.json")


def check_track(film: Path, keys: Path | None = None) -> None:
    """Raises InputError if the track beside a film would replace a file that is no track, or the key frames."""
    file = track_file(film)
    check_beside(file, lambda text: json.dumps(FORMAT) in text)
    if keys is not None and file.exists() and keys.exists() and file.samefile(keys):
        raise InputError(f"{file}: holds the key frames, and the track beside {film.name} would replace it; rename one")


def write_track(
    file: Path, cameras: Cameras, when: Sequence[float], seconds: float, loop: bool, seen: Tensor | None = None
) -> None:
    """Writes cameras, one a frame.

    Args:
        file: what is written.
        cameras: F, all of one size.
        when: F, the frames' times, seconds.
        seconds: of the whole, the way back of a loop included.
        loop: whether it goes on from the last to the first.
        seen: (F,), which part of each frame was seen by training cameras, if it is known.
    """
    poses = absolute_poses(cameras.world_from_camera, cameras.origin).tolist()
    frames: list[dict[str, Any]] = [
        {"time": time, "world_from_camera": pose, "focal": focal, "center": center}
        for time, pose, focal, center in zip(when, poses, cameras.focal.tolist(), cameras.center.tolist(), strict=True)
    ]
    for number, part in enumerate([] if seen is None else seen.tolist()):
        frames[number]["seen"] = round(part, 4)
    head = {"format": FORMAT, "width": cameras.width, "height": cameras.height, "loop": loop}
    write_text(file, json.dumps({**head, "seconds": seconds, "frames": frames}, indent=1))


def read_keys(file: Path, cameras: Cameras, up: Tensor, placed: Placement = NOWHERE) -> Keys:
    """Returns the key frames in a file, relative to the origin of the training cameras.

    What it leaves out is taken from those and from `up` (3,). A .glb or .gltf file has a camera that moves, in the
    space of glTF, to which `placed` leads.

    Raises:
        InputError: the file cannot be read, or a key of it is not a camera.
    """
    if file.suffix.lower() in (".glb", ".gltf"):
        motion = read_motion(file, placed)
        if len(motion.when) < 2:
            raise InputError(f"{file}: expected at least two key frames of its camera")
        return Keys(motion.poses, torch.full((len(motion.when),), motion.view), False, motion.when)
    check_readable(file)
    try:
        if file.stat().st_size > MOST_BYTES:
            raise InputError(f"{file}: larger than {MOST_BYTES >> 20} MiB; that is no file of key frames")
        tree = parsed_json(file.read_text(encoding="utf-8-sig"))
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(f"{file}: no key frames can be read from it ({error})") from None
    keys = tree.get("frames") if isinstance(tree, dict) else None
    if not isinstance(keys, list) or len(keys) < 2 or not all(isinstance(key, dict) for key in keys):
        raise InputError(f'{file}: expected {{"frames": [...]}} with at least two key frames')

    default = 2 * math.atan(cameras.height / 2 / cameras.focal[0, 1].item())
    poses = []
    views = []
    for number, key in enumerate(keys):
        where = f"{file}: key frame {number}"
        poses.append(_pose(key, up, cameras.origin, where))
        views.append(_view(key, tree, default, where))
    return Keys(torch.stack(poses), torch.tensor(views), tree.get("loop") is True, _times(keys, tree, file))


def check_track_file(file: Path, film: Path, keys: Path | None) -> None:
    """Raises InputError now, not after the rendering, if a film's camera cannot be handed on under this name."""
    if file.suffix.lower() not in TRACKS:
        raise InputError(f'{file}: "{file.suffix}" is not a format of camera tracks; use one of {", ".join(TRACKS)}')
    if file.resolve() == track_file(film).resolve():
        raise InputError(f"{file}: is the film's own track, which is written anyway; name another file")
    if keys is not None and file.exists() and keys.exists() and file.samefile(keys):
        raise InputError(f"{file}: holds the key frames, and --track would replace it; name another file")
    check_writable(file)


def hand_on_track(file: Path, cameras: Cameras, when: Sequence[float], seconds: float, placed: Placement) -> None:
    """Writes a film's cameras for other programs: .glb with a camera that moves, .json as nerfstudio's camera path.

    Neither holds a principal point; see `nerf.geometry.gltf.motion_file`.

    Args:
        file, cameras, when, seconds: see `write_track`.
        placed: leads to the space of glTF.
    """
    if file.suffix.lower() == ".glb":
        with replacing(file) as partial:
            partial.write_bytes(motion_file(cameras, when, placed))
        return

    pose = absolute_poses(cameras.world_from_camera, cameras.origin).double()
    matrix = torch.eye(4, dtype=torch.float64).repeat(len(cameras), 1, 1)
    matrix[:, :3] = torch.cat([pose[:, :, :3] * OPENGL_FROM_OPENCV, pose[:, :, 3:]], dim=2)
    angle = torch.rad2deg(2 * torch.atan(cameras.height / 2 / cameras.focal[:, 1].double()))
    frames = [
        {"camera_to_world": matrix, "fov": fov, "aspect": cameras.width / cameras.height}
        for matrix, fov in zip(matrix.flatten(1).tolist(), angle.tolist())
    ]
    head = {"camera_type": "perspective", "render_width": cameras.width, "render_height": cameras.height}
    head |= {"fps": len(cameras) / seconds, "seconds": seconds}
    write_text(file, json.dumps({**head, "camera_path": frames}, indent=1) + "\n")


def _numbers(value: Any, shape: tuple[int, ...], where: str) -> Tensor:
    """Returns finite numbers of a shape, float64; `where` is what an error names."""
    try:
        numbers = torch.tensor(value, dtype=torch.float64)
    except (TypeError, ValueError, RuntimeError):
        numbers = torch.empty(0)
    if numbers.shape != shape or not numbers.isfinite().all():
        raise InputError(f"{where}: expected {' x '.join(map(str, shape))} finite numbers, got {str(value)[:80]}")
    return numbers


def _pose(key: dict[str, Any], up: Tensor, origin: Origin, where: str) -> Tensor:
    """Returns the pose (3, 4) of a key frame, relative to an origin."""
    if "world_from_camera" not in key:
        if not {"eye", "target"} <= key.keys():
            raise InputError(f'{where}: expected "world_from_camera", or "eye" and "target"')
        eye = relative(_numbers(key["eye"], (3,), f'{where}: "eye"'), origin)
        target = relative(_numbers(key["target"], (3,), f'{where}: "target"'), origin)
        pose = look_at(eye, target, up)
        if torch.linalg.det(pose[:, :3]) < 0.5:
            raise InputError(f'{where}: "eye" and "target" are in one place, or one above the other')
        return pose

    rows = key["world_from_camera"]
    pose = _numbers(rows[:3] if isinstance(rows, list) else rows, (3, 4), f"{where}: world_from_camera")
    turn = pose[:, :3]
    if not torch.allclose(turn @ turn.T, torch.eye(3, dtype=torch.float64), atol=1e-3) or torch.linalg.det(turn) < 0:
        raise InputError(f"{where}: world_from_camera: its first three columns are no rotation")
    return torch.cat([turn.float(), relative(pose[:, 3], origin)[:, None]], dim=1)


def _view(key: dict[str, Any], tree: dict[str, Any], default: float, where: str) -> float:
    """Returns the vertical field of view of a key frame, radians."""
    if "focal" not in key or "height" not in tree:
        return default
    focal = _numbers(key["focal"], (2,), f"{where}: focal")[1].item()
    height = _numbers(tree["height"], (), f"{where}: height").item()
    if not (focal > 0 and height > 0):
        raise InputError(f"{where}: focal and height must be above 0")
    return 2 * math.atan(height / 2 / focal)


def _times(keys: list[dict[str, Any]], tree: dict[str, Any], file: Path) -> Tensor | None:
    """Returns the times of key frames, see `Keys`; None if some have none."""
    if not all("time" in key for key in keys):
        return None

    when = [_numbers(key["time"], (), f"{file}: key frame {number}: time").item() for number, key in enumerate(keys)]
    if tree.get("loop") is True:
        last = _numbers(tree.get("seconds"), (), f"{file}: seconds").item()
        when.append(when[0] + last)
    if any(later <= earlier for earlier, later in zip(when, when[1:])):
        raise InputError(f"{file}: the times of the key frames do not increase")
    return torch.tensor(when, dtype=torch.float64)
