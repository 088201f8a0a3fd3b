"""The built-in scene: a brick-built toy digger, ray traced into a data set in Blender format.

Conventions. World: right-handed, z up, origin at the scene's centre, in scene units. Cameras are OpenGL:
x right, y up, looking along -z; `world_from_camera` maps camera to world coordinates. Pixel (column u,
row v) has its centre at (u + 0.5, v + 0.5), row 0 at the top, principal point at the image's centre.
Light is summed linearly; images are sRGB with straight (not premultiplied) alpha. Everything is
deterministic: the same arguments give the same bytes.
"""

from __future__ import annotations

import json
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from nerf import report
from nerf.files import working_folder
from nerf.scenes.digger import Triangles, digger_triangles
from nerf.scenes.raytracing import (
    CAMERA_ANGLE_X,
    RayTracer,
    ShadedSurface,
    camera_rays,
    depth_and_normal,
    rendered_image,
    subdivided,
    triangles_seen,
)

FORMAT_VERSION = 1
GENERATOR = "nerf built-in scene"
CAMERA_RADIUS = 4.0311  # scene units
LOWEST_ELEVATION = np.radians(-20.0)
HIGHEST_ELEVATION = np.radians(85.0)
MAX_EDGE = 0.026  # scene units; about 1 % of the scene's diagonal


README = """\
The built-in scene of nerf, ray traced from a procedural brick-built digger, in Blender (NeRF-synthetic) format.
World frame: right-handed, z up, centred about the origin, scene units; cameras are OpenGL, looking along -z.
This folder may be deleted: it will be made again, byte for byte, when the built-in scene is next asked for.
"""


def write_builtin_scene(
    folder: Path,
    *,
    size: int = 400,
    n_train: int = 100,
    n_val: int = 10,
    n_test: int = 25,
    progress: bool = True,
) -> None:
    """Writes the built-in scene in Blender (NeRF-synthetic) format, with ground-truth mesh and test depth.

    `folder` gets transforms_{train,val,test}.json, RGBA images of `size` x `size` pixels,
    ground_truth/mesh.ply (the surface that the train cameras see, world frame), and for every test view
    ground_truth/test/r_<i>_depth.npy (float32, distance along the ray through the pixel's centre, scene
    units) and r_<i>_normal.npy (float16, unit world normals); both are 0 where nothing is hit. The scene
    appears under its name only when complete. Raises FileExistsError if `folder` exists.
    """
    folder = Path(folder)
    if folder.exists():
        raise FileExistsError(f"{folder} exists already; delete it or choose another folder for the built-in scene")
    if min(size, n_train) < 1 or min(n_val, n_test) < 0:
        raise ValueError("the built-in scene needs size >= 1, n_train >= 1, n_val >= 0 and n_test >= 0")

    folder.parent.mkdir(parents=True, exist_ok=True)
    with working_folder(f".{folder.name}.partial-", folder.parent) as work:
        cameras = {"train": train_cameras(n_train), "val": val_cameras(n_val), "test": test_cameras(n_test)}
        scene = work / "scene"
        scene.mkdir()
        _write_scene(scene, cameras, size, progress)
        os.replace(scene, folder)


def train_cameras(count: int) -> np.ndarray:
    """Returns world_from_camera (count, 4, 4) float64: a golden spiral over the whole band of elevations."""
    return _spiral_cameras(count, turn=0.0)


def val_cameras(count: int) -> np.ndarray:
    """Returns world_from_camera (count, 4, 4) float64: a spiral turned away from that of the train cameras."""
    return _spiral_cameras(count, turn=1.0)


def test_cameras(count: int) -> np.ndarray:
    """Returns world_from_camera (count, 4, 4) float64: once round the scene, rising and sinking smoothly."""
    turns = 2 * np.pi * np.arange(count) / max(count, 1)
    return _cameras_at(azimuths=turns + 0.7, elevations=np.radians(26.0 + 20.0 * np.sin(2 * turns)))


def _spiral_cameras(count: int, turn: float) -> np.ndarray:
    """Returns world_from_camera (count, 4, 4) of a golden spiral, turned about z by `turn` radians."""
    low = np.sin(LOWEST_ELEVATION)
    high = np.sin(HIGHEST_ELEVATION)
    heights = low + (high - low) * (np.arange(count) + 0.5) / max(count, 1)
    golden_angle = np.pi * (3 - np.sqrt(5))
    return _cameras_at(azimuths=golden_angle * np.arange(count) + turn, elevations=np.arcsin(heights))


def _cameras_at(azimuths: np.ndarray, elevations: np.ndarray) -> np.ndarray:
    """Returns world_from_camera (N, 4, 4) of upright cameras that look at the origin; angles in radians."""
    horizontal = np.cos(elevations)
    zeros = np.zeros_like(azimuths)
    back = np.stack([horizontal * np.cos(azimuths), horizontal * np.sin(azimuths), np.sin(elevations)], axis=-1)
    right = np.stack([-np.sin(azimuths), np.cos(azimuths), zeros], axis=-1)
    world_from_camera = np.tile(np.eye(4), (len(azimuths), 1, 1))
    world_from_camera[:, :3, :3] = np.stack([right, np.cross(back, right), back], axis=-1)
    world_from_camera[:, :3, 3] = CAMERA_RADIUS * back
    return world_from_camera


def digger_surface(viewpoints: np.ndarray) -> tuple[ShadedSurface, Triangles, np.ndarray]:
    """Returns the digger ready to be rendered, its triangles, and which of them are seen from viewpoints (N, 3)."""
    fine = subdivided(digger_triangles(), MAX_EDGE)
    geometry = RayTracer(fine.corners)
    seen = triangles_seen(geometry, viewpoints)
    return ShadedSurface.bake(geometry, fine, seen), fine, seen


def _write_scene(folder: Path, cameras: dict[str, np.ndarray], size: int, progress: bool) -> None:
    """Writes all files of the scene. cameras: world_from_camera by split. size: pixels a side."""
    (folder / "README.txt").write_text(README, encoding="utf-8")
    (folder / "ground_truth" / "test").mkdir(parents=True)
    for split, poses in cameras.items():
        (folder / split).mkdir()
        _write_transforms(folder / f"transforms_{split}.json", split, poses)

    total = sum(len(poses) for poses in cameras.values())
    with report.progress(total=total, title="built-in scene: preparing the digger", hidden=not progress) as bar:
        surface, fine, seen = digger_surface(cameras["train"][:, :3, 3])
        _write_mesh(folder / "ground_truth" / "mesh.ply", fine, seen)

        bar.set_description(f"built-in scene: rendering {total} views")
        views = [(split, index, pose) for split, poses in cameras.items() for index, pose in enumerate(poses)]
        # Two views at a time overlap one view's array arithmetic with the other's rays.
        with ThreadPoolExecutor(max_workers=max(2, os.cpu_count() or 1)) as pool:
            jobs = [pool.submit(_write_view, folder, surface, view, size) for view in views]
            try:
                for job in jobs:
                    job.result()
                    bar.update()
            except BaseException:
                pool.shutdown(cancel_futures=True)
                raise


def _write_transforms(path: Path, split: str, poses: np.ndarray) -> None:
    frames = [{"file_path": f"./{split}/r_{i}", "transform_matrix": pose.tolist()} for i, pose in enumerate(poses)]
    header = {"generator": GENERATOR, "format_version": FORMAT_VERSION, "camera_angle_x": CAMERA_ANGLE_X}
    path.write_text(json.dumps({**header, "frames": frames}, indent=2) + "\n", encoding="utf-8")


def _write_view(folder: Path, surface: ShadedSurface, view: tuple[str, int, np.ndarray], size: int) -> None:
    from PIL import Image

    split, index, world_from_camera = view
    picture = rendered_image(surface, lambda offset: camera_rays(world_from_camera, size, offset), (size, size))
    Image.fromarray(picture).save(folder / split / f"r_{index}.png")
    if split == "test":
        depth, normal = depth_and_normal(surface.geometry, world_from_camera, size)
        np.save(folder / "ground_truth" / "test" / f"r_{index}_depth.npy", depth)
        np.save(folder / "ground_truth" / "test" / f"r_{index}_normal.npy", normal.astype(np.float16))


def _write_mesh(path: Path, triangles: Triangles, kept: np.ndarray) -> None:
    """Writes the kept triangles as a binary PLY, joining vertices of the same position and colour."""
    # Vertices are the same where these whole numbers are: positions in steps of 1e-5 scene units, colours of 8 bits.
    positions = np.round(triangles.corners[kept].reshape(-1, 3) / 1e-5).astype(np.int64)
    colors = np.repeat(np.round(255 * triangles.colors[kept]).astype(np.int64), 3, axis=0)
    keys = np.concatenate([positions, colors], axis=1)
    unique, vertex_of_corner = np.unique(keys, axis=0, return_inverse=True)
    faces = vertex_of_corner.reshape(-1, 3)
    repeated = (faces == np.roll(faces, 1, axis=1)).any(axis=1)
    faces = faces[~repeated]

    vertex_table = np.empty(len(unique), dtype=[("position", "<f4", 3), ("color", "u1", 3)])
    vertex_table["position"] = unique[:, :3] * 1e-5
    vertex_table["color"] = unique[:, 3:]
    face_table = np.empty(len(faces), dtype=[("count", "u1"), ("vertices", "<i4", 3)])
    face_table["count"] = 3
    face_table["vertices"] = faces

    header = [
        "ply",
        "format binary_little_endian 1.0",
        f"comment {GENERATOR}",
        f"element vertex {len(unique)}",
    ]
    header += [f"property float {axis}" for axis in "xyz"]
    header += [f"property uchar {channel}" for channel in ("red", "green", "blue")]
    header += [f"element face {len(faces)}", "property list uchar int vertex_indices", "end_header", ""]
    path.write_bytes("\n".join(header).encode("ascii") + vertex_table.tobytes() + face_table.tobytes())
