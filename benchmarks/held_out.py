"""Held-out quality of captures by default, and by other settings: ``python benchmarks/held_out.py OUT FOLDER ...``.

    --max-seconds 120           of training, stereo before it not counted
    --pictures 24 12            learn from so many evenly spread pictures and score all others; else every 8th is scored
    --set NAME=VALUE ...        for all runs
    --against NAME=VALUE ...    beside the defaults, the same with these settings: a second run at the same time, each
                                on half of the threads, so that what else the machine does harms both alike

Prints one row a run: the mean, the worst view and SSIM over the held-out views, what part of the pictures stereo
measured, and the seconds that it took.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import sys
from pathlib import Path


def main() -> None:
    """Trains, evaluates, and prints the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("folders", type=Path, nargs="+")
    parser.add_argument("--max-seconds", default="120")
    parser.add_argument("--pictures", nargs="*", default=["0"])
    parser.add_argument("--set", nargs="*", default=[])
    parser.add_argument("--against", nargs="*", default=[])
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)

    variants = {"defaults": []} | ({" ".join(arguments.against): arguments.against} if arguments.against else {})
    threads = max(1, (os.cpu_count() or 1) // len(variants))
    print(f"{arguments.max_seconds} s of training, {threads} threads a run, {len(variants)} at a time\n")
    print("| capture | learned from | settings | held out | worst view | SSIM | measured | stereo, s |")
    print("| --- | --- | --- | --- | --- | --- | --- | --- |")
    for folder in arguments.folders:
        for count in arguments.pictures:
            runs = []
            for number, settings in enumerate(variants.values()):
                run = arguments.out / f"{folder.name}-{count}-{number}"
                words = ["train", "--scene", str(folder), "--out", str(run), "--max-seconds", arguments.max_seconds]
                words += ["output.video=", "output.mesh=", "train.preview_seconds=0", *arguments.set, *settings]
                words += [f"scene.pictures={count}"] if count != "0" else []
                runs.append((run, started(words, run, "train", threads)))
            for run, process in runs:
                ended(process, run, "train")
            scores = [(run, started(["evaluate", str(run)], run, "evaluate", threads)) for run, _ in runs]
            for name, (run, process) in zip(variants, scores):
                ended(process, run, "evaluate")
                print(row(folder.name, name, run), flush=True)


def started(words: list[str], run: Path, part: str, threads: int) -> subprocess.Popen:
    """Returns the program at work, its words written beside the run."""
    environment = os.environ | {"OMP_NUM_THREADS": str(threads)}
    with open(run.with_suffix(f".{part}.log"), "wb") as log:
        command = [sys.executable, "-m", "nerf", *words]
        return subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT, env=environment)


def ended(process: subprocess.Popen, run: Path, part: str) -> None:
    """Waits for a program, and ends this one if it failed."""
    if process.wait():
        sys.exit(f"{run.with_suffix(f'.{part}.log')}: it failed")


def row(capture: str, settings: str, run: Path) -> str:
    """Returns the row of a run."""
    text = run.with_suffix(".train.log").read_text(errors="replace")
    measured = re.search(r"stereo: (\d+%).*; ([\d.]+) s", text)
    learned = re.search(r"pictures: (\d+) of", text)
    metrics = json.loads((run / "metrics.json").read_text())
    worst = min(view["psnr"] for view in metrics["views"])
    cells = [capture, learned[1] if learned else "-", settings, f"{metrics['psnr']:.2f} dB", f"{worst:.2f} dB"]
    cells += [f"{metrics['ssim']:.3f}", *(measured.groups() if measured else ("-", "-"))]
    return f"| {' | '.join(cells)} |"


if __name__ == "__main__":
    main()
