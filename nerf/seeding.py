"""Random numbers as a function of (seed, stream, step): nothing to save, nothing to restore on resume."""

from __future__ import annotations

import torch

_MASK = 2**64 - 1


def generator(seed: int, stream: str, step: int = 0) -> torch.Generator:
    """Returns a CPU generator that depends on all three arguments and on nothing else."""
    state = seed & _MASK
    for word in [*stream.encode(), step]:
        state = _mixed((state ^ word) & _MASK)
    return torch.Generator().manual_seed(state >> 1)


def _mixed(value: int) -> int:
    """Returns a bijective scramble of 64 bits (splitmix64; Steele, Lea and Flood 2014)."""
    value = (value + 0x9E3779B97F4A7C15) & _MASK
    value = ((value ^ (value >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
    value = ((value ^ (value >> 27)) * 0x94D049BB133111EB) & _MASK
    return value ^ (value >> 31)
