"""Boxes: the cube that holds a scene, and the box that a user crops to."""

from __future__ import annotations

import math
from dataclasses import dataclass

from torch import Tensor

from nerf.geometry.cameras import Rays
from nerf.geometry.contraction import FAR, Contraction


@dataclass(frozen=True)
class CropBox:
    """An axis-aligned box in the frame of the input poses. low, high: (3,) float32, scene units."""

    low: Tensor
    high: Tensor

    def holds(self, point: Tensor) -> Tensor:
        """Returns (N,) bool for points (N, 3)."""
        return ((point >= self.low) & (point <= self.high)).all(dim=1)


@dataclass(frozen=True)
class SceneBox:
    """The axis-aligned cube that holds the scene, or a part of all space once that is contracted.

    corner: (3,) float32, least coordinates; side: scene units; both after the contraction, if there is one.
    """

    corner: Tensor
    side: float
    contraction: Contraction | None = None

    def unit_from_world(self, point: Tensor) -> Tensor:
        """Returns points (..., 3) with the cube mapped to [0, 1]^3."""
        return ((self.contraction.contract(point) if self.contraction else point) - self.corner) / self.side

    def world_from_unit(self, position: Tensor) -> Tensor:
        """Returns world points (..., 3) of positions in [0, 1]^3."""
        point = self.corner + position * self.side
        return self.contraction.expand(point) if self.contraction else point

    def unit_length(self, point: Tensor) -> Tensor | float:
        """Returns the scene units, at world points (N, 3), that the density's unit, a side of the cube, stands for."""
        return self.side * self.contraction.growth(point) if self.contraction else self.side

    def marched(self, rays: Rays, ray: Tensor, t: Tensor) -> Tensor:
        """Returns how far along the march places at t (S,) on the rays `ray` (S,) are, (S,) sides of the cube."""
        if self.contraction is None:
            return t / self.side
        return self.contraction.stretch(rays).s(ray, t) / self.side

    @property
    def diagonal(self) -> float:
        return self.side * math.sqrt(3)

    def farthest(self, eye: Tensor) -> float:
        """Returns the distance of the farthest place that is marched to, from eyes (N, 3), scene units."""
        if self.contraction is not None:
            center, half = self.contraction.center, FAR * self.contraction.radius
        else:
            center, half = self.corner + self.side / 2, self.diagonal / 2
        return (eye - center).norm(dim=1).max().item() + half

    @property
    def core(self) -> SceneBox:
        """The cube in the world that is worth meshing: all of it or, contracted, what lies within the radius."""
        if self.contraction is None:
            return self
        return SceneBox(self.contraction.center - self.contraction.radius, 2 * self.contraction.radius)
