"""The commands `fit` (a file becomes a function), `compress` (a picture a small file) and `decode` (either a file)."""

from __future__ import annotations

import argparse
from pathlib import Path

from nerf.backends.choice import choose_backend
from nerf.cli.arguments import INTERRUPTED, between, named_settings, size, whole
from nerf.errors import InputError
from nerf.files import check_readable, check_writable
from nerf.report import progress, say

FIT_BACKENDS = ("auto", "native", "reference")  # signals are fitted on the CPU


def fit_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the arguments of ``nerf fit``."""
    from nerf.config import describe_settings
    from nerf.signals.registry import SIGNALS
    from nerf.signals.settings import FitSettings

    parser.add_argument("kind", metavar="KIND", choices=SIGNALS, help="what the file holds: " + ", ".join(SIGNALS))
    parser.add_argument("file", metavar="FILE", type=Path, help="what is fitted")
    parser.add_argument("--config", type=Path, help="YAML file with settings that differ from the defaults")
    parser.add_argument("--out", type=Path, help="run folder (default: runs/<name of the file>)")
    parser.add_argument("--field", help="the function: hash, siren, encoding, fourier or relu")
    parser.add_argument("--steps", help="train for so many steps, and anneal over them")
    parser.add_argument("--max-seconds", help="end after these seconds of training, and anneal over them")
    parser.add_argument("--seed", help="seed of all random numbers")
    parser.add_argument("--backend", choices=FIT_BACKENDS, default="auto", help="what computes (default: the fastest)")
    parser.add_argument("--resume", action="store_true", help="go on from the last checkpoint of the run folder")

    parser.usage = "nerf fit KIND FILE [options] [section.name=value ...]"
    kinds = "\n".join(f"  {name:<12} {row.summary}" for name, row in SIGNALS.items())
    parser.epilog = f"kinds:\n{kinds}\nsettings and their defaults:\n{describe_settings(FitSettings)}"


def fit(arguments: argparse.Namespace) -> int:
    """Fits a function to a file."""
    from nerf.runs import RunFolder
    from nerf.signals.registry import signal_class
    from nerf.signals.settings import read_fit_settings
    from nerf.workflows.fit import Source
    from nerf.workflows.fit import fit as fit_source
    from nerf.workflows.run_settings import resumed_settings, writable

    # Options are short names of settings.
    named = named_settings(
        {
            "field.kind": arguments.field,
            "train.steps": arguments.steps,
            "optimizer.horizon": None if arguments.resume else arguments.steps,
            "train.max_seconds": arguments.max_seconds,
            "train.seed": arguments.seed,
        }
    )
    asked = named + arguments.settings

    backend = choose_backend(arguments.backend, "cpu")
    settings = read_fit_settings(arguments.config, asked, signal_class(arguments.kind).defaults)
    run = RunFolder(arguments.out or Path("runs") / arguments.file.stem)
    if arguments.resume:
        settings = resumed_settings(run, settings, asked, arguments.config)

    with writable(run.path):
        end = fit_source(run, Source(arguments.kind, arguments.file), settings, backend, arguments.resume)
    return INTERRUPTED if end.interrupted else 0


def decode_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the arguments of ``nerf decode``."""
    parser.add_argument("source", type=Path, metavar="RUN", help="the folder that fit wrote, or a file of compress")
    parser.add_argument("--out", type=Path, required=True, help="the file; its suffix is the format")
    parser.add_argument("--size", type=size, help="WxH pixels (default: as the source)")
    corners = ("X0", "Y0", "X1", "Y1")
    parser.add_argument("--region", type=between(-1, 2), nargs=4, metavar=corners, help="part of the picture, 0 to 1")
    parser.add_argument("--rate", type=between(1e-3, 1e9), default=0.0, help="samples or frames a second")
    parser.add_argument("--resolution", type=whole(2, 4096), default=0, help="cells along the longest side")
    parser.add_argument("--backend", choices=FIT_BACKENDS, default="auto", help="what computes (default: the fastest)")


def decode(arguments: argparse.Namespace) -> int:
    """Writes a fitted signal to a file, at any resolution; or a compressed picture, as it is."""
    check_readable(arguments.source)
    if arguments.source.is_file():
        from nerf.signals.compression.container import decompress

        if arguments.size or arguments.region or arguments.rate or arguments.resolution:
            raise InputError(f"{arguments.source}: compressed pictures have one size; leave the options out")
        say("output", decompress(arguments.source, arguments.out))
        return 0

    from nerf.runs import RunFolder
    from nerf.signals.signal import DecodeRequest
    from nerf.workflows.fit import decode as decode_run

    request = DecodeRequest(
        size=arguments.size,
        region=tuple(arguments.region) if arguments.region else None,
        rate=arguments.rate,
        resolution=arguments.resolution,
    )
    backend = choose_backend(arguments.backend, "cpu")
    say("output", decode_run(RunFolder(arguments.source), arguments.out, request, backend))
    return 0


def compress_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the arguments of ``nerf compress``."""
    parser.add_argument("file", metavar="FILE", type=Path, help="a picture of 8 bits a channel")
    parser.add_argument("--out", type=Path, help="the compressed file (default: FILE with the suffix .nrfp)")
    wanted = parser.add_mutually_exclusive_group()
    wanted.add_argument("--bpp", type=between(0.01, 24), help="bits per pixel, of the whole file (default: 0.5)")
    wanted.add_argument("--psnr", type=between(15, 60), help="decibels, instead of a rate")
    parser.add_argument("--seed", type=whole(0, 2**31), default=0, help="seed of all random numbers")


def compress(arguments: argparse.Namespace) -> int:
    """Compresses a picture."""
    from nerf.signals.compression.encoding import Target, read_8_bit_picture
    from nerf.signals.compression.encoding import compress as compress_picture

    check_readable(arguments.file)
    out = arguments.out or arguments.file.with_suffix(".nrfp")
    check_writable(out)
    target = Target(psnr=arguments.psnr) if arguments.psnr else Target(bits_per_pixel=arguments.bpp or 0.5)
    picture = read_8_bit_picture(arguments.file)
    with progress(title="compressing", unit="step") as bar:
        found = compress_picture(picture, out, target, arguments.seed, bar.update)

    say(
        "output",
        f"{out}: {found['bytes']:.0f} bytes, {found['bits_per_pixel']:.3f} bits per pixel, "
        f"{found['psnr']:.2f} dB; decode it with nerf decode {out} --out FILE.png",
    )
    return 0


FIT_COMMANDS = {
    "fit": (fit_arguments, fit, "fit a function to a file: picture, film, sound, shape, scan"),
    "compress": (compress_arguments, compress, "compress a picture into a small file"),
    "decode": (decode_arguments, decode, "write a fitted signal to a file, at any resolution"),
}
