"""The output `--cameras`: poses and lenses, as transforms.json and as a COLMAP text model, and nodes of a .glb file."""

from __future__ import annotations

import json
import math
from pathlib import Path

import torch
from torch import Tensor

from nerf.errors import InputError
from nerf.exporters.context import ExportContext, ExportRequest
from nerf.files import check_new_folder, replacing, whole_folder, write_text
from nerf.geometry.cameras import Cameras
from nerf.geometry.gltf import OPENGL_FROM_OPENCV, still_file
from nerf.geometry.lenses import COLMAP_MODELS, TERMS
from nerf.geometry.origin import absolute_poses
from nerf.scenes.picture_names import PICTURE_FOLDERS, unique_words
from nerf.scenes.pictures import SUFFIXES
from nerf.text import plain

DIGITS = 17  # of numbers in COLMAP's text: quaternions turn far-away places by what they are rounded


def check(path: Path, request: ExportRequest) -> None:
    """Raises InputError now if the folder cannot be made, or holds something already."""
    check_new_folder(path)


def write(context: ExportContext, path: Path) -> str:
    """Writes the cameras in all forms; returns the sentence that says so."""
    placed = context.placement
    cameras = placed.cameras(context.cameras)
    names = _in_pictures(context.files)
    with whole_folder(path) as folder:
        write_transforms(folder / "transforms.json", cameras, context.files)
        write_colmap(folder / "sparse" / "0", cameras, names)
        with replacing(folder / "cameras.glb") as partial:  # in the space of meshes
            partial.write_bytes(still_file(cameras, context.files, placed))
    return f"cameras: {path} (transforms.json, COLMAP text and cameras.glb; {placed.words})"


def _in_pictures(files: list[str]) -> list[str]:
    """Returns paths relative to the folder of the pictures, as COLMAP names them.

    Raises:
        InputError: COLMAP's text cannot hold a name.
    """
    for file in files:
        if file != file.strip() or len(file.splitlines()) > 1:
            raise InputError(f"{file!r}: COLMAP's text cannot hold a name with line breaks or spaces round it")
    first = {file.partition("/")[0] for file in files if "/" in file}
    alone = len(first) == 1 and first <= {*PICTURE_FOLDERS} and all("/" in file for file in files)
    return [file.partition("/")[2] for file in files] if alone else files


def write_transforms(file: Path, cameras: Cameras, names: list[str]) -> None:
    """Writes poses as transforms.json."""
    angle = 2 * math.atan(cameras.width / 2 / cameras.focal[0, 0].item())
    head = {"w": cameras.width, "h": cameras.height, "camera_angle_x": angle}
    write_text(file, json.dumps({**head, "frames": transforms_frames(cameras, names)}, indent=1) + "\n")


def transforms_frames(cameras: Cameras, names: list[str]) -> list[dict[str, object]]:
    """Returns the frames of transforms.json: OpenGL camera axes, 4 x 4 camera-to-world matrices, and intrinsics."""
    frames: list[dict[str, object]] = []
    for frame, name in enumerate(names):
        pose = absolute_poses(cameras.world_from_camera[frame], cameras.origin).double()
        matrix = torch.cat([pose[:, :3] * OPENGL_FROM_OPENCV, pose[:, 3:]], dim=1).tolist()
        focal = cameras.focal[frame].tolist()
        center = cameras.center[frame].tolist()
        frames.append(
            {
                "file_path": name,
                "fl_x": focal[0],
                "fl_y": focal[1],
                "cx": center[0],
                "cy": center[1],
                "w": int(cameras.size[frame, 0]),
                "h": int(cameras.size[frame, 1]),
                **_lens_entries(cameras.lens[frame].tolist()),
                "transform_matrix": [*matrix, [0.0, 0.0, 0.0, 1.0]],
            }
        )
    return frames


def _lens_entries(lens: list[float]) -> dict[str, object]:
    """Returns camera_model and the terms of a lens (12) as nerfstudio writes them; k4 is the factor of r^8.

    Terms for which the format has no name are left out.
    """
    terms = dict(zip(TERMS, lens))
    if not any(lens):
        return {"camera_model": "PINHOLE"}
    entries = {name: terms[name] for name in ("k1", "k2", "k3", "k4", "p1", "p2") if terms[name]}
    return {"camera_model": "OPENCV_FISHEYE" if terms["fisheye"] else "OPENCV", **entries}


def quaternion(rotation: Tensor) -> list[float]:
    """Returns the unit quaternion w, x, y, z (w >= 0) of a rotation matrix (3, 3)."""
    from scipy.spatial.transform import Rotation

    x, y, z, w = Rotation.from_matrix(rotation.double().numpy()).as_quat(canonical=True).tolist()
    return [w, x, y, z]


def _turned(quaternion: list[float], point: Tensor) -> list[float]:
    """Returns a point (3,) float64 turned by a unit quaternion w, x, y, z."""
    from scipy.spatial.transform import Rotation

    w, x, y, z = quaternion
    return Rotation.from_quat([x, y, z, w]).apply(point.numpy()).tolist()


def colmap_camera(numbers: list[float]) -> tuple[str, list[float]]:
    """Returns COLMAP's name and parameters for focal length (2), principal point (2) and lens (12)."""
    terms: dict[str, float] = dict(zip(("fx", "fy", "cx", "cy", *TERMS), numbers))
    distorted = "THIN_PRISM_FISHEYE" if terms["fisheye"] else "FULL_OPENCV"
    model = distorted if any(numbers[4:]) else "PINHOLE"
    return model, [terms[name] for name in COLMAP_MODELS[model][1]]


def write_colmap(folder: Path, cameras: Cameras, names: list[str]) -> None:
    """Writes cameras.txt, images.txt and an empty points3D.txt: one camera for each different lens."""
    # The different lenses.
    lenses = torch.cat([cameras.size, cameras.focal, cameras.center, cameras.lens], dim=1)
    different, which = torch.unique(lenses, dim=0, return_inverse=True)
    lines = ["# CAMERA_ID, MODEL, WIDTH, HEIGHT, PARAMS[]"]
    for number, lens in enumerate(different.tolist(), 1):
        model, numbers = colmap_camera(lens[2:])
        parameters = " ".join(f"{value:.9g}" for value in numbers)
        lines.append(f"{number} {model} {lens[0]:.0f} {lens[1]:.0f} {parameters}")
    write_text(folder / "cameras.txt", "\n".join(lines) + "\n")

    # The poses.
    lines = ["# IMAGE_ID, QW, QX, QY, QZ, TX, TY, TZ, CAMERA_ID, NAME; then a line of 2D points, here none"]
    for frame, name in enumerate(names):
        pose = absolute_poses(cameras.world_from_camera[frame], cameras.origin).double()
        turn = quaternion(pose[:, :3].T)
        # Turned by what the reader will turn it back with, which float32's rotation is not to its last digit.
        numbers = turn + _turned(turn, -pose[:, 3])
        pose_text = " ".join(f"{value:.{DIGITS}g}" for value in numbers)
        lines += [f"{frame + 1} {pose_text} {which[frame].item() + 1} {plain(name)}", ""]
    write_text(folder / "images.txt", "\n".join(lines) + "\n")

    write_text(folder / "points3D.txt", "# POINT3D_ID, X, Y, Z, R, G, B, ERROR, TRACK[]\n")


def picture_names(names: list[str]) -> list[str]:
    """Returns unique file names for views: a name without a picture's suffix gets .png."""
    return [word if Path(word).suffix.lower() in SUFFIXES else f"{word}.png" for word in unique_words(names)]
