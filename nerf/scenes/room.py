"""Whether pictures fit the memory, asked before they are read: their headers tell."""

from __future__ import annotations

import math
from pathlib import Path

from nerf.errors import InputError
from nerf.memory import INTERPRETER_BYTES, machine_memory
from nerf.report import say

SNUG = 0.7  # part of the memory above which a word is said: training takes more than the pictures
GREATEST_DOWNSCALE = 8


def check_room(first: Path, shape: tuple[int, int, int, int], downscale: int) -> None:
    """Says so if pictures leave little memory to train in.

    first: one of the pictures. shape: of all of them once read: count, height, width, channels. downscale: the factor
    by which they are shrunk then.

    Raises:
        InputError: they take more than the machine, or its container, has.
    """
    needed = math.prod(shape) * (1 if downscale == 1 else 2) + INTERPRETER_BYTES  # averages have 16 bits
    present = machine_memory()
    if needed <= SNUG * present:
        return

    # Shrunk pictures have twice the bytes for a pixel.
    factor = next(
        (
            n
            for n in range(2, GREATEST_DOWNSCALE + 1)
            if 2 * math.prod(shape) * (downscale / n) ** 2 < SNUG * present / 2
        ),
        GREATEST_DOWNSCALE,
    )
    count, height, width, _ = shape
    mend = f"train with --downscale {factor}{'' if factor > downscale else ', or on fewer'}"
    told = (
        f"{first.parent}: {count} pictures of {width} x {height} pixels take {needed / 2**30:.1f} GiB of memory, "
        f"there is {present / 2**30:.1f}; {mend}"
    )
    if needed > present:
        raise InputError(told)
    say("memory", f"warning: {told}")
