"""``nerf train``."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from nerf.backends.choice import BACKENDS, DEVICES, choose_backend
from nerf.cli.arguments import (
    INTERRUPTED,
    Parser,
    named_settings,
    resumed_settings,
    writable,
)
from nerf.config import Settings, describe_settings, photograph_settings, read_settings
from nerf.errors import InputError

if TYPE_CHECKING:
    from nerf.runs import RunFolder


def add_arguments(parser: Parser) -> None:
    """Adds what the command takes."""
    parser.add_argument("--scene", required=True, help="folder, or name under data/; lego is built in")
    parser.add_argument("--config", type=Path, help="YAML file with settings that differ from the defaults")
    parser.add_argument("--out", type=Path, help="run folder (default: runs/<scene>)")
    parser.add_argument("--steps", help="number of training steps (the schedule spans optimizer.horizon)")
    parser.add_argument("--max-seconds", help="seconds of training, which the schedule then spans")
    parser.add_argument("--downscale", help="integer factor by which the pictures are shrunk")
    parser.add_argument("--seed", help="seed of all random numbers")
    parser.add_argument("--device", choices=DEVICES, default="auto", help="device that computes")
    parser.add_argument(
        "--backend", choices=BACKENDS, default="auto", help="code that computes (default: the fastest available)"
    )
    parser.add_argument("--resume", action="store_true", help="continue from the last checkpoint of the run folder")
    parser.usage = "nerf train --scene NAME|FOLDER [options] [section.name=value ...]"
    parser.more_help = _formats_and_settings


def _formats_and_settings() -> str:
    """Returns the end of the help: the formats that can be chosen, and all settings."""
    from nerf.scenes.formats import formats_with_poses

    formats = "\n".join(f"  {row.name:<38} {row.files}" for row in formats_with_poses())
    return (
        "formats, in the order of choice (scene.format=NAME takes another that the folder has):\n"
        f"{formats}\nsettings and their defaults:\n{describe_settings()}"
    )


def run(arguments: argparse.Namespace) -> int:
    """Trains on a scene, then writes the film and the mesh."""
    from nerf.report import say
    from nerf.runs import RunFolder
    from nerf.scenes import check_format, find_scene, has_photographs
    from nerf.workflows.reconstruct import reconstruct

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
    check_format(settings.scene.format)
    name = Path(arguments.scene).resolve().name if Path(arguments.scene).is_dir() else arguments.scene
    run = RunFolder(arguments.out or Path("runs") / name)
    if arguments.resume:
        settings = resumed_settings(run, settings, asked, arguments.config)
    with writable(run.path):
        _check_outputs(settings, run)
        scene_folder = find_scene(arguments.scene)
        if has_photographs(scene_folder.folder) and not (arguments.resume and (run.path / "settings.yaml").is_file()):
            settings = read_settings(arguments.config, asked, photograph_settings())
            say("settings", "settings: the defaults for photographs (see nerf train --help)")
        end = reconstruct(run, scene_folder, settings, backend, arguments.resume)
    return INTERRUPTED if end.interrupted else 0


def _check_outputs(settings: Settings, run: RunFolder) -> None:
    """Refuses bad names of films and meshes before the work, not after it."""
    from nerf.meshing.mesh_files import check_mesh_file
    from nerf.video.writer import check_video_file

    for name, check in ((settings.output.video, check_video_file), (settings.output.mesh, check_mesh_file)):
        if name:
            if Path(name).name != name:
                raise InputError(f'output: "{name}" is not a bare file name; it is written into the run folder')
            check(run.path / name)
