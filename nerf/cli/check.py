"""``nerf check``."""

from __future__ import annotations

import argparse
from pathlib import Path

from nerf.cli.arguments import Parser, formats_and_settings, named_settings
from nerf.files import check_writable
from nerf.report import say


def add_arguments(parser: Parser) -> None:
    """Adds the arguments of the command."""
    parser.add_argument("scene", help="folder, or name under data/")
    parser.add_argument("--config", type=Path, help="YAML file with settings that differ from the defaults")
    parser.add_argument("--out", type=Path, help="page to write (default: runs/<scene>/check.html)")
    parser.add_argument("--downscale", help="integer factor by which the pictures are shrunk")
    parser.usage = "nerf check NAME|FOLDER [options] [section.name=value ...]"
    parser.more_help = formats_and_settings


def run(arguments: argparse.Namespace) -> int:
    """Checks a capture as training with the same settings would read it, and writes a page about it."""
    from nerf.scenes import find_scene
    from nerf.workflows.check import look_over
    from nerf.workflows.run_settings import settings_of_scene

    words = (*named_settings({"scene.downscale": arguments.downscale}), *arguments.settings)
    scene_folder = find_scene(arguments.scene)
    settings, _ = settings_of_scene(scene_folder.folder, arguments.config, words)
    file = arguments.out or Path("runs") / scene_folder.name / "check.html"
    check_writable(file)
    for line in (*look_over(scene_folder, settings, file).lines(), f"page: {file}"):
        say("check", line)
    return 0
