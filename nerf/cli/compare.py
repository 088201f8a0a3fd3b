"""``nerf compare``."""

from __future__ import annotations

import argparse
from pathlib import Path

from nerf.report import say


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the arguments of the command."""
    parser.add_argument("runs", type=Path, nargs="+", metavar="RUN", help="run folders, as train wrote them")
    parser.add_argument("--out", type=Path, default=Path("compare.html"), help="page to write (default: compare.html)")


def run(arguments: argparse.Namespace) -> int:
    """Writes a page with runs side by side, and prints its first table."""
    from nerf.files import check_beside, check_writable
    from nerf.runs import RunFolder
    from nerf.workflows.run_report import write_comparison

    check_writable(arguments.out)
    check_beside(arguments.out, lambda text: "<title>Runs compared</title>" in text)
    table = write_comparison([RunFolder(path) for path in arguments.runs], arguments.out)
    widths = [max(map(len, column)) for column in zip(*table)]
    for row in table:
        say("figures", "  ".join(cell.ljust(width) for cell, width in zip(row, widths)).rstrip())
    say("figures", f"compared: {arguments.out}")
    return 0
