"""``nerf check``: a capture before training, or with --after what its photographs tell of the trained scene."""

from __future__ import annotations

import argparse
from pathlib import Path

from nerf.cli.arguments import Parser, formats_and_settings, named_settings, whole
from nerf.errors import InputError
from nerf.files import check_writable
from nerf.report import say


def add_arguments(parser: Parser) -> None:
    """Adds the arguments of the command."""
    parser.add_argument("scene", help="folder, or name under data/; with --after a run folder")
    parser.add_argument("--config", type=Path, help="YAML file with settings that differ from the defaults")
    parser.add_argument("--out", type=Path, help="page to write (default: runs/<scene>/check.html)")
    parser.add_argument("--downscale", help="integer factor by which the pictures are shrunk")
    parser.add_argument(
        "--after",
        action="store_true",
        help="of a run: where photographs tell little, and which to take (coverage.html)",
    )
    parser.add_argument(
        "--suggest", type=whole(1, 50), help="photographs that are suggested, with --after (default: 5)"
    )
    parser.usage = "nerf check NAME|FOLDER [options] [section.name=value ...]\n       nerf check RUN --after [options]"
    parser.more_help = formats_and_settings


def run(arguments: argparse.Namespace) -> int:
    """Checks a capture as training with the same settings would read it, or a run; writes a page about it."""
    lines = _after(arguments) if arguments.after else _before(arguments)
    for line in lines:
        say("check", line)
    return 0


def _before(arguments: argparse.Namespace) -> list[str]:
    from nerf.scenes import find_scene
    from nerf.workflows.check import look_over
    from nerf.workflows.run_settings import settings_of_scene

    if arguments.suggest:
        raise InputError("--suggest goes with --after: before training it is not known what is seen")
    words = (*named_settings({"scene.downscale": arguments.downscale}), *arguments.settings)
    scene_folder = find_scene(arguments.scene)
    settings, _ = settings_of_scene(scene_folder.folder, arguments.config, words)
    file = arguments.out or Path("runs") / scene_folder.name / "check.html"
    check_writable(file)
    return [*look_over(scene_folder, settings, file).lines(), f"page: {file}"]


def _after(arguments: argparse.Namespace) -> list[str]:
    from nerf.workflows.coverage import look_back
    from nerf.workflows.trained import open_run

    if arguments.config or arguments.downscale or arguments.settings:
        raise InputError("--after looks at a run as it is: leave out --config, --downscale and settings")
    trained = open_run(Path(arguments.scene))
    return look_back(trained, arguments.out or trained.folder.path / "coverage.html", arguments.suggest or 5)
