"""Held-out views scored small: ``python benchmarks/scales.py RUN ... [--views 8]``.

A view at 1/2, 1/4 and 1/8 of the training's resolution is what its pixels are in the mean: the picture averaged over
boxes. That is scored with one ray a pixel, and with the mean of as many rays as a pixel is wider, which films take
(`nerf.rendering.antialiasing`). Prints one row a run: PSNR, the mean over evenly spread held-out views.
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path
from statistics import mean

import torch
from torch.nn.functional import avg_pool2d

from nerf.color import BACKGROUNDS
from nerf.geometry.cameras import Cameras
from nerf.rendering.antialiasing import MOST_RAYS, averaged_picture
from nerf.rendering.metrics import psnr
from nerf.workflows.recorded import recorded_scene
from nerf.workflows.trained import open_run

FACTORS = (1, 2, 4, 8)


def main() -> None:
    """Scores the runs and prints the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", type=Path, nargs="+")
    parser.add_argument("--views", type=int, default=8)
    arguments = parser.parse_args()

    print("| run | rays a pixel | " + " | ".join(f"1/{factor}" if factor > 1 else "1" for factor in FACTORS) + " |")
    print("| --- | --- | --- | --- | --- | --- |")
    for run in arguments.runs:
        for averaged in (False, True):
            scores = [f"{scored(run, factor, averaged, arguments.views):.2f} dB" for factor in FACTORS]
            print(f"| {run.name} | {'as wide' if averaged else 'one'} | " + " | ".join(scores) + " |", flush=True)


@torch.no_grad()
def scored(folder: Path, factor: int, averaged: bool, count: int) -> float:
    """Returns the PSNR of a run at 1/factor of its resolution."""
    run = open_run(folder)
    views = recorded_scene(run, ("test",), "the scene has moved").splits["test"]
    cameras = views.cameras.about(run.cameras.origin)
    background = run.settings.scene.background
    some = torch.linspace(0, len(cameras) - 1, min(count, len(cameras))).round().long().tolist()
    found = []
    for frame in dict.fromkeys(some):
        truth = avg_pool2d(views.picture(frame, background).permute(2, 0, 1), factor).permute(1, 2, 0)
        small = smaller(cameras[frame : frame + 1], factor)
        picture = averaged_picture(run.model, small, 0, min(factor, MOST_RAYS) if averaged else 1)
        found.append(psnr(picture.over(BACKGROUNDS[background]), truth))
    return mean(found)


def smaller(cameras: Cameras, factor: int) -> Cameras:
    """Returns a camera whose pixels are boxes of factor x factor; what is left over at the right and below is cut."""
    width, height = (cameras.size[0] // factor).tolist()
    scaled = replace(cameras, focal=cameras.focal / factor, center=cameras.center / factor)
    return replace(scaled, width=width, height=height, size=torch.tensor([[width, height]]))


if __name__ == "__main__":
    main()
