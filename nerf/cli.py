"""The command line: words -> settings -> the parts. A user's mistake ends in one line and exit status 2."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from nerf import __version__
from nerf.backends import BACKENDS, DEVICES, choose_backend
from nerf.cli_words import (
    INTERRUPTED,
    USER_ERROR,
    Parser,
    between,
    named_settings,
    resumed_settings,
    size,
    whole,
    writable,
)
from nerf.config import Settings, describe_settings, photograph_settings, read_settings, settings_from_dict
from nerf.errors import InputError
from nerf.files import check_writable
from nerf.fit_cli import FIT_COMMANDS

if TYPE_CHECKING:
    from nerf.runs import RunFolder


def main(words: Sequence[str] | None = None) -> int:
    """Runs ``nerf COMMAND ...`` and returns its exit status."""
    # Threads that spin while they wait starve each other on a shared machine: twenty times slower was measured with
    # three busy processes on two cores. It must be said before torch loads its OpenMP.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    parser = Parser(prog="nerf", allow_abbrev=False, description="3D reconstruction from posed photographs.")
    parser.add_argument("--version", action="version", version=f"nerf {__version__}")
    commands = parser.add_subparsers(dest="command", required=True, parser_class=Parser, metavar="COMMAND")
    for name, (add_arguments, run, summary) in COMMANDS.items():
        command = commands.add_parser(
            name,
            allow_abbrev=False,
            help=summary,
            description=summary + ".",
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        add_arguments(command)
        command.set_defaults(run=run)
    # argparse cannot take positional words on both sides of an option, which is how people write settings.
    arguments, rest = parser.parse_known_args(words)
    unknown = [word for word in rest if word.startswith("-") or arguments.command not in ("train", "fit")]
    if unknown:
        commands.choices[arguments.command].refuse(unknown)
    arguments.settings = rest
    try:
        return arguments.run(arguments)
    except InputError as error:
        print(f"nerf: error: {error}", file=sys.stderr)
        return USER_ERROR
    except BrokenPipeError:
        return USER_ERROR
    except MemoryError:
        print("nerf: error: not enough memory; lower --resolution, --size or train.samples", file=sys.stderr)
        return USER_ERROR
    except KeyboardInterrupt:
        print("nerf: interrupted", file=sys.stderr)
        return INTERRUPTED


def _train_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--scene", required=True, help="a folder, or a name under data/; lego is built in")
    parser.add_argument("--config", type=Path, help="YAML file with settings that differ from the defaults")
    parser.add_argument("--out", type=Path, help="run folder (default: runs/<scene>)")
    parser.add_argument("--steps", help="end after this training step (annealing spans optimizer.horizon)")
    parser.add_argument("--max-seconds", help="end after these seconds of training, and anneal over them")
    parser.add_argument("--downscale", help="shrink the pictures by this whole factor")
    parser.add_argument("--seed", help="of every random number")
    parser.add_argument("--device", choices=DEVICES, default="auto")
    parser.add_argument("--backend", choices=BACKENDS, default="auto")
    parser.add_argument("--resume", action="store_true", help="go on from the last checkpoint of the run folder")
    parser.usage = "nerf train --scene NAME|FOLDER [options] [section.name=value ...]"
    parser.epilog = "settings and their defaults:\n" + describe_settings()


def train(arguments: argparse.Namespace) -> int:
    """Trains on a scene, then writes the film and the mesh."""
    from nerf.reconstruction import reconstruct
    from nerf.runs import RunFolder
    from nerf.scenes import find_scene, has_photographs

    named = named_settings(
        {
            "train.steps": arguments.steps,
            "train.max_seconds": arguments.max_seconds,
            "scene.downscale": arguments.downscale,
            "train.seed": arguments.seed,
        }
    )
    backend = choose_backend(arguments.backend, arguments.device)
    asked = named + arguments.settings
    settings = read_settings(arguments.config, asked)
    name = Path(arguments.scene).resolve().name if Path(arguments.scene).is_dir() else arguments.scene
    run = RunFolder(arguments.out or Path("runs") / name)
    if arguments.resume:
        settings = resumed_settings(run, settings, asked, arguments.config)
    with writable(run.path):
        _check_outputs(settings, run)
        place = find_scene(arguments.scene)
        if has_photographs(place.folder) and not (arguments.resume and (run.path / "settings.yaml").is_file()):
            settings = read_settings(arguments.config, asked, photograph_settings())
            print("settings: the defaults for photographs (see nerf train --help)")
        end = reconstruct(run, place, settings, backend, arguments.resume)
    return INTERRUPTED if end.interrupted else 0


def _check_outputs(settings: Settings, run: RunFolder) -> None:
    """Refuses names of films and meshes before the work, not after it."""
    from nerf.export.mesh_files import check_mesh_file
    from nerf.export.video import check_video_file

    for name, check in ((settings.output.video, check_video_file), (settings.output.mesh, check_mesh_file)):
        if name:
            if Path(name).name != name:
                raise InputError(f'output: "{name}" is not a file name; it is written into the run folder')
            check(run.path / name)


def _check_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("scene", help="a folder, or a name under data/")
    parser.add_argument("--out", type=Path, help="the page (default: runs/<scene>/check.html)")
    parser.add_argument("--downscale", type=whole(1, 8), default=1, help="shrink the pictures by this whole factor")


def check(arguments: argparse.Namespace) -> int:
    """Looks a capture over as training would read it, and writes a page about it."""
    from nerf.reconstruction import looked_over
    from nerf.scenes import find_scene, has_photographs

    place = find_scene(arguments.scene)
    base = photograph_settings() if has_photographs(place.folder) else Settings()
    settings = settings_from_dict({"scene": {"downscale": arguments.downscale}}, "--downscale", base)
    file = arguments.out or Path("runs") / place.name / "check.html"
    check_writable(file)
    print(looked_over(place, settings, file).text())
    print(f"page: {file}")
    return 0


def _run_argument(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("run_folder", type=Path, metavar="RUN", help="the folder that train wrote")
    parser.add_argument("--backend", choices=BACKENDS, default="auto", help="what renders (default: the fastest here)")


def _render_arguments(parser: argparse.ArgumentParser) -> None:
    _run_argument(parser)
    from nerf.export.words import EASES, PATHS, PREVIEWS, SHOWN

    parser.add_argument(
        "--path", choices=PATHS, default="auto", help="of the camera; auto: orbit, or spiral if all face one way"
    )
    parser.add_argument(
        "--keys", type=Path, metavar="FILE", help="key frames, JSON, for --path keys; a film's track is one"
    )
    parser.add_argument("--out", type=Path, required=True, help=".mp4, .webm, .mov, .gif; no suffix: folder of PNGs")
    parser.add_argument("--show", nargs="+", choices=SHOWN, default=["rgb"], help="several: side by side")
    parser.add_argument("--alpha", action="store_true", help="transparent ground, in .webm, .mov (ProRes 4444) or PNGs")
    parser.add_argument("--frames", type=whole(2, 100000), default=90)
    parser.add_argument("--size", type=size, help="WxH pixels of a panel (default: as the pictures)")
    parser.add_argument("--fps", type=whole(1, 240), default=30)
    parser.add_argument("--fov", type=between(1, 170), default=0.0, help="vertical angle of view, degrees")
    parser.add_argument("--ease", choices=EASES, default="linear", help="smooth: from rest to rest")
    parser.add_argument(
        "--loop", action=argparse.BooleanOptionalAction, help="end where it began (default: by the path)"
    )
    _crop_argument(parser)
    parser.add_argument(
        "--preview",
        nargs="?",
        choices=PREVIEWS,
        const="baked",
        help="film quickly: from a baked grid, or with coarse steps; what it loses is printed",
    )


def render(arguments: argparse.Namespace) -> int:
    """Films a trained model along a camera path."""
    from nerf.export.box import crop_box
    from nerf.export.film import FilmRequest
    from nerf.export.video import check_video_file
    from nerf.reconstruction import film
    from nerf.trained import open_run

    check_video_file(arguments.out, arguments.alpha)
    trained = open_run(arguments.run_folder, arguments.backend)
    request = FilmRequest(
        path=arguments.path,
        frames=arguments.frames,
        size=arguments.size or (trained.cameras.width, trained.cameras.height),
        fps=arguments.fps,
        shown=tuple(arguments.show),
        loop=arguments.loop,
        ease=arguments.ease,
        view=arguments.fov,
        keys=arguments.keys,
        alpha=arguments.alpha,
        preview=arguments.preview or "",
    )
    film(trained, arguments.out, request, crop_box(arguments.crop) if arguments.crop else None)
    return 0


def _export_arguments(parser: argparse.ArgumentParser) -> None:
    _run_argument(parser)
    from nerf.export.words import METHODS, UNITS, UPS

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
    _crop_argument(parser)
    parser.add_argument("--up", choices=UPS, default="", help="the axis that is to be up (default: the input's frame)")
    parser.add_argument("--scale", type=between(1e-9, 1e9), default=1.0, help="multiplies all lengths")
    parser.add_argument("--unit", choices=UNITS, default="", help="what lengths are in, after --scale")


def _crop_argument(parser: argparse.ArgumentParser) -> None:
    corners = ("X0", "Y0", "Z0", "X1", "Y1", "Z1")
    parser.add_argument("--crop", type=float, nargs=6, metavar=corners, help="the box that is kept, input frame")


def export(arguments: argparse.Namespace) -> int:
    """Writes mesh, point cloud, depth maps and cameras of a trained model."""
    from nerf.export.box import crop_box
    from nerf.export.mesh_files import check_mesh_file
    from nerf.export.pointcloud import check_points_file
    from nerf.export.surface import PLAIN, TEXTURED, SurfaceRequest
    from nerf.export.views import check_folder
    from nerf.reconstruction import ExportRequest
    from nerf.reconstruction import export as export_run
    from nerf.trained import open_run

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
        box=crop_box(arguments.crop) if arguments.crop else None,
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


def _evaluate_arguments(parser: argparse.ArgumentParser) -> None:
    _run_argument(parser)
    parser.add_argument("--split", choices=("train", "val", "test"), default="test")
    parser.add_argument("--scene", help="the scene's folder or name, if it has moved since the training")


def evaluate(arguments: argparse.Namespace) -> int:
    """Scores a trained model on views that it may not have seen."""
    from nerf.evaluation import evaluate as evaluate_run
    from nerf.scenes import find_scene
    from nerf.trained import open_run

    trained = open_run(arguments.run_folder, arguments.backend)
    scene = find_scene(arguments.scene).folder if arguments.scene else Path(trained.record["folder"])
    if not scene.is_dir():
        raise InputError(
            f"{scene}: the scene that {arguments.run_folder} was trained on is not there; "
            "say where it is with --scene FOLDER"
        )
    metrics = evaluate_run(trained, scene, arguments.split)
    for score in metrics["views"]:
        print(f"{score['view']}: {score['psnr']:.2f} dB, SSIM {score['ssim']:.4f}")
    print(
        f"mean of {len(metrics['views'])} {arguments.split} views on {metrics['background']}: "
        f"{metrics['psnr']:.2f} dB, SSIM {metrics['ssim']:.4f}; written beside the run in {arguments.run_folder}"
    )
    return 0


def _doctor_arguments(parser: argparse.ArgumentParser) -> None:
    pass


def doctor(arguments: argparse.Namespace) -> int:
    """Prints what is here and what will be used, and tries every backend; 1 if one computes wrong."""
    from nerf.doctor import page

    text, well = page()
    print(text)
    return 0 if well else 1


COMMANDS = {
    "check": (_check_arguments, check, "look a capture over before training, with warnings that say how to mend it"),
    "train": (_train_arguments, train, "train on a scene, then write a film and a mesh"),
    "render": (_render_arguments, render, "film a trained model"),
    "export": (_export_arguments, export, "write mesh, point cloud, depth maps and cameras of a trained model"),
    "doctor": (_doctor_arguments, doctor, "print what is here, what will be used, and whether it computes right"),
    "evaluate": (_evaluate_arguments, evaluate, "score a trained model on held-out views"),
    **FIT_COMMANDS,
}
