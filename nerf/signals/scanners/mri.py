"""Magnetic resonance imaging: slices, their Fourier transforms (k-space) and the masks of what is measured of them.

k-space is centred: frequency 0 of an axis of N values is at N // 2. The transform is orthonormal.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

GOLDEN_ANGLE = math.pi * (3 - math.sqrt(5))  # between the first spokes of neighbouring slices
CENTRE = 0.08  # of the lines of a Cartesian mask, all measured


def k_space(slices: Tensor) -> Tensor:
    """Returns the centred, orthonormal Fourier transform (..., X, Y) of slices (..., X, Y)."""
    return torch.fft.fftshift(torch.fft.fft2(slices, norm="ortho"), dim=(-2, -1))


def from_k_space(values: Tensor) -> Tensor:
    """Returns complex slices (..., X, Y) of k-space (..., X, Y)."""
    return torch.fft.ifft2(torch.fft.ifftshift(values, dim=(-2, -1)), norm="ortho")


def radial_mask(shape: tuple[int, int], acceleration: float, first_angle: float = 0.0) -> Tensor:
    """Returns (X, Y) bool: frequencies within half a step of spokes through the centre, one of `acceleration` of all.

    The number of spokes is the largest that measures no more than that. Spokes are spread evenly over half a turn.
    """
    wanted = shape[0] * shape[1] / acceleration

    # Bisection over the number of spokes: the share grows with it.
    low = 1
    high = max(shape) * 2
    while low < high:
        middle = (low + high + 1) // 2
        if _spokes(shape, middle, first_angle).sum() <= wanted:
            low = middle
        else:
            high = middle - 1
    return _spokes(shape, low, first_angle)


def _spokes(shape: tuple[int, int], number: int, first_angle: float) -> Tensor:
    """Returns (X, Y) bool: frequencies on so many spokes through the centre, evenly over half a turn."""
    reach = math.hypot(*shape) / 2
    along = torch.arange(-math.ceil(2 * reach), math.ceil(2 * reach) + 1) / 2
    angle = first_angle + torch.arange(number) * (math.pi / number)
    row = (along * angle.cos()[:, None]).round().long() + shape[0] // 2
    column = (along * angle.sin()[:, None]).round().long() + shape[1] // 2
    inside = (row >= 0) & (row < shape[0]) & (column >= 0) & (column < shape[1])

    mask = torch.zeros(shape, dtype=torch.bool)
    mask[row[inside], column[inside]] = True
    return mask


def cartesian_mask(shape: tuple[int, int], acceleration: float, random: torch.Generator) -> Tensor:
    """Returns (X, Y) bool: whole lines along the first axis: the central ones, and random ones denser near them."""
    lines = shape[1]
    number = max(1, round(lines / acceleration))
    frequency = (torch.arange(lines) - lines // 2).abs() / (lines / 2)

    chance = (1 - frequency).clamp(min=0).square() + 0.05
    chance[frequency <= CENTRE] = 1e6  # certain
    chosen = torch.multinomial(chance, number, generator=random)
    mask = torch.zeros(shape, dtype=torch.bool)
    mask[:, chosen] = True
    return mask


def slice_masks(pattern: str, shape: tuple[int, int, int], acceleration: float, random: torch.Generator) -> Tensor:
    """Returns masks (Z, X, Y) bool of every slice; neighbours differ, so that together they measure more.

    pattern: radial or cartesian.
    """
    x, y, z = shape
    if pattern == "radial":
        masks = [radial_mask((x, y), acceleration, index * GOLDEN_ANGLE) for index in range(z)]
    else:
        masks = [cartesian_mask((x, y), acceleration, random) for _ in range(z)]
    return torch.stack(masks)
