"""``nerf train``."""

from __future__ import annotations

import argparse
from pathlib import Path

from nerf.backends.choice import BACKENDS, DEVICES, choose_backend
from nerf.cli.arguments import INTERRUPTED, Parser, formats_and_settings, named_settings, view_arguments


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
    parser.add_argument("--view", action="store_true", help="show the training in a browser")
    parser.add_argument("--stay", action="store_true", help="with --view: go on showing when all is done")
    view_arguments(parser)
    parser.usage = "nerf train --scene NAME|FOLDER [options] [section.name=value ...]"
    parser.more_help = formats_and_settings


def run(arguments: argparse.Namespace) -> int:
    """Trains on a scene, then writes the film and the mesh."""
    from nerf.training.observers import ProgressBar
    from nerf.workflows.train import TrainRequest, train

    named = named_settings(
        {
            "train.steps": arguments.steps,
            "train.max_seconds": arguments.max_seconds,
            "scene.downscale": arguments.downscale,
            "train.seed": arguments.seed,
        }
    )
    request = TrainRequest(
        scene=arguments.scene,
        out=arguments.out,
        config=arguments.config,
        settings=(*named, *arguments.settings),
        resume=arguments.resume,
    )
    backend = choose_backend(arguments.backend, arguments.device)
    if not arguments.view:
        end = train(request, backend, [ProgressBar()])
        return INTERRUPTED if end.interrupted else 0

    from nerf.viewer.watching import TrainingView
    from nerf.workflows.view import stay

    watched = TrainingView(arguments.host, arguments.port)
    try:
        end = train(request, backend, [ProgressBar(), watched])
        if arguments.stay and watched.live is not None and (watched.stopped or not end.interrupted):
            stay(watched.live, request.run.path, backend.name)
    finally:
        watched.close()
    return INTERRUPTED if end.interrupted else 0
