"""What is handed on of the cameras: their poses (transforms.json, COLMAP text model) and the depth that each sees."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy
import torch
from torch import Tensor
from torch.nn.functional import pad

from nerf.errors import InputError
from nerf.files import replacing, write_text
from nerf.geometry.cameras import Cameras
from nerf.geometry.lenses import COLMAP_MODELS, TERMS
from nerf.rendering.model import RadianceModel

OPENGL_FROM_OPENCV = torch.tensor([1.0, -1.0, -1.0])  # y down, z forward -> y up, z back
GREATEST_COUNT = 65535  # of a 16-bit picture
DEPTH_FORMATS = ("png", "npy")


def check_folder(folder: Path) -> None:
    """Raises InputError now if a folder cannot be made, or holds something already."""
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise InputError(f"{folder}: exists already; name a new folder")


def write_transforms(file: Path, cameras: Cameras, names: list[str]) -> None:
    """Writes poses as transforms.json: OpenGL camera axes, 4 x 4 camera-to-world matrices, intrinsics by frame."""
    frames = []
    for frame, name in enumerate(names):
        pose = cameras.world_from_camera[frame].double()
        matrix = torch.cat([pose[:, :3] * OPENGL_FROM_OPENCV, pose[:, 3:]], dim=1).tolist()
        focal, center = cameras.focal[frame].tolist(), cameras.center[frame].tolist()
        frames.append(
            {
                "file_path": name,
                "fl_x": focal[0],
                "fl_y": focal[1],
                "cx": center[0],
                "cy": center[1],
                "w": int(cameras.size[frame, 0]),
                "h": int(cameras.size[frame, 1]),
                **_lens_words(cameras.lens[frame].tolist()),
                "transform_matrix": [*matrix, [0.0, 0.0, 0.0, 1.0]],
            }
        )
    angle = 2 * math.atan(cameras.width / 2 / cameras.focal[0, 0].item())
    head = {"w": cameras.width, "h": cameras.height, "camera_angle_x": angle}
    write_text(file, json.dumps({**head, "frames": frames}, indent=1) + "\n")


def _lens_words(lens: list[float]) -> dict[str, object]:
    """Returns camera_model and the terms of a lens (12) as nerfstudio writes them; k4 of OPENCV is in its denominator.

    Terms for which the format has no word are left out.
    """
    terms = dict(zip(TERMS, lens))
    if not any(lens):
        return {"camera_model": "PINHOLE"}
    if not terms["fisheye"]:
        terms["k4"] = terms["d1"]
    words = {name: terms[name] for name in ("k1", "k2", "k3", "k4", "p1", "p2") if terms[name]}
    return {"camera_model": "OPENCV_FISHEYE" if terms["fisheye"] else "OPENCV", **words}


def quaternion(rotation: Tensor) -> list[float]:
    """Returns the unit quaternion w, x, y, z (w >= 0) of a rotation matrix (3, 3)."""
    from scipy.spatial.transform import Rotation

    x, y, z, w = Rotation.from_matrix(rotation.double().numpy()).as_quat(canonical=True).tolist()
    return [w, x, y, z]


def colmap_camera(numbers: list[float]) -> tuple[str, list[float]]:
    """Returns COLMAP's name and parameters for focal length (2), principal point (2) and lens (12)."""
    terms = dict(zip(("fx", "fy", "cx", "cy", *TERMS), numbers))
    bent = "THIN_PRISM_FISHEYE" if terms["fisheye"] else "FULL_OPENCV"
    model = bent if any(numbers[4:]) else "PINHOLE"
    return model, [terms[name] for name in COLMAP_MODELS[model][1]]


def write_colmap(folder: Path, cameras: Cameras, names: list[str]) -> None:
    """Writes cameras.txt, images.txt and an empty points3D.txt: one camera for each different lens."""
    lenses = torch.cat([cameras.size, cameras.focal, cameras.center, cameras.lens], dim=1)
    different, which = torch.unique(lenses, dim=0, return_inverse=True)
    lines = ["# CAMERA_ID, MODEL, WIDTH, HEIGHT, PARAMS[]"]
    for number, lens in enumerate(different.tolist(), 1):
        model, numbers = colmap_camera(lens[2:])
        words = " ".join(f"{value:.9g}" for value in numbers)
        lines.append(f"{number} {model} {lens[0]:.0f} {lens[1]:.0f} {words}")
    write_text(folder / "cameras.txt", "\n".join(lines) + "\n")
    lines = ["# IMAGE_ID, QW, QX, QY, QZ, TX, TY, TZ, CAMERA_ID, NAME; then a line of 2D points, here none"]
    for frame, name in enumerate(names):
        pose = cameras.world_from_camera[frame].double()
        camera_from_world = pose[:, :3].T
        words = quaternion(camera_from_world) + (-camera_from_world @ pose[:, 3]).tolist()
        lines += [f"{frame + 1} {' '.join(f'{word:.12g}' for word in words)} {which[frame].item() + 1} {name}", ""]
    write_text(folder / "images.txt", "\n".join(lines) + "\n")
    write_text(folder / "points3D.txt", "# POINT3D_ID, X, Y, Z, R, G, B, ERROR, TRACK[]\n")


def picture_names(names: list[str]) -> list[str]:
    """Returns file names for views: path separators become underscores, and a name without a suffix gets .png."""
    flat = [name.removeprefix("./").replace("\\", "/").replace("/", "_") for name in names]
    return [name if Path(name).suffix else f"{name}.png" for name in flat]


def write_depths(
    folder: Path, model: RadianceModel, cameras: Cameras, names: list[str], scale: float, kind: str
) -> None:
    """Writes what each camera sees: depth along its z axis and along the ray's, with intrinsics in depths.json.

    kind "png": 16 bits, `unit` scene units a count, 0 for nothing; "npy": float32, scene units, infinite for nothing.
    scale: of lengths, that of the cameras handed on.
    """
    from PIL import Image
    from tqdm import trange

    folder.mkdir(parents=True, exist_ok=True)
    eye = cameras.world_from_camera[:, :, 3]
    unit = scale * model.box.farthest(eye) / GREATEST_COUNT
    files = [f"{Path(name).stem}.{kind}" for name in names]
    for frame in trange(len(cameras), desc="depth maps", unit="view"):
        distance = model.distances(cameras, frame)
        forward = cameras.image_rays(frame).direction @ cameras.world_from_camera[frame, :, 2]
        depth = (distance * forward.view(distance.shape) * scale).numpy()
        with replacing(folder / files[frame]) as partial:
            if kind == "npy":
                numpy.save(partial, depth)
            else:
                counts = numpy.where(numpy.isfinite(depth), depth / unit + 0.5, 0).clip(0, GREATEST_COUNT)
                Image.fromarray(counts.astype(numpy.uint16)).save(partial)
    about = {
        "depth": "along the camera's z axis",
        "unit": unit if kind == "png" else 1.0,
        "nothing": 0 if kind == "png" else "inf",
        "width": cameras.width,
        "height": cameras.height,
        "frames": [
            {"file": file, "focal": cameras.focal[k].tolist(), "center": cameras.center[k].tolist(),
             "world_from_camera": pad(cameras.world_from_camera[k], (0, 0)).tolist()}
            for k, file in enumerate(files)
        ],
    }  # fmt: skip
    write_text(folder / "depths.json", json.dumps(about, indent=1) + "\n")
