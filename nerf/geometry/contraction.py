"""Contraction: all of space in a ball, so that near things get more of it than far ones (Barron et al. 2022).

With p from the centre and r = |p|, contract(p) = p R / (R + r). It is the identity near the centre,
brings distance R to half the ball's radius R, and infinity to its surface. Far depths become linear
in disparity.

The steps of a march grow with the distance from the centre. A ray is marched by the length s with
dt / ds = g(r) = sqrt(R^2 + r^2) / R. In closed form t = t_m + a sinh(s / R): t_m is where the ray is
nearest to the centre, h how far it is there, and a^2 = R^2 + h^2. As g depends on the position
alone, density by s is the same for all rays. Contracted positions move at most as fast as s.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from nerf.geometry.cameras import Rays

FAR = 100.0  # radii from the centre within which rays are marched: 1 % of the ball's radius is beyond


@dataclass(frozen=True)
class Contraction:
    """All of space, contracted to a ball."""

    center: Tensor  # (3,) float32, world
    radius: float  # R, scene units
    near: float  # distance from the eye at which rays begin, scene units

    def contract(self, point: Tensor) -> Tensor:
        """Returns points (..., 3) of the ball of radius R around the centre, of world points."""
        apart = point - self.center
        return self.center + apart * (self.radius / (self.radius + apart.norm(dim=-1, keepdim=True)))

    def expand(self, point: Tensor) -> Tensor:
        """Returns world points (..., 3) of points in the ball; those on its surface or outside go far away."""
        apart = point - self.center
        left = (self.radius - apart.norm(dim=-1, keepdim=True)).clamp(min=self.radius / (1 + FAR))
        return self.center + apart * (self.radius / left)

    def growth(self, point: Tensor) -> Tensor:
        """Returns g, scene units per unit of s, (...,) at world points (..., 3)."""
        return (1 + (point - self.center).square().sum(dim=-1) / self.radius**2).sqrt()

    def expansion(self, point: Tensor) -> Tensor:
        """Returns how many scene units a unit of the ball is at world points (..., 3), along the radius: the most."""
        return (1 + (point - self.center).norm(dim=-1) / self.radius).square()

    def stretch(self, rays: Rays) -> Stretch:
        """Returns how rays are marched."""
        apart = rays.origin - self.center
        middle = -(apart * rays.direction).sum(1)
        nearest = (apart + middle[:, None] * rays.direction).square().sum(1)  # h^2
        reach = (self.radius**2 + nearest).sqrt()

        def s_at(t: Tensor) -> Tensor:
            return self.radius * torch.asinh((t - middle) / reach)

        # From the near distance to the sphere of FAR radii.
        half = ((FAR * self.radius) ** 2 - nearest).clamp(min=0).sqrt()
        return Stretch(middle, reach, self.radius, s_at((middle - half).clamp(min=self.near)), s_at(middle + half))


@dataclass(frozen=True)
class Stretch:
    """How R rays are marched through contracted space."""

    middle: Tensor  # (R,), t_m
    reach: Tensor  # (R,), a
    radius: float  # of the contraction
    first: Tensor  # (R,), s where rays begin
    last: Tensor  # (R,), s where they end

    def s(self, which: Tensor, t: Tensor) -> Tensor:
        """Returns s (N,) at distances t (N,) along the rays `which` (N,)."""
        return self.radius * torch.asinh((t - self.middle[which]) / self.reach[which])

    def t(self, which: Tensor, s: Tensor) -> Tensor:
        """Returns distances (N, ...) along the rays `which` (N,) at s (N, ...)."""
        shape = (-1,) + (1,) * (s.dim() - 1)
        return self.middle[which].view(shape) + self.reach[which].view(shape) * torch.sinh(s / self.radius)
