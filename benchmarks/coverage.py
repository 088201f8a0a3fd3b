"""Suggested photographs against random ones, and classes against true errors: ``python benchmarks/coverage.py OUT``.

    --steps 3000      of each training
    --seeds 3         sets of five random places
    --sector 90       degrees of azimuth that no photograph of the built-in scene is taken from

The built-in scene loses the photographs of a sector. What is left is trained; `nerf.coverage` suggests five places.
True pictures from there, or from five random places of those that were thought of, are added; each set is trained anew
with the same steps and scored on the test views of the sector. Then depths from places that no photograph was taken
from are held against exact ones, by class of the point.
"""

from __future__ import annotations

import argparse
import json
import math
import shutil
import statistics
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import numpy
import torch
from PIL import Image

from nerf.coverage.sights import CLASSES, GOOD
from nerf.coverage.survey import Survey, survey
from nerf.coverage.viewpoints import viewpoints
from nerf.geometry.cameras import Cameras, look_at
from nerf.geometry.up import find_up, upright
from nerf.scenes.builtin import digger_surface, train_cameras, write_builtin_scene
from nerf.scenes.raytracing import RayTracer, ShadedSurface, camera_rays, rendered_image
from nerf.workflows.recorded import recorded_scene
from nerf.workflows.trained import TrainedRun, open_run

FLIP = torch.tensor([1.0, -1.0, -1.0, 1.0])  # OpenCV <- OpenGL axes of a camera
LOOKS = 60  # places from which depths are judged


def main() -> None:
    """Prints both tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--steps", type=int, default=3000)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--sector", type=float, default=90.0)
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)

    full = arguments.out / "full"
    if not full.exists():
        write_builtin_scene(full)
    gap = arguments.out / "gap"
    without_sector(full, gap, arguments.sector)

    run = trained(gap, arguments.steps)
    found = surveyed(run)
    suggested = [] if found.suggested is None else [found.suggested[n : n + 1] for n in range(len(found.suggested))]
    inside = [within(camera, arguments.sector) for camera in suggested]
    print(f"suggestions in the sector: {sum(inside)} of {len(inside)}")
    for number, suggestion in enumerate(found.suggestions, 1):
        print(f"  {number}: {suggestion.sentence}")
    print(f"good: {found.shares['good']:.1%}, with them {found.after:.1%}")

    up = find_up(run.cameras, run.floor)
    places = viewpoints(found.model, upright(run.cameras, up), found.photographs, up.direction)
    eyes = numpy.concatenate([train_cameras(100)[:, :3, 3], places.world_from_camera[:, :, 3].double().numpy()])
    surface = digger_surface(eyes)[0]
    rows = [("the photographs there are", score(gap))]
    rows.append(("five suggested", with_pictures(gap, "suggested", suggested, surface, arguments.steps)))
    for seed in range(arguments.seeds):
        which = torch.randperm(len(places), generator=torch.Generator().manual_seed(seed))[:5].tolist()
        some = [places[one : one + 1] for one in which]
        rows.append((f"five random, seed {seed}", with_pictures(gap, f"random-{seed}", some, surface, arguments.steps)))
    print("\n| learned from | test views of the sector |\n| --- | --- |")
    for name, psnr in rows:
        print(f"| {name} | {psnr:.2f} dB |")
    print(f"suggested against the mean of random: {rows[1][1] - statistics.mean(row[1] for row in rows[2:]):+.2f} dB\n")

    errors_by_class("without the sector", found, surface.geometry)
    whole = surveyed(trained(full, arguments.steps))
    errors_by_class("all photographs", whole, surface.geometry)
    print(f"all photographs: good {whole.shares['good']:.1%}, suggestions: {len(whole.suggestions)}")


def azimuth(place: torch.Tensor) -> float:
    """Returns degrees round the z axis, in [0, 360)."""
    return math.degrees(math.atan2(place[1], place[0])) % 360


def within(camera: Cameras, sector: float) -> bool:
    """Returns whether a camera stands in the sector, which begins at the x axis."""
    return azimuth(camera.world_from_camera[0, :, 3]) < sector


def without_sector(full: Path, folder: Path, sector: float) -> None:
    """Copies the built-in scene without the training views of the sector, and of the test views keeps those alone."""
    shutil.rmtree(folder, ignore_errors=True)
    for split, kept_inside in (("train", False), ("test", True)):
        tree = json.loads((full / f"transforms_{split}.json").read_text())
        eyes = [torch.tensor(frame["transform_matrix"])[:3, 3] for frame in tree["frames"]]
        tree["frames"] = [f for f, eye in zip(tree["frames"], eyes) if (azimuth(eye) < sector) == kept_inside]
        shutil.copytree(full / split, folder / split)
        (folder / f"transforms_{split}.json").write_text(json.dumps(tree))


def trained(folder: Path, steps: int) -> TrainedRun:
    """Returns the run of a scene, which is trained if it was not."""
    run = folder.with_name(f"{folder.name}-run")
    if not (run / "metrics.json").exists():
        words = ["--max-seconds", "0", "--steps", str(steps), f"optimizer.horizon={steps}"]
        words += ["output.video=", "output.mesh=", "train.preview_seconds=0"]
        program(["train", "--scene", str(folder), "--out", str(run), *words])
        program(["evaluate", str(run)])
    return open_run(run)


def program(words: list[str]) -> None:
    """Runs a command of the program, silently."""
    subprocess.run([sys.executable, "-m", "nerf", *words], check=True, capture_output=True)


def score(folder: Path) -> float:
    """Returns the PSNR of a scene's run."""
    return json.loads((folder.with_name(f"{folder.name}-run") / "metrics.json").read_text())["psnr"]


def surveyed(run: TrainedRun) -> Survey:
    """Returns the survey of a run, and says how long it took."""
    start = time.perf_counter()
    views = recorded_scene(run, (), "put it back").splits["train"]
    up = find_up(run.cameras, run.floor)
    found = survey(run.model, run.cameras, run.record["views"], up, views, 5)
    print(f"survey of {len(run.cameras)} photographs: {time.perf_counter() - start:.1f} s")
    return found


def with_pictures(gap: Path, name: str, cameras: list[Cameras], surface: ShadedSurface, steps: int) -> float:
    """Returns the PSNR in the sector once true pictures by so many cameras are added."""
    folder = gap.with_name(name)
    for old in (folder, gap.with_name(f"{name}-run")):
        shutil.rmtree(old, ignore_errors=True)
    shutil.copytree(gap, folder)
    tree = json.loads((folder / "transforms_train.json").read_text())
    for number, camera in enumerate(cameras):
        pose = torch.eye(4)
        pose[:3] = camera.world_from_camera[0] * FLIP
        size = camera.height, camera.width
        picture = rendered_image(surface, partial(camera_rays, pose.double().numpy(), camera.width), size)
        Image.fromarray(picture).save(folder / "train" / f"more_{number}.png")
        tree["frames"].append({"file_path": f"./train/more_{number}", "transform_matrix": pose.tolist()})
    (folder / "transforms_train.json").write_text(json.dumps(tree))
    trained(folder, steps)
    return score(folder)


@torch.no_grad()
def errors_by_class(title: str, found: Survey, geometry: RayTracer) -> None:
    """Prints how often points of each class are off by more than 1 % of the diagonal, seen from novel places."""
    drawn = torch.Generator().manual_seed(1)
    diagonal = float(numpy.linalg.norm(numpy.ptp(geometry.corners.reshape(-1, 3), axis=0)))
    radius = found.photographs.cameras.world_from_camera[:, :, 3].norm(dim=1).median().item()
    classes, off = [], []
    for _ in range(LOOKS):
        direction = torch.nn.functional.normalize(torch.randn(3, generator=drawn), dim=0)
        direction[2] = direction[2].abs()
        eye = radius * direction
        pose = look_at(eye, torch.zeros(3), torch.tensor([0.0, 0.0, 1.0]))[None]
        camera = Cameras(pose, torch.tensor([[100.0, 100.0]]), torch.tensor([[36.0, 36.0]]), 72, 72)
        rays = camera.image_rays(0)
        distance = found.model.surface(rays)
        met = distance.isfinite()
        rays, distance = rays[met], distance[met]
        exact = geometry.nearest(torch.cat([rays.origin, rays.direction], 1).numpy())["t_hit"]
        off.append((distance - torch.from_numpy(numpy.asarray(exact))).abs() / diagonal > 0.01)
        classes.append(found.nearest_class(rays.origin + distance[:, None] * rays.direction))
    which, wrong = torch.cat(classes), torch.cat(off).float()
    print(f"\n{title}: {len(which)} points, off by more than 1 % of the diagonal: {wrong.mean():.1%}")
    print("| class | of the points | off by more than 1 % |\n| --- | --- | --- |")
    for number, name in enumerate(CLASSES):
        some = which == number
        print(f"| {name} | {some.float().mean():.1%} | {wrong[some].mean():.1%} |")
    little = which < 2
    print(
        f"not seen or one side only: {wrong[little].mean() / wrong[which == GOOD].mean():.1f} times as often as good\n"
    )


if __name__ == "__main__":
    main()
