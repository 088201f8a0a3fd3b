"""The command line: arguments -> settings -> workflows. A user's mistake ends in one line and exit status 2."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence

from nerf import __version__
from nerf.cli import check, doctor, evaluate, export, fit, render, train
from nerf.cli.arguments import INTERRUPTED, USER_ERROR, Parser
from nerf.errors import InputError
from nerf.memory import is_out_of_memory, use_huge_pages


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
    unknown = [word for word in rest if word.startswith("-") or arguments.command not in ("train", "fit")]
    if unknown:
        commands.choices[arguments.command].refuse(unknown)
    arguments.settings = rest

    try:
        return arguments.run(arguments)
    except InputError as error:
        for line in str(error).splitlines():  # of several outputs that failed
            print(f"nerf: error: {line}", file=sys.stderr)
        return USER_ERROR
    except BrokenPipeError:
        return USER_ERROR
    except (MemoryError, RuntimeError) as error:
        if not is_out_of_memory(error):
            raise
        print("nerf: error: not enough memory; lower --resolution, --size or train.samples", file=sys.stderr)
        return USER_ERROR
    except KeyboardInterrupt:
        print("nerf: interrupted", file=sys.stderr)
        return INTERRUPTED


COMMANDS = {
    "check": (
        check.add_arguments,
        check.run,
        "check a capture before training; every warning says how to fix the problem",
    ),
    "train": (train.add_arguments, train.run, "train on a scene, then write a film and a mesh"),
    "render": (render.add_arguments, render.run, "film a trained model"),
    "export": (export.add_arguments, export.run, "export mesh, point cloud, depth maps and cameras of a trained model"),
    "doctor": (
        doctor.add_arguments,
        doctor.run,
        "print what is installed, what will be used, and whether it computes correctly",
    ),
    "evaluate": (evaluate.add_arguments, evaluate.run, "score a trained model on held-out views"),
    **fit.FIT_COMMANDS,
}
