"""Signals, measured: fields side by side over time, super-resolution beside interpolation, compression beside JPEG.

python benchmarks/signals.py fields PICTURE --seconds 60          PSNR over time of four fields, a plot
python benchmarks/signals.py finer PICTURE ...                    x2 and x4 beside bicubic and Lanczos
python benchmarks/signals.py rates PICTURE ...                    beside JPEG and WebP, a plot

Tables are Markdown. Every figure is of one run, on all the threads that torch takes.
"""

from __future__ import annotations

import argparse
import importlib.util
import io
import json
import math
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy
from PIL import Image

FIELDS = ("hash", "siren", "encoding", "relu")


def nerf(*words: object) -> str:
    """Runs a command in another process; returns what it says."""
    command = [sys.executable, "-m", "nerf", *map(str, words)]
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True).stdout


def decibels(one: numpy.ndarray, other: numpy.ndarray) -> float:
    """Returns the PSNR of 8-bit pictures."""
    return 10 * math.log10(255**2 / ((one.astype(float) - other) ** 2).mean())


def fields(pictures: list[Path], seconds: float, plot: Path | None) -> None:
    """Fits every field to a picture for so many seconds."""
    print("| field | parameters | seconds | steps | PSNR, dB |\n|---|---|---|---|---|")
    curves = {}
    with tempfile.TemporaryDirectory() as folder:
        for field in FIELDS:
            run = Path(folder) / field
            nerf("fit", "image", pictures[0], "--field", field, "--max-seconds", seconds, "--out", run)

            found = json.loads((run / "metrics.json").read_text())
            lines = [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]
            curves[field] = [(line["seconds"], line["psnr"]) for line in lines]
            print(
                f"| {field} | {found['parameters']} | {found['training_seconds']:.0f} | {found['steps']} "
                f"| {found['psnr']:.2f} |",
                flush=True,
            )
    if plot:
        draw(plot, curves, "seconds of training", "PSNR of a step's pixels, dB")


def finer(pictures: list[Path], seconds: float, plot: Path | None) -> None:
    """Fits pictures shrunk by 2 and 4, decodes them at full size, and scores them beside interpolation."""
    print("| picture | by | field, dB | bicubic, dB | Lanczos, dB |\n|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as folder:
        for picture in pictures:
            whole = Image.open(picture).convert("RGB")
            for factor in (2, 4):
                # Shrink.
                size = (whole.width // factor, whole.height // factor)
                truth = whole.crop((0, 0, size[0] * factor, size[1] * factor))
                small = Path(folder) / "small.png"
                truth.resize(size, Image.Resampling.BOX).save(small)

                # Fit, and decode at full size.
                run = Path(folder) / f"{picture.stem}-{factor}"
                out = Path(folder) / "out.png"
                words = ("image.area=2", f"field.finest_resolution={max(size)}")
                nerf("fit", "image", small, "--max-seconds", seconds, "--out", run, *words)
                nerf("decode", run, "--size", f"{truth.width}x{truth.height}", "--out", out)

                found = [Image.open(out)]
                for method in (Image.Resampling.BICUBIC, Image.Resampling.LANCZOS):
                    found.append(Image.open(small).resize(truth.size, method))
                scores = [decibels(numpy.asarray(image), numpy.asarray(truth)) for image in found]
                print(f"| {picture.name} | {factor} | " + " | ".join(f"{s:.2f}" for s in scores) + " |", flush=True)


def largest_within(picture: Image.Image, file_format: str, size: int) -> tuple[float, int]:
    """Returns PSNR and bytes of the best JPEG or WebP that is not larger than so many bytes."""
    options = {"JPEG": {"optimize": True}, "WEBP": {"method": 6}}[file_format]
    best = (math.nan, 0)
    for quality in range(1, 101):
        file = io.BytesIO()
        picture.save(file, file_format, quality=quality, **options)
        if file.tell() <= size:
            again = numpy.asarray(Image.open(file).convert(picture.mode))
            score = decibels(again, numpy.asarray(picture))
            best = max(best, (score, file.tell()), key=lambda pair: -1 if math.isnan(pair[0]) else pair[0])
    return best


def rates(pictures: list[Path], seconds: float, plot: Path | None) -> None:
    """Compresses pictures to several rates; JPEG and WebP may be as large as our file, not larger."""
    wanted = (0.15, 0.3, 0.6, 1.0) if plot else (0.3, 0.6)
    print("| picture | bits per pixel | ours, dB | JPEG, dB | WebP, dB | encode, s | decode, s |")
    print("|---|---|---|---|---|---|---|")
    curves: dict[str, list[tuple[float, float]]] = {}
    with tempfile.TemporaryDirectory() as folder:
        for picture in pictures:
            whole = Image.open(picture).convert("RGB")
            for rate in wanted:
                file = Path(folder) / "a.nrfp"
                out = Path(folder) / "a.png"
                start = time.perf_counter()
                nerf("compress", picture, "--bpp", rate, "--out", file)
                middle = time.perf_counter()
                nerf("decode", file, "--out", out)
                end = time.perf_counter()

                size = file.stat().st_size
                ours = decibels(numpy.asarray(Image.open(out)), numpy.asarray(whole))
                others = [largest_within(whole, name, size)[0] for name in ("JPEG", "WEBP")]
                bits = 8 * size / (whole.width * whole.height)
                print(
                    f"| {picture.name} | {bits:.3f} | {ours:.2f} | {others[0]:.2f} | {others[1]:.2f} "
                    f"| {middle - start:.1f} | {end - middle:.1f} |",
                    flush=True,
                )
                for name, score in zip(("ours", "JPEG", "WebP"), (ours, *others)):
                    curves.setdefault(f"{picture.stem} {name}", []).append((bits, score))
    if plot:
        draw(plot, curves, "bits per pixel", "PSNR, dB")


def draw(file: Path, curves: dict[str, list[tuple[float, float]]], x: str, y: str) -> None:
    """Writes a plot of curves."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(6, 3.6))
    styles = {"JPEG": "--", "WebP": ":"}
    colours: dict[str, str] = {}
    for name, points in curves.items():
        first, _, second = name.partition(" ")
        (line,) = axes.plot(*zip(*points), styles.get(second, "-"), label=name, color=colours.get(first))
        colours.setdefault(first, line.get_color())
    axes.set(xlabel=x, ylabel=y)
    axes.grid(alpha=0.3)
    axes.legend(fontsize=7)
    figure.tight_layout()
    figure.savefig(file, dpi=100)


def main() -> None:
    """Reads the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("fields", "finer", "rates"))
    parser.add_argument("pictures", nargs="+", type=Path)
    parser.add_argument("--seconds", type=float, default=60.0, help="seconds of training, each field or picture")
    parser.add_argument("--plot", type=Path)
    arguments = parser.parse_args()
    if arguments.plot and not importlib.util.find_spec("matplotlib"):
        parser.error("--plot needs matplotlib: pip install 'nerf[plot]'")
    {"fields": fields, "finer": finer, "rates": rates}[arguments.what](
        arguments.pictures, arguments.seconds, arguments.plot
    )


if __name__ == "__main__":
    main()
