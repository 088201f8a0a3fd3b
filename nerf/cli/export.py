"""``nerf export``."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from nerf.cli.arguments import between, crop_argument, run_argument, whole
from nerf.errors import InputError
from nerf.exporters.choices import DEPTH_FORMATS, FLOORS, METHODS, UNITS, UPS
from nerf.exporters.outputs import OUTPUTS, option_list

if TYPE_CHECKING:
    from nerf.exporters.context import ExportRequest
    from nerf.meshing.surface import SurfaceRequest


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds what the command takes: an option for each output, and the choices that they share."""
    run_argument(parser)
    for output in OUTPUTS:
        parser.add_argument(output.option, dest=output.name, type=Path, metavar=output.metavar, help=output.help)

    parser.add_argument("--method", choices=METHODS, default="auto", help="method by which the surface is found")
    parser.add_argument("--resolution", type=whole(16, 1024), help="cells along a side (default: 256, textured: 384)")
    parser.add_argument("--triangles", type=whole(4, 10**9), default=0, help="most triangles (default: all)")
    parser.add_argument("--smooth", type=whole(0, 100), help="rounds of smoothing (default: 5, textured: 2)")
    parser.add_argument(
        "--texture",
        type=whole(64, 8192),
        default=0,
        metavar="TEXELS",
        help="texels along a side of a texture",
    )
    parser.add_argument(
        "--count",
        type=whole(1, 10**8),
        default=0,
        help="number of points (default: 200 000), or of splats at most (150 000; 500 000 without bounds)",
    )
    parser.add_argument("--depth-format", choices=DEPTH_FORMATS, default="png", help="16-bit counts, or float32")
    crop_argument(parser)
    parser.add_argument(
        "--whole", action="store_true", help="mesh all within the cameras' distance, not the thing alone"
    )
    parser.add_argument("--fade-unseen", action="store_true", help="meshes and points: grey, what no photograph saw")
    parser.add_argument("--coverage", action="store_true", help="a layer in --page: where photographs tell little")
    parser.add_argument("--floor", choices=FLOORS, default="keep", help="what the thing stands on (default: keep)")
    parser.add_argument("--up", choices=UPS, default="", help="axis that is to be up (default: the input's frame)")
    parser.add_argument(
        "--scale", type=between(1e-9, 1e9), help="factor on all lengths (default: 1, or to --unit if that is known)"
    )
    parser.add_argument("--unit", choices=UNITS, default="", help="unit of lengths, after --scale")
    parser.add_argument(
        "--measure",
        type=float,
        nargs=7,
        metavar=("X0", "Y0", "Z0", "X1", "Y1", "Z1", "LENGTH"),
        help="two points in the frame of the input poses, and how far apart they are in --unit (default: m); is kept",
    )


def run(arguments: argparse.Namespace) -> int:
    """Writes what is asked for of a trained model."""
    outputs = {output.name: getattr(arguments, output.name) for output in OUTPUTS}
    outputs = {name: path for name, path in outputs.items() if path is not None}
    if not outputs and not arguments.measure:
        raise InputError(f"nothing to export; give {option_list()}")

    if arguments.coverage and "page" not in outputs:
        raise InputError("--coverage is a layer of a page: give --page FILE, too")

    from nerf.workflows.export import check_outputs, export, keep_scale
    from nerf.workflows.trained import open_run

    request = _request(arguments, outputs)
    check_outputs(request)
    trained = open_run(arguments.run_folder, arguments.backend)
    if arguments.measure:
        *corners, length = arguments.measure
        keep_scale(trained.folder, corners, length, arguments.unit or "m")
    if outputs:
        export(trained, request)
    return 0


def _request(arguments: argparse.Namespace, outputs: dict[str, Path]) -> ExportRequest:
    from nerf.exporters.context import ExportRequest

    return ExportRequest(
        outputs=outputs,
        surface=_surface_request(arguments),
        up=arguments.up,
        scale=arguments.scale,
        unit=arguments.unit,
        count=arguments.count,
        depth_format=arguments.depth_format,
        coverage=arguments.coverage,
    )


def _surface_request(arguments: argparse.Namespace) -> SurfaceRequest:
    from nerf.geometry.scene_box import crop_box
    from nerf.meshing.surface import PLAIN, TEXTURED, SurfaceRequest

    if arguments.whole and arguments.crop:
        raise InputError("--whole: a box is given by --crop; give one of the two")
    resolution, smoothing = TEXTURED if arguments.texture else PLAIN
    return SurfaceRequest(
        resolution=arguments.resolution or resolution,
        method=arguments.method,
        crop=crop_box(arguments.crop) if arguments.crop else None,
        whole=arguments.whole,
        floor=arguments.floor,
        triangles=arguments.triangles,
        smoothing=smoothing if arguments.smooth is None else arguments.smooth,
        texture=arguments.texture,
        fade_unseen=arguments.fade_unseen,
    )
