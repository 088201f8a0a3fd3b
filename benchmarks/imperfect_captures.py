"""Measures how much of what bad poses and uneven exposures cost is won back by learning them.

    python benchmarks/imperfect_captures.py --scene lego --downscale 2 --steps 8000

Poses: every training camera is turned by --degrees about a random axis and moved by --move of its distance from the
cameras' middle in a random direction. Exposure: the light of every training picture is multiplied by 2 ** s, s uniform
in [-stops, stops], and the picture clipped and rounded again. Held-out views are as they were. All runs take the same
steps. Scores are the mean PSNR over white of the held-out views: as they are, and each with its pose or its gain and
offset aligned to the picture (`nerf.workflows.align`), in every row alike. Recovered: of what the fault costs.
"""

from __future__ import annotations

import argparse
import dataclasses
import time
from pathlib import Path
from statistics import mean

import torch

from nerf.backends.choice import choose_backend
from nerf.config import SceneSettings, Settings, read_settings
from nerf.files import write_text
from nerf.rendering.metrics import psnr
from nerf.scenes import Views, find_scene, load_scene
from nerf.training.camera_optimizer import rotations
from nerf.training.radiance import RadianceTask
from nerf.workflows.align import aligned_camera, aligned_colors


def disturbed(views: Views, degrees: float, part: float, random: torch.Generator) -> Views:
    """Returns views whose cameras stand wrongly; part: of their distance from their middle."""
    pose = views.cameras.world_from_camera.double()
    axis = torch.nn.functional.normalize(torch.randn(len(pose), 3, generator=random, dtype=torch.float64), dim=1)
    way = torch.nn.functional.normalize(torch.randn(len(pose), 3, generator=random, dtype=torch.float64), dim=1)
    radius = (pose[:, :, 3] - pose[:, :, 3].mean(0)).norm(dim=1).median()
    turn = rotations(axis * torch.tensor(degrees).deg2rad()) @ pose[:, :, :3]
    wrong = torch.cat([turn, (pose[:, :, 3] + part * radius * way)[:, :, None]], 2).float()
    return dataclasses.replace(views, cameras=dataclasses.replace(views.cameras, world_from_camera=wrong))


def exposed(views: Views, stops: float, random: torch.Generator) -> Views:
    """Returns views whose pictures were exposed unevenly, in linear light of sRGB, clipped and rounded."""
    factor = 2 ** (stops * (2 * torch.rand(len(views), generator=random) - 1))
    images = views.images.clone()
    for frame in range(len(views)):
        color = views.images[frame, :, :, :3].float() / views.white
        light = torch.where(color <= 0.04045, color / 12.92, ((color + 0.055) / 1.055) ** 2.4) * factor[frame]
        color = torch.where(light <= 0.0031308, 12.92 * light, 1.055 * light ** (1 / 2.4) - 0.055).clamp(0, 1)
        images[frame, :, :, :3] = (color * views.white).round().to(images.dtype)
    return dataclasses.replace(views, images=images)


def trained(views: Views, settings: Settings) -> tuple[RadianceTask, float]:
    """Returns a task after its steps, and the seconds they took."""
    task, spent = choose_backend("native").task(views, settings), 0.0
    for step in range(settings.train.steps):
        start = time.perf_counter()
        task.train_step(step, step / settings.train.steps)
        spent += time.perf_counter() - start
    return task, spent


def scores(task: RadianceTask, views: Views, pose: bool, every: int) -> tuple[float, float]:
    """Returns the mean PSNR of held-out views as they are, and aligned."""
    plain, fitted, model = [], [], task.averaged()
    for frame in range(0, len(views), every):
        truth = views.picture(frame, "white")
        picture = model.picture(views.cameras, frame)
        plain.append(psnr(picture.over(1.0), truth))
        if pose:
            fit = model.picture(aligned_camera(model, views, frame, "white", False), 0)
        else:
            fit = aligned_colors(picture, views, frame, "white")
        fitted.append(psnr(fit.over(1.0), truth))
    return mean(plain), mean(fitted)


def main() -> None:
    """Measures, prints and writes."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--scene", default="lego")
    parser.add_argument("--downscale", type=int, default=2)
    parser.add_argument("--steps", type=int, default=8000)
    parser.add_argument("--degrees", type=float, default=1.0)
    parser.add_argument("--move", type=float, default=0.01)
    parser.add_argument("--stops", type=float, default=1.0)
    parser.add_argument("--every", type=int, default=1, help="score every so many held-out views")
    parser.add_argument("--only", choices=("poses", "exposure"))
    parser.add_argument("--out", type=Path, help="file for the table")
    arguments, overrides = parser.parse_known_args()
    settings = read_settings(None, [f"train.steps={arguments.steps}", "train.max_seconds=0", *overrides])
    read = SceneSettings(downscale=arguments.downscale)
    splits = load_scene(find_scene(arguments.scene), ("train", "test"), read).splits
    train, test = splits["train"], splits["test"]
    random = torch.Generator().manual_seed(7)
    faults = {
        "poses": (disturbed(train, arguments.degrees, arguments.move, random), "poses", "refine", "pose_rate"),
        "exposure": (exposed(train, arguments.stops, random), "exposure", "learn", "exposure_rate"),
    }
    heads = ("fault", "pictures", "learned", "as they are, dB", "aligned, dB", "recovered", "steps take")
    lines = [f"| {' | '.join(heads)} |", "| --- |" + " --- |" * 6]
    print("\n".join(lines), flush=True)
    for fault, (wrong, name, word, rate) in faults.items():
        if arguments.only not in (None, fault):
            continue
        found = []
        # With a rate of zero nothing is learned, and all else is the same.
        for pictures, views, learned in (("right", train, False), ("wrong", wrong, False), ("wrong", wrong, True)):
            changes = {name: word} | ({} if learned else {rate: 0.0})
            capture = dataclasses.replace(settings.capture, **changes)
            task, seconds = trained(views, dataclasses.replace(settings, capture=capture))
            found.append(scores(task, test, fault == "poses", arguments.every))
            part = ""
            if learned:
                part = " / ".join(f"{(c - b) / (a - b):.0%}" for a, b, c in zip(*found))
            lines.append(
                f"| {fault} | {pictures} | {'yes' if learned else 'no'} | {found[-1][0]:.2f} | {found[-1][1]:.2f} | "
                f"{part} | {seconds:.0f} s |"
            )
            print(lines[-1], flush=True)
    if arguments.out:
        write_text(arguments.out, "\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
