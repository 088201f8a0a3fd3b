"""Prints what the native engine reaches in given training times, and where the time goes.

    python benchmarks/time_to_quality.py [section.name=value ...] --scene lego --downscale 2 --seconds 10 30 60

Every time is a run of its own, annealed over it. Times are wall seconds of training steps alone, as `train.py` counts
them; the score is the mean PSNR of the test views over white. The load of the machine is printed with each line.
"""

from __future__ import annotations

import argparse
import os
import time
from statistics import mean

import torch

from nerf import engine
from nerf.config import SceneSettings, Settings, read_settings
from nerf.engine.signatures import STAGES
from nerf.metrics import psnr
from nerf.scenes import Views, find_scene, load_scene
from nerf.tasks.native import NativeRadianceTask


def trained(views: Views, settings: Settings, seconds: float) -> tuple[NativeRadianceTask, str]:
    """Returns a task after `seconds` of training, and a line on its speed."""
    task = NativeRadianceTask(views, settings)
    reports, native = [], task.model.engine()
    take_step = native.step

    def recorded(call):
        reports.append(take_step(call))
        return reports[-1]

    native.step = recorded
    spent, step, rays = 0.0, 0, 0
    while spent < seconds:
        start = time.perf_counter()
        rays += task.train_step(step, spent / seconds).rays
        spent += time.perf_counter() - start
        step += 1
    samples = sum(report.samples for report in reports)
    parts = [sum(report.seconds[index] for report in reports) / samples * 1e9 for index in range(len(STAGES))]
    stages = ", ".join(f"{name} {part:.0f}" for name, part in zip(STAGES, parts, strict=True))
    total = spent * torch.get_num_threads() / samples * 1e9
    speed = f"{step} steps, {samples / spent / 1e6:.2f} M used samples/s, {rays / spent / 1e6:.2f} M rays/s"
    return task, f"{speed}; thread-ns per used sample: {stages}; all {total:.0f}"


def score(task: NativeRadianceTask, views: Views) -> tuple[float, float]:
    """Returns the mean PSNR over white of all views, and the seconds that rendering one took."""
    values, seconds = [], []
    for frame in range(len(views)):
        rays = views.cameras.image_rays(frame)
        start = time.perf_counter()
        task.model.render(rays)
        seconds.append(time.perf_counter() - start)
        values.append(psnr(task.model.picture(views.cameras, frame).over(1.0), views.picture(frame, "white")))
    return mean(values), mean(seconds)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--scene", default="lego")
    parser.add_argument("--downscale", type=int, default=2)
    parser.add_argument("--seconds", type=float, nargs="+", default=[10.0, 30.0, 60.0])
    arguments, overrides = parser.parse_known_args()
    settings = read_settings(None, overrides)
    splits = load_scene(
        find_scene(arguments.scene), ("train", "test"), SceneSettings(downscale=arguments.downscale)
    ).splits
    print(f"engine: {engine.library().name}, {torch.get_num_threads()} threads")
    for seconds in arguments.seconds:
        task, line = trained(splits["train"], settings, seconds)
        quality, rendering = score(task, splits["test"])
        print(f"{seconds:g} s: {quality:.2f} dB, {rendering:.4f} s a view; {line}; load {os.getloadavg()[0]:.1f}")


if __name__ == "__main__":
    main()
