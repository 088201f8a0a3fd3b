"""Boxes: the cube that holds a scene, and the crop box of a user."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from nerf.errors import InputError
from nerf.geometry.cameras import Rays
from nerf.geometry.contraction import FAR, Contraction
from nerf.geometry.origin import Origin, relative


@dataclass(frozen=True)
class CropBox:
    """An axis-aligned box in the frame of the input poses."""

    low: Tensor  # (3,) least coordinates, scene units
    high: Tensor  # (3,) greatest coordinates

    def about(self, origin: Origin) -> CropBox:
        """Returns the box relative to an origin, float32."""
        return CropBox(relative(self.low, origin), relative(self.high, origin))

    def holds(self, point: Tensor) -> Tensor:
        """Returns (N,) bool for points (N, 3)."""
        return ((point >= self.low) & (point <= self.high)).all(dim=1)


def crop_box(numbers: Sequence[float], what: str = "--crop") -> CropBox:
    """Returns the crop box of six numbers: least x y z, greatest x y z.

    what: the option or the file, for the error.

    Raises:
        InputError: it holds nothing.
    """
    low = torch.tensor(numbers[:3], dtype=torch.float64)
    high = torch.tensor(numbers[3:], dtype=torch.float64)
    if not (low < high).all():
        raise InputError(
            f"{what}: {list(numbers[:3])} is not below {list(numbers[3:])}; give x0 y0 z0 x1 y1 z1, least first"
        )
    return CropBox(low, high)


@dataclass(frozen=True)
class SceneBox:
    """The axis-aligned cube that holds the scene, or a part of all space once that is contracted."""

    corner: Tensor  # (3,) float32, least coordinates, after the contraction
    side: float  # scene units, after the contraction
    contraction: Contraction | None = None

    def unit_from_world(self, point: Tensor) -> Tensor:
        """Returns positions (..., 3) of world points: the box becomes the unit cube [0, 1]^3."""
        inner = self.contraction.contract(point) if self.contraction else point
        return (inner - self.corner) / self.side

    def world_from_unit(self, position: Tensor) -> Tensor:
        """Returns world points (..., 3) of positions in the unit cube."""
        point = self.corner + position * self.side
        return self.contraction.expand(point) if self.contraction else point

    def unit_length(self, point: Tensor) -> Tensor | float:
        """Returns how many scene units a side of the box is at world points (N, 3): the unit of density there."""
        return self.side * self.contraction.growth(point) if self.contraction else self.side

    def marched(self, rays: Rays, ray: Tensor, t: Tensor) -> Tensor:
        """Returns how far along its march each sample is, (S,) sides of the box.

        ray: (S,) which of the rays a sample is on. t: (S,) its distance along that ray.
        """
        if self.contraction is None:
            return t / self.side
        return self.contraction.stretch(rays).s(ray, t) / self.side

    @property
    def diagonal(self) -> float:
        return self.side * math.sqrt(3)

    def farthest(self, eye: Tensor) -> float:
        """Returns the greatest distance from eyes (N, 3) to which rays are marched, scene units."""
        if self.contraction is not None:
            center = self.contraction.center
            half = FAR * self.contraction.radius
        else:
            center = self.corner + self.side / 2
            half = self.diagonal / 2
        return (eye - center).norm(dim=1).max().item() + half

    @property
    def core(self) -> SceneBox:
        """The box in the world that is worth meshing: all of it or, contracted, what lies within the radius."""
        if self.contraction is None:
            return self
        return SceneBox(self.contraction.center - self.contraction.radius, 2 * self.contraction.radius)
