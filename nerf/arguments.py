"""Words of the command line that are numbers, for argparse: each refuses what it cannot take."""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable


def whole(low: int, high: int) -> Callable[[str], int]:
    """Returns what takes a whole number in [low, high]."""

    def whole_number(text: str) -> int:
        if not (text.isascii() and text.isdigit() and low <= int(text) <= high):
            raise argparse.ArgumentTypeError(f'"{text}" is not a whole number from {low} to {high}')
        return int(text)

    return whole_number


def between(low: float, high: float) -> Callable[[str], float]:
    """Returns what takes a number in [low, high]."""

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
