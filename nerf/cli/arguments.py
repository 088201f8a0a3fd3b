"""What commands share: a parser with one-line errors, argument types, and run folders that can be written to."""

from __future__ import annotations

import argparse
import math
import os
import re
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from nerf.backends.choice import BACKENDS
from nerf.config import settings_from_dict
from nerf.errors import InputError, nearest

if TYPE_CHECKING:
    from nerf.runs import RunFolder

USER_ERROR = 2  # exit statuses
INTERRUPTED = 130  # as shells report Ctrl-C
_LEFT_TO_CAPTURE = {"render.steps": 0}  # values that a run replaces by what its capture decided


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
        print(f"nerf: error: {message} (see {self.prog} --help)", file=sys.stderr)
        raise SystemExit(USER_ERROR)


def named_settings(options: Mapping[str, str | None]) -> list[str]:
    """Returns ``section.name=value`` of the options that the user gave; seconds alone lift the limit on steps."""
    words = [f"{name}={value}" for name, value in options.items() if value is not None]
    if options["train.max_seconds"] is not None and options["train.steps"] is None:
        words.append("train.steps=0")
    return words


def resumed_settings(run: RunFolder, asked_for: Any, asked: Sequence[str], config: Path | None) -> Any:
    """Returns the settings of the run, with new budgets and outputs if the user names them.

    Raises:
        InputError: another setting would change, and the run would become something that nobody trained.
    """
    if not run.path.is_dir():
        raise InputError(f"{run.path}: no such run folder to resume; name the right one with --out")
    if not (run.path / "settings.yaml").is_file():
        return asked_for

    saved = run.load_settings(type(asked_for)())
    named = {word.partition("=")[0] for word in asked}
    if config is not None:
        named |= {f"{section}.{name}" for section, values in asked_for.to_dict().items() for name in values}

    # What was named and differs from the run's is a change, if it is free to change.
    free = ("train.steps", "train.max_seconds", "train.checkpoint_seconds", "train.preview_seconds", "output.")
    changes: dict[str, dict[str, object]] = {}
    for section, values in asked_for.to_dict().items():
        for name, value in values.items():
            setting = f"{section}.{name}"
            old = saved.to_dict()[section][name]
            if setting not in named or value in (old, _LEFT_TO_CAPTURE.get(setting)):
                continue
            if not setting.startswith(free):
                raise InputError(
                    f"--resume: {setting} is {old!r} in {run.path}, not {value!r}; start a new run with --out"
                )
            changes.setdefault(section, {})[name] = value
    return settings_from_dict(changes, "--resume", saved)


@contextmanager
def writable(folder: Path) -> Iterator[None]:
    """Makes a run folder and tries to write to it; a folder that stays empty, after an error, is removed again.

    Raises:
        InputError: the folder cannot be written to.
    """
    if Path.cwd().is_relative_to(folder.resolve()):
        raise InputError(f"{folder}: contains the current folder; give --out a folder for the run alone")
    if folder.exists() and not folder.is_dir():
        raise InputError(f"{folder}: is a file; give --out a folder")
    probe = folder / f".probe-{os.getpid()}"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise InputError(f"{folder}: cannot be written ({error.strerror}); choose another folder with --out") from None
    try:
        yield
    finally:
        if folder.is_dir() and not any(folder.iterdir()):
            folder.rmdir()


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


def crop_argument(parser: argparse.ArgumentParser) -> None:
    """Adds the crop box."""
    corners = ("X0", "Y0", "Z0", "X1", "Y1", "Z1")
    parser.add_argument(
        "--crop", type=float, nargs=6, metavar=corners, help="box to keep, in the frame of the input poses"
    )
