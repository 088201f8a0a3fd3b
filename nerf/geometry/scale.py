"""How long a scene unit is: from places known in metres, or from two points whose distance somebody measured."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from nerf.errors import InputError

METRES = {"m": 1.0, "cm": 0.01, "mm": 0.001, "in": 0.0254, "ft": 0.3048}
RANGE = (1e-9, 1e9)  # metres of a scene unit that are believed


@dataclass(frozen=True)
class Scale:
    """The length of a scene unit, and what told it."""

    metres: float
    reason: str  # "measured: ...", for a message

    @property
    def words(self) -> str:
        """A sentence for the user."""
        return f"scale: a scene unit is {self.metres:.4g} m ({self.reason})"


def checked_scale(metres: object, reason: object, what: str) -> Scale:
    """Returns the scale that a file or a user gives.

    Raises:
        InputError: it is none.
    """
    if not isinstance(metres, int | float) or not RANGE[0] <= metres <= RANGE[1] or not isinstance(reason, str):
        raise InputError(f"{what}: not the length of a scene unit in metres; remove it, or measure again")
    return Scale(float(metres), reason)


def measured_scale(corners: Sequence[float], length: float, unit: str) -> Scale:
    """Returns the scale by which two points are a length apart.

    corners: six numbers, the points in the frame of the input poses. unit: of the length, a name of `METRES`.

    Raises:
        InputError: the points are one, or the length is none.
    """
    apart = math.dist(corners[:3], corners[3:])
    if not (math.isfinite(apart) and apart > 0 and math.isfinite(length) and length > 0):
        raise InputError("--measure: give two different points and the length between them, X Y Z X Y Z LENGTH")
    return checked_scale(
        length * METRES[unit] / apart, f"measured: {apart:.4g} units are {length:g} {unit}", "--measure"
    )


def best_similarity(points: Tensor, truth: Tensor) -> tuple[float, Tensor]:
    """Returns the similarity that brings points nearest to true ones: its scale, and the points after it (N, 3).

    points, truth: (N, 3) float64, the points not all in one place. Umeyama 1991.
    """
    middle, true_middle = points.mean(0), truth.mean(0)
    u, stretch, v = torch.linalg.svd((truth - true_middle).T @ (points - middle))
    sign = torch.ones(3, dtype=points.dtype)
    sign[2] = torch.linalg.det(u @ v).sign()
    scale = ((stretch * sign).sum() / (points - middle).square().sum()).item()
    return scale, scale * (points - middle) @ (u @ sign.diag() @ v).T + true_middle
