"""``nerf doctor``."""

from __future__ import annotations

import argparse

from nerf.report import say


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds nothing: the command takes no options."""


def run(arguments: argparse.Namespace) -> int:
    """Prints what is installed and what will be used, and tries every backend; returns 1 if one computes wrongly."""
    from nerf.workflows.doctor import page

    lines, well = page()
    for line in lines:
        say("doctor", line)
    return 0 if well else 1
