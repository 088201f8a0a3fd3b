"""Measures how much of what imperfect captures cost is won back by learning what is wrong with them.

    python benchmarks/imperfect_captures.py --scene lego --downscale 2 --steps 8000
    python benchmarks/imperfect_captures.py --only patch --downscale 4 --steps 4000
    python benchmarks/imperfect_captures.py --only lens --scene FOLDER --downscale 4 --steps 2000

Poses: every training camera is turned by --degrees about a random axis and moved by --move of its distance from the
cameras' middle in a random direction. Exposure: the light of every training picture is multiplied by 2 ** s, s uniform
in [-stops, stops], and the picture clipped and rounded again. Patch: a figure, --patch of the picture's height tall, as
wide as a person is, and opaque, stands somewhere else in every third training picture. Lens: focal length off by
--focal, k1 by --k1, of the held-out pictures, too: these are rendered through the lens that was found.

Held-out pictures are as they were. All runs take the same steps. Scores are the mean PSNR over white of the held-out
views: as they are, and each with its pose or its gain and offset aligned to the picture
(`nerf.workflows.align`), in every row alike; for patches nothing is aligned. Recovered: of what the fault costs.
Learned from right pictures: what learning costs where there is no fault.
"""

from __future__ import annotations

import argparse
import dataclasses
import math
import sys
import time
from pathlib import Path
from statistics import mean
from typing import Any

import torch

from nerf.backends.choice import choose_backend
from nerf.config import SceneSettings, Settings, default_settings, read_settings
from nerf.files import write_text
from nerf.rendering.metrics import psnr
from nerf.scenes import Views, find_scene, ground_of, load_scene
from nerf.training.camera_optimizer import rotations
from nerf.training.lens_refinement import LensChange
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


def visited(views: Views, part: float, random: torch.Generator) -> Views:
    """Returns views of which every third has a figure somewhere: head, coat and legs; part: of the picture's height."""
    images = views.images.clone()
    for frame in range(0, len(views), 3):
        width, height = views.cameras.size[frame].tolist()
        tall = round(part * height)
        wide = max(3, tall // 3)
        figure = torch.zeros(tall, wide, images.shape[3])
        down = torch.linspace(0, 1, tall)[:, None]
        across = torch.linspace(-1, 1, wide)[None]
        head = (down < 0.2) & (((down - 0.1) / 0.1).square() + (across / 0.45).square() < 1)
        coat = (down >= 0.2) & (down < 0.6)
        legs = (down >= 0.6) & (across.abs() > 0.15) & (across.abs() < 0.8)
        for shape, color in ((head, (0.8, 0.6, 0.5)), (coat, (0.15, 0.25, 0.6)), (legs, (0.1, 0.1, 0.1))):
            figure[shape.expand(tall, wide)] = torch.tensor([*color, 1.0])[: images.shape[3]]
        figure[:, :, :3] *= 0.8 + 0.4 * torch.rand(tall, wide, 1, generator=random)  # cloth

        top = int(torch.randint(height - tall + 1, (), generator=random))
        left = int(torch.randint(width - wide + 1, (), generator=random))
        there = images[frame, top : top + tall, left : left + wide]
        shown = (head | coat | legs).expand(tall, wide)
        there[shown] = (figure[shown].clamp(0, 1) * views.white).round().to(images.dtype)
    return dataclasses.replace(views, images=images)


def bent(views: Views, focal: float, k1: float) -> Views:
    """Returns views whose focal length is off by a part, and k1 by an amount."""
    terms = torch.tensor([math.log1p(focal), 0, 0, k1, 0, 0], dtype=torch.float64)
    return dataclasses.replace(views, cameras=LensChange(terms, torch.zeros(3)).of(views.cameras))


@dataclasses.dataclass(frozen=True)
class Fault:
    """What is wrong with a capture, and the settings that learn it."""

    train: Views
    learned: dict[str, Any]  # settings of `capture`
    not_learned: dict[str, Any]  # with a rate of zero, nothing is learned and all else is the same
    aligned: str  # of held-out views: pose, colors, or nothing
    test: Views | None = None  # if the held-out pictures have the fault, too
    harm: bool = False  # whether to learn from right pictures, too


def trained(views: Views, settings: Settings) -> tuple[RadianceTask, float]:
    """Returns a task after its steps, and the seconds they took."""
    task, spent = choose_backend("native").task(views, settings), 0.0
    for step in range(settings.train.steps):
        start = time.perf_counter()
        task.train_step(step, step / settings.train.steps)
        spent += time.perf_counter() - start
    return task, spent


def scores(task: RadianceTask, views: Views, aligned: str, every: int) -> tuple[float, float]:
    """Returns the mean PSNR of held-out views as they are, and aligned."""
    plain, fitted, model = [], [], task.averaged()
    cameras = views.cameras if task.lens is None else task.lens.change.of(views.cameras)
    for frame in range(0, len(views), every):
        truth = views.picture(frame, "white")
        picture = fit = model.picture(cameras, frame)
        if aligned == "pose":
            fit = model.picture(aligned_camera(model, views, frame, "white", False), 0)
        elif aligned == "colors":
            fit = aligned_colors(picture, views, frame, "white")
        plain.append(psnr(picture.over(1.0), truth))
        fitted.append(psnr(fit.over(1.0), truth))
    return mean(plain), mean(fitted)


def faults(train: Views, test: Views, arguments: argparse.Namespace) -> dict[str, Fault]:
    """Returns what can be wrong, by name."""
    random = torch.Generator().manual_seed(7)
    poses = disturbed(train, arguments.degrees, arguments.move, random)
    exposure = exposed(train, arguments.stops, random)
    patch = visited(train, arguments.patch, random)
    lens = [bent(views, arguments.focal, arguments.k1) for views in (train, test)]
    return {
        "poses": Fault(poses, {"poses": "refine"}, {"poses": "refine", "pose_rate": 0.0}, "pose"),
        "exposure": Fault(exposure, {"exposure": "learn"}, {"exposure": "learn", "exposure_rate": 0.0}, "colors"),
        "patch": Fault(patch, {"transients": "discount"}, {}, "", harm=True),
        "lens": Fault(lens[0], {"lens": "refine"}, {}, "", test=lens[1], harm=True),
    }


def main() -> None:
    """Measures, prints and writes."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--scene", default="lego")
    parser.add_argument("--downscale", type=int, default=2)
    parser.add_argument("--steps", type=int, default=8000)
    parser.add_argument("--degrees", type=float, default=1.0)
    parser.add_argument("--move", type=float, default=0.01)
    parser.add_argument("--stops", type=float, default=1.0)
    parser.add_argument("--patch", type=float, default=0.4)
    parser.add_argument("--focal", type=float, default=0.05)
    parser.add_argument("--k1", type=float, default=0.05)
    parser.add_argument("--every", type=int, default=1, help="score every so many held-out views")
    parser.add_argument("--only", choices=("poses", "exposure", "patch", "lens"))
    parser.add_argument("--out", type=Path, help="file for the table")
    arguments, overrides = parser.parse_known_args()

    folder = find_scene(arguments.scene)
    read = SceneSettings(downscale=arguments.downscale)
    splits = load_scene(folder, ("train", "test"), read).splits
    train, test = splits["train"], splits["test"]
    words = [f"train.steps={arguments.steps}", "train.max_seconds=0", *overrides]
    settings = read_settings(None, words, default_settings(ground_of(folder.folder, "auto")))

    heads = ("fault", "pictures", "learned", "as they are, dB", "aligned, dB", "recovered", "steps take")
    lines = [f"| {' | '.join(heads)} |", "| --- |" + " --- |" * 6]
    print("\n".join(lines), flush=True)
    for name, fault in faults(train, test, arguments).items():
        if arguments.only not in (None, name):
            continue
        found = []
        rows = [("right", train, False), ("wrong", fault.train, False), ("wrong", fault.train, True)]
        for pictures, views, learned in rows + [("right", train, True)] * fault.harm:
            changes = fault.learned if learned else fault.not_learned
            capture = dataclasses.replace(settings.capture, **changes)
            task, seconds = trained(views, dataclasses.replace(settings, capture=capture))
            scored = test if fault.test is None or pictures == "right" else fault.test
            found.append(scores(task, scored, fault.aligned, arguments.every))
            if learned:
                found_out = task.camera_optimizer.found() + ([task.transients.found()] if task.transients else [])
                found_out += [task.lens.change.found()] if task.lens else []
                print("\n".join(found_out), file=sys.stderr, flush=True)
            part = ""
            if learned and pictures == "wrong":
                part = " / ".join(f"{(c - b) / (a - b):.0%}" for a, b, c in zip(*found))
            lines.append(
                f"| {name} | {pictures} | {'yes' if learned else 'no'} | {found[-1][0]:.2f} | "
                f"{f'{found[-1][1]:.2f}' if fault.aligned else ''} | {part} | {seconds:.0f} s |"
            )
            print(lines[-1], flush=True)
    if arguments.out:
        write_text(arguments.out, "\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
