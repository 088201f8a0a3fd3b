"""What commands share: a parser with one-line errors, argument types, and run folders that can be written to."""

from __future__ import annotations

import argparse
import math
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NoReturn

from nerf.backends.choice import BACKENDS
from nerf.config import describe_settings
from nerf.errors import nearest
from nerf.report import complain

OWN_ERROR = 1  # exit statuses
USER_ERROR = 2
INTERRUPTED = 130  # as shells report Ctrl-C


class Parser(argparse.ArgumentParser):
    """One line for a mistake, like every other error."""

    more_help: Callable[[], str] | None = None  # what ends the help; made, with what it imports, only when it is shown

    def format_help(self) -> str:
        if self.more_help is not None:
            self.epilog = self.more_help()
        return super().format_help()

    def refuse(self, words: Sequence[str]) -> NoReturn:
        """Ends with the words that nothing asked for, and what is near to one that looks like an option."""
        options = [word.partition("=")[0] for word in words if word.startswith("--")]
        hint = nearest(options[0], set(re.findall(r"--[a-z-]+", super().format_help()))) if options else ""
        self.error(f"unrecognized arguments: {' '.join(words)}{hint}")

    def error(self, message: str) -> NoReturn:
        complain(f"nerf: error: {message} (see {self.prog} --help)")
        raise SystemExit(USER_ERROR)


def named_settings(options: Mapping[str, str | None]) -> list[str]:
    """Returns ``section.name=value`` of the options that the user gave; seconds alone lift the limit on steps."""
    words = [f"{name}={value}" for name, value in options.items() if value is not None]
    if options.get("train.max_seconds") is not None and options["train.steps"] is None:
        words.append("train.steps=0")
    return words


def formats_and_settings() -> str:
    """Returns the end of a help: the formats of scenes that can be chosen, and all settings of a training."""
    from nerf.scenes.formats import formats_with_poses

    formats = "\n".join(f"  {row.name:<38} {row.files}" for row in formats_with_poses())
    return (
        "formats, in the order of choice (scene.format=NAME takes another that the folder has):\n"
        f"{formats}\nsettings and their defaults:\n{describe_settings()}"
    )


def whole(low: int, high: int) -> Callable[[str], int]:
    """Returns an argument type: whole numbers in a closed range."""

    def whole_number(text: str) -> int:
        if not (text.isascii() and text.isdigit() and low <= int(text) <= high):
            raise argparse.ArgumentTypeError(f'"{text}" is not a whole number from {low} to {high}')
        return int(text)

    return whole_number


def between(low: float, high: float) -> Callable[[str], float]:
    """Returns an argument type: numbers in a closed range."""

    def number(text: str) -> float:
        try:
            value = float(text)
        except ValueError:
            value = math.nan
        if not low <= value <= high:
            raise argparse.ArgumentTypeError(f'"{text}" is not a number from {low:g} to {high:g}')
        return value

    return number


def size(text: str) -> tuple[int, int]:
    """Returns (width, height) of ``WxH``."""
    width, _, height = text.lower().partition("x")
    side = whole(2, 16384)
    return side(width), side(height)


def run_argument(parser: argparse.ArgumentParser) -> None:
    """Adds the run folder and what renders it."""
    parser.add_argument("run_folder", type=Path, metavar="RUN", help="run folder, as train wrote it")
    parser.add_argument(
        "--backend", choices=BACKENDS, default="auto", help="code that renders (default: the fastest available)"
    )


def view_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds where browsers find what is shown."""
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (default: this machine alone)")
    parser.add_argument(
        "--port", type=whole(0, 65535), default=7007, help="port (default: 7007; another one if it is taken)"
    )


def crop_argument(parser: argparse.ArgumentParser) -> None:
    """Adds the crop box."""
    corners = ("X0", "Y0", "Z0", "X1", "Y1", "Z1")
    parser.add_argument(
        "--crop", type=float, nargs=6, metavar=corners, help="box to keep, in the frame of the input poses"
    )
