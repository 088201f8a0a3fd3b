"""The output `--depth`: how far each training camera sees, a picture each."""

from __future__ import annotations

import json
from pathlib import Path

import numpy

from nerf.exporters.context import ExportContext, ExportRequest
from nerf.files import check_new_folder, replacing, whole_folder, write_text
from nerf.geometry.cameras import Cameras
from nerf.geometry.origin import absolute_poses
from nerf.rendering.depth_views import DepthViews
from nerf.rendering.model import RadianceModel
from nerf.report import progress
from nerf.scenes.picture_names import file_names

GREATEST_COUNT = 65535  # of a 16-bit picture


def check(path: Path, request: ExportRequest) -> None:
    """Raises InputError now if the folder cannot be made, or holds something already."""
    check_new_folder(path)


def write(context: ExportContext, path: Path) -> str:
    """Writes a depth map for each camera; returns the sentence that says so."""
    request = context.request
    with whole_folder(path) as folder:
        write_depths(
            folder,
            context.model(),
            context.cameras,
            context.names,
            context.placement.scale,
            request.depth_format,
            context.rendered_views(),
        )
    return f"depth maps: {path} ({len(context.names)} views; {request.unit or 'scene units'})"


def write_depths(
    folder: Path,
    model: RadianceModel,
    cameras: Cameras,
    names: list[str],
    scale: float,
    depth_format: str,
    views: DepthViews | None = None,
) -> None:
    """Writes what each camera sees: depth along its z axis, a file each, with unit and intrinsics in depths.json.

    Args:
        folder: where to; it is made.
        model: what is looked at.
        cameras: from where.
        names: of the pictures, which name the files.
        scale: of lengths, that of the cameras handed on.
        depth_format: "png": 16 bits, `unit` scene units a count, 0 for nothing; "npy": float32, scene units, infinite
            for nothing.
        views: what these cameras see of the model, if that has been rendered already.
    """
    folder.mkdir(parents=True, exist_ok=True)
    eye = cameras.world_from_camera[:, :, 3]
    unit = scale * model.box.farthest(eye) / GREATEST_COUNT
    files = [f"{word}.{depth_format}" for word in file_names(names)]

    for frame in progress(range(len(cameras)), title="depth maps", unit="view"):
        distance = model.distances(cameras, frame) if views is None else views.distance[frame]
        forward = cameras.image_rays(frame).direction @ cameras.world_from_camera[frame, :, 2]
        depth = (distance * forward.view(distance.shape) * scale).numpy()
        _write_depth(folder / files[frame], depth, unit)

    about = {
        "depth": "along the camera's z axis",
        "unit": unit if depth_format == "png" else 1.0,
        "nothing": 0 if depth_format == "png" else "inf",
        "width": cameras.width,
        "height": cameras.height,
        "frames": [
            {
                "file": file,
                "focal": cameras.focal[frame].tolist(),
                "center": cameras.center[frame].tolist(),
                "world_from_camera": absolute_poses(cameras.world_from_camera[frame], cameras.origin).tolist(),
            }
            for frame, file in enumerate(files)
        ],
    }
    write_text(folder / "depths.json", json.dumps(about, indent=1) + "\n")


def _write_depth(file: Path, depth: numpy.ndarray, unit: float) -> None:
    """Writes one depth map (H, W) in the format of the file's suffix."""
    from PIL import Image

    with replacing(file) as partial:
        if file.suffix == ".npy":
            numpy.save(partial, depth)
        else:
            counts = numpy.where(numpy.isfinite(depth), depth / unit + 0.5, 0).clip(0, GREATEST_COUNT)
            Image.fromarray(counts.astype(numpy.uint16)).save(partial)
