"""``nerf view``."""

from __future__ import annotations

import argparse

from nerf.cli.arguments import run_argument, view_arguments


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the arguments of the command."""
    run_argument(parser)
    parser.add_argument("--scene", help="folder or name of the scene, if it has moved since the training")
    view_arguments(parser)


def run(arguments: argparse.Namespace) -> int:
    """Shows a trained model in a browser."""
    from nerf.scenes import find_scene
    from nerf.workflows.trained import open_run
    from nerf.workflows.view import view

    trained = open_run(arguments.run_folder, arguments.backend)
    folder = find_scene(arguments.scene).folder if arguments.scene else None
    view(trained, folder, arguments.host, arguments.port)
    return 0
