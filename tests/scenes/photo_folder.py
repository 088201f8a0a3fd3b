"""A folder of small photographs with known cameras, written in every photo format."""

from __future__ import annotations

import json
import math
import struct
from pathlib import Path

import numpy
import torch
from PIL import Image

from nerf.geometry.cameras import look_at
from nerf.geometry.lenses import COLMAP_MODELS

WIDTH, HEIGHT, FOCAL, N = 32, 24, 30.0, 12
OPENCV = (FOCAL, FOCAL + 1, 15.5, 12.5, 0.05, -0.02, 0.001, -0.002)


def poses() -> numpy.ndarray:
    """Returns world_from_camera (N, 3, 4) float64 of cameras on a ring that look at the origin."""
    found = []
    for view in range(N):
        angle = 2 * math.pi * view / N
        eye = torch.tensor([3 * math.cos(angle), 3 * math.sin(angle), 1.0 + 0.1 * view])
        found.append(look_at(eye, torch.zeros(3), torch.tensor([0.0, 0.0, 1.0])).double().numpy())
    return numpy.stack(found)


def picture(view: int, width: int = WIDTH, height: int = HEIGHT) -> numpy.ndarray:
    """Returns a picture (height, width, 3) uint8 that no other view has."""
    row, column = numpy.mgrid[:height, :width]
    return numpy.stack([row * 8 % 256, column * 7 % 256, numpy.full_like(row, 20 * view)], -1).astype(numpy.uint8)


def name(view: int) -> str:
    return f"sub/p_{view:02d}.png"


def write_pictures(folder: Path) -> None:
    for view in range(N):
        file = folder / name(view)
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(picture(view)).save(file)


def points() -> numpy.ndarray:
    """Returns sparse points (20, 3) round the origin, which every camera sees."""
    return numpy.random.default_rng(0).uniform(-0.5, 0.5, (20, 3))


def quaternion(rotation: numpy.ndarray) -> list[float]:
    """Returns (w, x, y, z) of a rotation matrix: the eigenvector of Bar-Itzhack's symmetric matrix."""
    (a, b, c), (d, e, f), (g, h, i) = rotation
    matrix = [
        [a - e - i, 0, 0, 0],
        [d + b, e - a - i, 0, 0],
        [g + c, h + f, i - a - e, 0],
        [h - f, c - g, d - b, a + e + i],
    ]
    x, y, z, w = numpy.linalg.eigh(numpy.array(matrix) / 3)[1][:, -1]
    return [w, x, y, z]


def rows(model: str, parameters: tuple[float, ...]):
    """Returns what a COLMAP model of the folder holds: cameras, images and points, as plain tuples."""
    cameras = [(7, COLMAP_MODELS[model][0], model, WIDTH, HEIGHT, parameters)]
    images = []
    for view, pose in enumerate(poses()):
        rotation = pose[:, :3].T
        images.append((view + 1, *quaternion(rotation), *(-rotation @ pose[:, 3]), 7, name(view)))
    return cameras, images, [(index + 1, place) for index, place in enumerate(points())]


def write_binary(folder: Path, model: str = "OPENCV", parameters: tuple[float, ...] = OPENCV) -> None:
    """Writes cameras.bin, images.bin and points3D.bin."""
    cameras, images, found = rows(model, parameters)
    folder.mkdir(parents=True, exist_ok=True)
    data = struct.pack("<Q", len(cameras))
    for number, kind, _, width, height, values in cameras:
        data += struct.pack(f"<iiQQ{len(values)}d", number, kind, width, height, *values)
    (folder / "cameras.bin").write_bytes(data)
    data = struct.pack("<Q", len(images))
    for number, *pose, camera, word in images:
        data += struct.pack("<i7di", number, *pose, camera) + word.encode() + b"\0"
        data += struct.pack("<Q", 2) + struct.pack("<ddq", 1.0, 2.0, 1) * 2
    (folder / "images.bin").write_bytes(data)
    data = struct.pack("<Q", len(found))
    for number, place in found:
        data += struct.pack("<Q3d3Bd", number, *place, 1, 2, 3, 0.5)
        data += struct.pack("<Q", N) + b"".join(struct.pack("<ii", view + 1, 0) for view in range(N))
    (folder / "points3D.bin").write_bytes(data)


def write_text(folder: Path, model: str = "OPENCV", parameters: tuple[float, ...] = OPENCV, end: str = "\n") -> None:
    """Writes cameras.txt, images.txt and points3D.txt with the line ends given."""
    cameras, images, found = rows(model, parameters)
    folder.mkdir(parents=True, exist_ok=True)
    lines = {
        "cameras": [f"{n} {word} {w} {h} {' '.join(map(repr, values))}" for n, _, word, w, h, values in cameras],
        "images": [part for row in images for part in (" ".join(map(str, row)), "1.0 2.0 1 3.0 4.0 -1")],
        "points3D": [
            f"{n} {x} {y} {z} 1 2 3 0.5 " + " ".join(f"{view + 1} 0" for view in range(N)) for n, (x, y, z) in found
        ],
    }
    for word, body in lines.items():
        (folder / f"{word}.txt").write_bytes(end.join(["# a comment", *body, ""]).encode())


def write_transforms(folder: Path, **top: object) -> None:
    """Writes transforms.json."""
    frames = []
    for view, pose in enumerate(poses()):
        matrix = numpy.eye(4)
        matrix[:3] = pose * numpy.array([1, -1, -1, 1])
        frames.append({"file_path": f"images/{name(view)}", "transform_matrix": matrix.tolist()})
    fx, fy, cx, cy, k1, k2, p1, p2 = OPENCV
    lens = {"fl_x": fx, "fl_y": fy, "cx": cx, "cy": cy, "k1": k1, "k2": k2, "p1": p1, "p2": p2}
    tree = {"w": WIDTH, "h": HEIGHT, **lens, **top, "frames": frames}
    (folder / "transforms.json").write_text(json.dumps(tree))


def write_llff(folder: Path) -> None:
    """Writes poses_bounds.npy."""
    found = []
    for pose in poses():
        right, down, forward, center = pose.T
        matrix = numpy.stack([down, right, -forward, center, [2 * HEIGHT, 2 * WIDTH, 2 * FOCAL]], axis=1)
        found.append([*matrix.flatten(), 2.0, 9.0])
    numpy.save(folder / "poses_bounds.npy", numpy.array(found))
