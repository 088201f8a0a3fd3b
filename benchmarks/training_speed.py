"""Compares how fast two checkouts train, in turn in the same minutes: samples and rays a second, and PSNR in training.

    python benchmarks/training_speed.py --against OTHER_CHECKOUT SCENE ... [--seconds 15] [--runs 3] [-- OPTION ...]

Every run is ``nerf train`` of one checkout by the clock, without film and mesh. Options behind ``--`` go to all of
them, for example ``--downscale 2``. Rates are means over the last half of a run's log: what comes first is warm-up.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from statistics import mean, median

REPOSITORY = Path(__file__).parents[1]
RATES = ("samples_per_second", "rays_per_second", "psnr")


def rates(repository: Path, scene: Path, seconds: float, options: list[str]) -> dict[str, float]:
    """Returns the rates of one training by the program in a checkout."""
    with tempfile.TemporaryDirectory() as folder:
        run = Path(folder) / "run"
        command = [sys.executable, "-m", "nerf", "train", "--scene", str(scene.resolve()), "--out", str(run)]
        command += ["--max-seconds", str(seconds), *options]
        command += ["output.video=", "output.mesh=", "train.preview_seconds=0"]
        environment = {**os.environ, "PYTHONPATH": str(repository)}
        done = subprocess.run(command, cwd=repository, env=environment, capture_output=True, text=True)
        if done.returncode != 0:
            sys.exit(f"{' '.join(command)}: exit status {done.returncode}\n{done.stderr}")
        lines = [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]
    return {name: mean(line[name] for line in lines[len(lines) // 2 :]) for name in RATES}


def main() -> None:
    """Prints a row a run, and the ratio of the medians."""
    words = sys.argv[1:]
    cut = words.index("--") if "--" in words else len(words)
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("scenes", nargs="+", type=Path)
    parser.add_argument("--against", required=True, type=Path, metavar="CHECKOUT")
    parser.add_argument("--seconds", type=float, default=15.0)
    parser.add_argument("--runs", type=int, default=3)
    arguments = parser.parse_args(words[:cut])
    checkouts = {"against": arguments.against.resolve(), "this": REPOSITORY.resolve()}

    print("| scene | checkout | samples a second | rays a second | PSNR in training |")
    print("| --- | --- | --- | --- | --- |")
    for scene in arguments.scenes:
        found: dict[str, list[float]] = {name: [] for name in checkouts}
        for number in range(arguments.runs):
            # Which comes first changes from pair to pair: a machine that slows down favours neither.
            order = list(checkouts) if number % 2 == 0 else list(reversed(checkouts))
            for name in order:
                seen = rates(checkouts[name], scene, arguments.seconds, words[cut + 1 :])
                found[name].append(seen["samples_per_second"])
                rows = (f"{seen['samples_per_second'] / 1e6:.3f} M", f"{seen['rays_per_second'] / 1e3:.0f} k")
                print(f"| {scene.name} | {name} | {rows[0]} | {rows[1]} | {seen['psnr']:.2f} dB |", flush=True)
        ratio = median(found["this"]) / median(found["against"])
        print(f"| {scene.name} | ratio of medians | {ratio:.3f} | | |", flush=True)


if __name__ == "__main__":
    main()
