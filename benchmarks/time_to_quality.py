"""Measures how soon the native engine reaches which quality, where its time goes, and how a plain-torch peer fares.

    python benchmarks/time_to_quality.py --scene lego --seconds 10,30,60,300 --repeats 3 --peer-seconds 600

Every budget is a run of its own, annealed over it. Seconds are wall seconds of training steps alone, as `nerf train`
counts them; the score is the mean PSNR of the test views over white (`nerf evaluate`). Samples in front of the surface
are those that light reaches when a ray is marched; used are those that weigh enough to be learned from. Rates and
stages are of the longest budget. The peer is scored on every fifth view before its end. Writes speed.json, speed.md
and, with matplotlib, speed.png.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import sys
import time
from dataclasses import replace
from pathlib import Path
from statistics import mean, median

import torch
from machine import Work, bounds, measure
from peer import Peer, Reference, curve

from nerf import engine
from nerf.backends.choice import choose_backend
from nerf.config import SceneSettings, Settings, read_settings
from nerf.engine.signatures import STAGES
from nerf.files import write_text
from nerf.geometry.cameras import Cameras
from nerf.rendering.baked import bake, preview_quality
from nerf.rendering.metrics import psnr
from nerf.rendering.model import RadianceModel
from nerf.scenes import Views, find_scene, load_scene
from nerf.training.radiance import RadianceTask

MARKS = (25, 28, 30, 32, 33, 34)  # dB
LINE = 16  # numbers of a cache line


def score(model, views: Views, every: int = 1) -> float:
    """Returns the mean PSNR over white of every so many views."""
    frames = range(0, len(views), every)
    pictures = (model.picture(views.cameras, frame).over(1.0) for frame in frames)
    return mean(psnr(picture, views.picture(frame, "white")) for frame, picture in zip(frames, pictures))


def trained(views: Views, settings: Settings, seconds: float) -> tuple[RadianceTask, dict[str, object]]:
    """Returns a task after `seconds` of training, and its rates."""
    task = choose_backend("native").task(views, settings)
    reports = []
    spent, step, rays = 0.0, 0, 0
    while spent < seconds:
        start = time.perf_counter()
        rays += task.train_step(step, spent / seconds).rays
        spent += time.perf_counter() - start
        reports.append(task.model.engine().report)
        step += 1
    samples = sum(report.samples for report in reports)
    return task, {
        "seconds": spent,
        "steps": step,
        "samples_per_second": samples / spent,
        "rays_per_second": rays / spent,
        "reached_per_second": sum(report.reached for report in reports) / spent,
        "marched_per_used": sum(report.marched for report in reports) / samples,
        "stages_ns": {
            name: sum(report.seconds[index] for report in reports) / samples * 1e9 for index, name in enumerate(STAGES)
        },
        "all_ns": spent * torch.get_num_threads() / samples * 1e9,
        "load": os.getloadavg()[0],
    }


def moved_per_sample(task: RadianceTask) -> float:
    """Returns how many numbers of the table lie in a cache line with a gradient, in a step, for one used sample."""
    gradients, result = task.model.engine().gradients(task.next_step(1.0))
    numbers = gradients["encoding.table"].flatten()
    lines = numbers[: len(numbers) // LINE * LINE].view(-1, LINE)
    return LINE * int((lines != 0).any(dim=1).sum()) / result.samples


def picture_seconds(model, views: Views) -> float:
    """Returns the median seconds of a picture."""
    seconds = []
    for frame in range(len(views)):
        start = time.perf_counter()
        model.picture(views.cameras, frame)
        seconds.append(time.perf_counter() - start)
    return median(seconds)


def previews(model: RadianceModel, cameras: Cameras, views: Views) -> dict[str, float]:
    """Returns what the exact picture takes, and what baking for the cameras takes, gives and loses."""
    baked = bake(model, cameras)
    return {
        "exact_seconds": picture_seconds(model, views),
        "bake_seconds": baked.seconds,
        "baked_bytes": baked.bytes,
        "baked_seconds": picture_seconds(baked, views),
        "baked_psnr": score(baked, views),
        "baked_to_exact_psnr": preview_quality(model, baked, views.cameras, 1.0).psnr,
    }


def time_to(points: list[tuple[float, float]], wanted: float) -> str:
    """Returns the seconds to a PSNR, between two budgets by their logarithm; points: (seconds, dB) in order."""
    if points[0][1] >= wanted:
        return f"< {points[0][0]:.0f} s"
    for (before, low), (after, high) in zip(points, points[1:]):
        if low < wanted <= high:
            return f"{math.exp(math.log(before) + (wanted - low) / (high - low) * math.log(after / before)):.1f} s"
    return "not reached"


def medians(runs: list[dict]) -> list[tuple[float, float]]:
    """Returns (seconds, median dB) of the engine's budgets, in order."""
    budgets = sorted({run["budget"] for run in runs})
    return [(budget, median(run["psnr"] for run in runs if run["budget"] == budget)) for budget in budgets]


def report(found: dict) -> str:
    """Returns the results as Markdown."""
    ours, peer, machine = medians(found["runs"]), found.get("peer"), found["machine"]
    theirs = [(point["seconds"], point["psnr"]) for point in peer["curve"]] if peer else []
    lines = [
        f"# Speed on {found['scene']}, {found['width']} x {found['height']}",
        "",
        f"{found['threads']} threads, {machine['instructions']}; medians of {found['repeats']}; `{found['command']}`.",
        "",
        "| training | " + " | ".join(f"{seconds:g} s" for seconds, _ in ours) + " |",
        "| --- |" + " --- |" * len(ours),
        "| engine, dB | " + " | ".join(f"{value:.2f}" for _, value in ours) + " |",
        "",
        "| to reach | " + " | ".join(f"{mark} dB" for mark in MARKS) + " |",
        "| --- |" + " --- |" * len(MARKS),
        "| engine | " + " | ".join(time_to(ours, mark) for mark in MARKS) + " |",
    ]
    if peer:
        lines.append(f"| {peer['name']} | " + " | ".join(time_to(theirs, mark) for mark in MARKS) + " |")
        lines += ["", f"The peer's last, {theirs[-1][1]:.2f} dB after {theirs[-1][0]:.0f} s, takes the engine "]
        lines[-1] += f"{time_to(ours, theirs[-1][1])}. Used samples a second: peer {peer['samples_per_second']:.3g}, "
        lines[-1] += f"engine {found['rates']['samples_per_second']:.3g}."
    lines += ["", *stage_table(found), "", *machine_lines(machine), "", *preview_lines(found["previews"]), ""]
    return "\n".join(lines)


def stage_table(found: dict) -> list[str]:
    """Returns what every stage takes, and its distance from what bounds it."""
    lines = ["| stage | thread-ns per used sample | at least | ratio | bound by |", "| --- | --- | --- | --- | --- |"]
    stages = found["rates"]["stages_ns"]
    for name, bound in found["bounds"].items():
        lines.append(f"| {name} | {stages[name]:.1f} | {bound.ns:.1f} | {stages[name] / bound.ns:.1f} | {bound.what} |")
    waiting = found["rates"]["all_ns"] - sum(stages.values())
    rates = found["rates"]
    return [
        f"Samples a second: {rates['reached_per_second'] / 1e6:.2f} million in front of where their ray ends, "
        f"{rates['samples_per_second'] / 1e6:.2f} million of them used.",
        "",
        *lines,
        f"| outside | {waiting:.1f} | – | – | occupancy grid, mean, Python, waiting for the other thread |",
        f"| all | {found['rates']['all_ns']:.1f} | {sum(bound.ns for bound in found['bounds'].values()):.1f} | | |",
    ]


def machine_lines(machine: dict) -> list[str]:
    """Returns what one core was measured to do at most."""
    sizes = " | ".join(f"{row['bytes'] / 2**20:g} MiB" for row in machine["access"])
    rows = [
        f"| {label} | " + " | ".join(f"{row[key]:.2f}" for row in machine["access"]) + " |"
        for label, key in (
            ("read 8 bytes, ns", "read_8_ns"),
            ("add to 16 bytes, ns", "change_16_ns"),
            ("read and write in order, bytes/ns", "stream"),
        )
    ]
    return [
        f"One core: {machine['fma_gflops']:.0f} GFLOP/s of float multiply-adds, "
        f"{machine['bf16_gflops']:.0f} of bfloat16 dot products; memory, by the size of the array, random but for the "
        "last row:",
        "",
        f"| | {sizes} |",
        "| --- |" + " --- |" * len(machine["access"]),
        *rows,
    ]


def preview_lines(seen: dict) -> list[str]:
    """Returns what rendering takes."""
    return [
        f"A picture: exact {1000 * seen['exact_seconds']:.1f} ms; baked {1000 * seen['baked_seconds']:.1f} ms at "
        f"{seen['baked_psnr']:.2f} dB ({seen['baked_to_exact_psnr']:.2f} dB against the exact picture), "
        f"{seen['baked_bytes'] / 2**20:.0f} MiB, baked in {seen['bake_seconds']:.2f} s."
    ]


def plot(found: dict, file: Path) -> None:
    """Writes PSNR over the logarithm of time, both curves."""
    try:
        import matplotlib
    except ImportError:
        print("no plot: matplotlib is missing (pip install 'nerf[plot]')")
        return
    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(7, 4.2), layout="constrained")
    axes.plot(*zip(*medians(found["runs"])), "o-", label="nerf, native engine: each budget a run")
    if peer := found.get("peer"):
        points = [(point["seconds"], point["psnr"]) for point in peer["curve"]]
        axes.plot(*zip(*points), "s--", label=f"{peer['name']}: one run")
    axes.set(xscale="log", xlabel="training, seconds", ylabel="PSNR of test views, dB")
    axes.set_title(f"{found['scene']}, {found['width']} x {found['height']}, {found['threads']} threads")
    axes.grid(which="both", alpha=0.3)
    axes.legend()
    figure.savefig(file, dpi=120)
    pyplot.close(figure)


def numbers(text: str) -> list[float]:
    """Returns the numbers of a list with commas."""
    return [float(part) for part in text.split(",")]


def arguments_and_settings() -> tuple[argparse.Namespace, Settings]:
    """Returns what the command line says."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0], epilog="section.name=value changes a setting")
    parser.add_argument("--scene", default="lego")
    parser.add_argument("--downscale", type=int, default=2)
    parser.add_argument("--seconds", type=numbers, default=[10.0, 30.0, 60.0], help="budgets, with commas")
    parser.add_argument("--repeats", type=int, default=1, help="runs of every budget, each with its own seed")
    parser.add_argument("--peer-seconds", type=float, default=0.0, help="0: no peer")
    parser.add_argument("--peer", choices=("plain", "reference"), default="plain")
    parser.add_argument("--config", type=Path, help="YAML file of settings")
    parser.add_argument("--out", type=Path, default=Path("docs/speed"), help="folder of the results")
    arguments, overrides = parser.parse_known_args()
    return arguments, read_settings(arguments.config, overrides)


def main() -> None:
    """Measures, prints and writes."""
    arguments, settings = arguments_and_settings()
    read = SceneSettings(downscale=arguments.downscale)
    splits = load_scene(find_scene(arguments.scene), ("train", "test"), read).splits
    train, test = splits["train"], splits["test"]
    machine = measure()
    found: dict = {
        "command": f"python benchmarks/time_to_quality.py {' '.join(sys.argv[1:])}",
        "scene": Path(arguments.scene).name,
        "width": train.cameras.width,
        "height": train.cameras.height,
        "threads": torch.get_num_threads(),
        "repeats": arguments.repeats,
        "machine": machine,
        "runs": [],
    }
    print(f"engine: {engine.library().name}, {torch.get_num_threads()} threads")
    for seconds in sorted(arguments.seconds):
        for seed in range(arguments.repeats):
            task, rates = trained(train, replace(settings, train=replace(settings.train, seed=seed)), seconds)
            model = task.averaged()
            found["runs"].append({"budget": seconds, "seed": seed, "psnr": score(model, test), **rates})
            print(f"engine: {seconds:g} s: {found['runs'][-1]['psnr']:.2f} dB, load {rates['load']:.1f}", flush=True)
    found |= {"rates": rates, "previews": previews(model, train.cameras, test)}
    work = Work(
        rates["marched_per_used"], rates["rays_per_second"] / rates["samples_per_second"], moved_per_sample(task)
    )
    found["bounds"] = bounds(machine, task, work)
    if arguments.peer_seconds > 0:
        plain = arguments.peer == "plain"
        name = "plain torch" if plain else "reference backend"
        peer = Peer(train, model.box, 0) if plain else Reference(train, settings, 0)
        marks = [20.0 * 2**power for power in range(12)]
        points, rate = curve(
            peer, arguments.peer_seconds, marks, lambda model, last: score(model, test, 1 if last else 5)
        )
        found["peer"] = {"name": name, "curve": points, "samples_per_second": rate}
    arguments.out.mkdir(parents=True, exist_ok=True)
    write_text(arguments.out / "speed.json", json.dumps(found, indent=1))
    text = report(found)
    write_text(arguments.out / "speed.md", text)
    plot(found, arguments.out / "speed.png")
    print(text)


if __name__ == "__main__":
    main()
