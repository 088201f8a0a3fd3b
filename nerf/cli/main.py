"""The command line: arguments -> settings -> workflows. A user's mistake ends in one line and exit status 2."""

from __future__ import annotations

import argparse
import os
import signal
import tempfile
import threading
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any

from nerf import __version__
from nerf.cli import check, compare, doctor, evaluate, export, fit, render, train, view
from nerf.cli.arguments import INTERRUPTED, OWN_ERROR, USER_ERROR, Parser
from nerf.errors import InputError
from nerf.files import write_text
from nerf.memory import is_out_of_memory, use_huge_pages
from nerf.report import complain
from nerf.text import clipped


def main(words: Sequence[str] | None = None) -> int:
    """Runs ``nerf COMMAND ...`` and returns its exit status."""
    # Threads that spin while they wait starve each other on a shared machine: twenty times slower was measured with
    # three busy processes on two cores. The variable must be set before torch loads its OpenMP.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    use_huge_pages()

    parser = Parser(prog="nerf", allow_abbrev=False, description="3D reconstruction from posed photographs.")
    parser.add_argument("--version", action="version", version=f"nerf {__version__}")
    commands = parser.add_subparsers(dest="command", required=True, parser_class=Parser, metavar="COMMAND")
    for name, (add_arguments, run, summary) in COMMANDS.items():
        command = commands.add_parser(
            name,
            allow_abbrev=False,
            help=summary,
            description=summary + ".",
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        add_arguments(command)
        command.set_defaults(run=run)

    # argparse cannot take positional arguments on both sides of an option, which is how people write settings.
    arguments, rest = parser.parse_known_args(words)
    unknown = [word for word in rest if word.startswith("-") or arguments.command not in ("check", "train", "fit")]
    if unknown:
        commands.choices[arguments.command].refuse(unknown)
    arguments.settings = rest

    try:
        with _ends_in_order():
            return arguments.run(arguments)
    except InputError as error:
        for line in error.args:  # of several outputs that failed
            complain(f"nerf: error: {line}")
        return USER_ERROR
    except KeyboardInterrupt:
        complain("nerf: interrupted")
        return INTERRUPTED
    except Exception as error:
        if is_out_of_memory(error):
            complain(
                "nerf: error: not enough memory; lower --resolution, --size or train.samples, or raise --downscale"
            )
            return USER_ERROR
        told = " ".join(f"{type(error).__name__}: {error}".split())
        complain(
            f"nerf: error: {clipped(told)}: a mistake of nerf itself, not of yours; report it with "
            f"{_kept_traceback(arguments)}"
        )
        return OWN_ERROR


def _kept_traceback(arguments: argparse.Namespace) -> str:
    """Returns the file into which the traceback of the error in hand was written: in the run folder, or a new one."""
    text = traceback.format_exc().encode("utf-8", "backslashreplace").decode("utf-8")
    named = (getattr(arguments, name, None) for name in ("run_folder", "out"))
    run = next((path for path in named if path is not None and (path / "settings.yaml").is_file()), None)
    if run is not None:
        with suppress(InputError):
            write_text(run / "error.txt", text)
            return str(run / "error.txt")
    with tempfile.NamedTemporaryFile("w", prefix="nerf-error-", suffix=".txt", delete=False, encoding="utf-8") as file:
        file.write(text)
    return file.name


@contextmanager
def _ends_in_order() -> Iterator[None]:
    """Inside, SIGTERM and a closed terminal end the program as an error would: what it was writing is removed.

    SIGHUP stays ignored where it is, as under nohup. Python tells signals to the main thread alone.
    """
    before: dict[int, Any] = {}
    if threading.current_thread() is threading.main_thread():
        numbers = [signal.SIGTERM, *([signal.SIGHUP] if hasattr(signal, "SIGHUP") else [])]
        numbers = [number for number in numbers if signal.getsignal(number) == signal.SIG_DFL]
        before = {number: signal.signal(number, _end) for number in numbers}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _end(number: int, frame: object) -> None:
    raise SystemExit(128 + number)  # as shells report a signal


COMMANDS = {
    "check": (
        check.add_arguments,
        check.run,
        "check a capture before training; every warning says how to fix the problem",
    ),
    "train": (train.add_arguments, train.run, "train on a scene, then write a film and a mesh"),
    "render": (render.add_arguments, render.run, "film a trained model"),
    "compare": (compare.add_arguments, compare.run, "put several runs side by side in one page"),
    "view": (view.add_arguments, view.run, "show a trained model in a browser"),
    "export": (export.add_arguments, export.run, "export mesh, point cloud, depth maps and cameras of a trained model"),
    "doctor": (
        doctor.add_arguments,
        doctor.run,
        "print what is installed, what will be used, and whether it computes correctly",
    ),
    "evaluate": (evaluate.add_arguments, evaluate.run, "score a trained model on held-out views"),
    **fit.FIT_COMMANDS,
}
