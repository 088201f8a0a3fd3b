"""``nerf evaluate``."""

from __future__ import annotations

import argparse

from nerf.cli.arguments import run_argument
from nerf.report import say


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the arguments of the command."""
    run_argument(parser)
    parser.add_argument(
        "--split", choices=("train", "val", "test"), default="test", help="split to score (default: test)"
    )
    parser.add_argument("--scene", help="folder or name of the scene, if it has moved since the training")


def run(arguments: argparse.Namespace) -> int:
    """Scores a trained model on the views of a split."""
    from nerf.scenes import find_scene
    from nerf.workflows.evaluate import evaluate as evaluate_run
    from nerf.workflows.trained import open_run

    trained = open_run(arguments.run_folder, arguments.backend)
    scene = find_scene(arguments.scene).folder if arguments.scene else None
    metrics = evaluate_run(trained, scene, arguments.split)
    for score in metrics["views"]:
        say("view", f"{score['view']}: {score['psnr']:.2f} dB, SSIM {score['ssim']:.4f}")
    say(
        "figures",
        f"mean of {len(metrics['views'])} {arguments.split} views on {metrics['background']}: "
        f"{metrics['psnr']:.2f} dB, SSIM {metrics['ssim']:.4f}; written to {arguments.run_folder}",
    )
    return 0
