"""``nerf check``."""

from __future__ import annotations

import argparse
from pathlib import Path

from nerf.cli.arguments import whole
from nerf.config import default_settings, settings_from_dict
from nerf.files import check_writable
from nerf.report import say


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the arguments of the command."""
    parser.add_argument("scene", help="folder, or name under data/")
    parser.add_argument("--out", type=Path, help="page to write (default: runs/<scene>/check.html)")
    parser.add_argument(
        "--downscale", type=whole(1, 8), default=1, help="integer factor by which the pictures are shrunk"
    )


def run(arguments: argparse.Namespace) -> int:
    """Checks a capture as training would read it, and writes a page about it."""
    from nerf.scenes import find_scene, ground_of
    from nerf.workflows.check import look_over

    scene_folder = find_scene(arguments.scene)
    base = default_settings(ground_of(scene_folder.folder))
    settings = settings_from_dict({"scene": {"downscale": arguments.downscale}}, "--downscale", base)
    file = arguments.out or Path("runs") / scene_folder.name / "check.html"
    check_writable(file)
    for line in (*look_over(scene_folder, settings, file).lines(), f"page: {file}"):
        say("check", line)
    return 0
