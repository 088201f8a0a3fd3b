"""Random numbers and arrays for calls of the engine: arrays are as long as sizes say, numbers are anything."""

from __future__ import annotations

import ctypes
import random
from collections.abc import Callable
from typing import Any

from nerf.engine.signatures import (
    Level,
    Pixels,
)

WILD_32 = (-(2**31), -1, 0, 2**31 - 1)  # no size is as large as the last
WILD_64 = (-(2**63), -1, 0, 2**40 + 1, 2**63 - 1)
WILD_FLOATS = (float("nan"), float("inf"), -float("inf"), 0.0, -0.0, -1.0, 1e-30, 1e30, 3e38, -3e38)
MOST_BYTES = 2**25  # of an array
ODDS = 0.01  # that a number is wild; a call has dozens


class Calls:
    """Draws the numbers and the arrays of calls; the arrays live as long as it does."""

    def __init__(self, seed: str) -> None:
        self.random = random.Random(seed)
        self.kept: list[Any] = []
        self.odds = ODDS

    def size(self, *usual: int, wild: tuple[int, ...] = WILD_32) -> int:
        """Returns one of the usual sizes, or a wild one."""
        return self.random.choice(wild if self.random.random() < self.odds else usual)

    def count(self, *usual: int) -> int:
        """Returns a size of 64 bits."""
        return self.size(*usual, wild=WILD_64)

    def real(self, low: float, high: float) -> float:
        """Returns a number of a range, or a wild one."""
        return self.random.choice(WILD_FLOATS) if self.random.random() < self.odds else self.random.uniform(low, high)

    def array(self, kind: Any, count: int, content: Callable[[], float] | None = None) -> int | None:
        """Returns the address of an array, null at times. content: of its numbers; zeros if None."""
        if self.random.random() < self.odds / 2:
            return None
        count = count if 0 < count * ctypes.sizeof(kind) <= MOST_BYTES else 0
        made = (kind * count)(*((content() for _ in range(count)) if content and count < 4096 else ()))
        self.kept.append(made)
        return ctypes.addressof(made)

    def reals(self, count: int, kind: Any = ctypes.c_float) -> int | None:
        """Returns the address of an array of reals, few of them wild."""
        return self.array(kind, count, lambda: self.real(-1, 1))

    def pointer(self, struct: ctypes.Structure) -> Any:
        """Returns a pointer at a struct, null at times."""
        self.kept.append(struct)
        return None if self.random.random() < self.odds / 2 else ctypes.pointer(struct)


def level(calls: Calls, dimensions: int, features: int) -> Level:
    resolution = calls.size(1, 2, 3, 5, 8)
    dense = -(-(max(0, min(resolution, 64)) ** max(1, min(dimensions, 4))) // 8) * 8
    hashed = calls.random.random() < 0.5
    rows = calls.size(8, 16, 64) if hashed else calls.size(dense, dense, dense, 1, 8)
    return Level(calls.real(0, max(0, min(resolution, 64) - 1)), resolution, rows, hashed)


def pixels(calls: Calls) -> Pixels:
    frames = calls.size(1, 2, 3)
    width = calls.size(1, 4, 9)
    height = calls.size(1, 3, 8)
    channels = calls.size(1, 3, 4)
    size = calls.size(1, 2)
    every = frames * width * height
    listed = calls.random.random() < 0.5
    candidates = calls.size(max(1, every // 2), 1, wild=WILD_64) if 0 < every < 2**20 else 1
    return Pixels(
        images=calls.array(ctypes.c_uint8, every * channels * size, lambda: calls.random.randrange(256)),
        candidates=calls.array(ctypes.c_int64, candidates) if listed else None,
        poses=calls.reals(frames * 12),
        focal=calls.array(ctypes.c_float, frames * 2, lambda: calls.real(0.5, 20)),
        center=calls.reals(frames * 2),
        lens=calls.reals(frames * 12) if calls.random.random() < 0.3 else None,
        n_candidates=candidates,
        width=width,
        height=height,
        channels=channels,
        bytes=size,
        n_frames=frames,
        white=calls.real(1, 255),
        distances=calls.reals(every) if calls.random.random() < 0.3 else None,
        distance_scale=1,
        weights=calls.reals(every) if calls.random.random() < 0.3 else None,
        weight_scale=calls.size(1),
    )


def step_length(calls: Calls) -> float:
    return calls.random.choice([calls.real(0.01, 0.2)] * 15 + [calls.real(2e-4, 5e-4)])


def threads(calls: Calls) -> int:
    return calls.size(1, 1, 2, 3)
