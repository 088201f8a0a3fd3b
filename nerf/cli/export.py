"""``nerf export``."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from nerf.cli.arguments import (
    between,
    whole,
)
from nerf.errors import InputError

if TYPE_CHECKING:
    pass
from nerf.cli.arguments import crop_argument, run_argument


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds what the command takes."""
    run_argument(parser)
    from nerf.export.choices import METHODS, UNITS, UPS

    parser.add_argument("--mesh", type=Path, help="the mesh, .ply, .obj, .glb or .stl")
    parser.add_argument("--points", type=Path, help="the point cloud, .ply, with normals and colours")
    parser.add_argument("--depth", type=Path, metavar="FOLDER", help="a depth map for each training camera")
    parser.add_argument("--cameras", type=Path, metavar="FOLDER", help="transforms.json and a COLMAP text model")
    parser.add_argument("--method", choices=METHODS, default="auto", help="what the surface is found from")
    parser.add_argument("--resolution", type=whole(16, 1024), help="cells along a side (default: 256, textured: 384)")
    parser.add_argument("--triangles", type=whole(4, 10**9), default=0, help="at most so many, by decimation")
    parser.add_argument("--smooth", type=whole(0, 100), help="rounds of smoothing (default: 5, textured: 2)")
    parser.add_argument(
        "--texture", type=whole(64, 8192), default=0, metavar="TEXELS", help="a side, for .obj and .glb"
    )
    parser.add_argument("--count", type=whole(1, 10**8), default=200_000, help="of the points")
    parser.add_argument("--depth-format", choices=("png", "npy"), default="png", help="16-bit counts, or float32")
    crop_argument(parser)
    parser.add_argument("--up", choices=UPS, default="", help="the axis that is to be up (default: the input's frame)")
    parser.add_argument("--scale", type=between(1e-9, 1e9), default=1.0, help="multiplies all lengths")
    parser.add_argument("--unit", choices=UNITS, default="", help="what lengths are in, after --scale")


def run(arguments: argparse.Namespace) -> int:
    """Writes mesh, point cloud, depth maps and cameras of a trained model."""
    from nerf.export.cameras import check_folder
    from nerf.export.pointcloud import check_points_file
    from nerf.meshing.mesh_files import check_mesh_file
    from nerf.meshing.surface import PLAIN, TEXTURED, SurfaceRequest
    from nerf.rendering.crop import crop_box
    from nerf.workflows.export import ExportRequest
    from nerf.workflows.export import export as export_run
    from nerf.workflows.trained import open_run

    if not (arguments.mesh or arguments.points or arguments.depth or arguments.cameras):
        raise InputError("nothing to export; give --mesh, --points, --depth or --cameras")
    if arguments.mesh:
        check_mesh_file(arguments.mesh, arguments.texture > 0)
    if arguments.points:
        check_points_file(arguments.points)
    for folder in filter(None, (arguments.depth, arguments.cameras)):
        check_folder(folder)
    resolution, smoothing = TEXTURED if arguments.texture else PLAIN
    surface = SurfaceRequest(
        resolution=arguments.resolution or resolution,
        method=arguments.method,
        crop=crop_box(arguments.crop) if arguments.crop else None,
        triangles=arguments.triangles,
        smoothing=smoothing if arguments.smooth is None else arguments.smooth,
        texture=arguments.texture,
    )
    request = ExportRequest(
        surface=surface,
        mesh=arguments.mesh,
        cloud=arguments.points,
        depth=arguments.depth,
        cameras=arguments.cameras,
        up=arguments.up,
        scale=arguments.scale,
        unit=arguments.unit,
        points=arguments.count,
        depth_format=arguments.depth_format,
    )
    export_run(open_run(arguments.run_folder, arguments.backend), request)
    return 0
