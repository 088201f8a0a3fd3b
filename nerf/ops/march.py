"""Marching: rays -> packed samples in the occupied cells of the scene box.

A ray is cut into steps of one length. Sample i of a ray lies at t = t_enter + (i + offset) * step.
t_enter is where the ray enters the box, or 0 if it starts inside; offset in [0, 1) is 0.5 for
pictures and random for training. Samples in empty cells are left out. The samples of all rays are
packed: sorted by ray, then by t.

In contracted space the steps are of one length in s, see `nerf.geometry.contraction`, and rays
begin at the near distance.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from nerf.geometry.cameras import Rays
from nerf.geometry.contraction import Contraction
from nerf.geometry.scene_box import SceneBox
from nerf.ops.autograd import is_native

MOST_STEPS = 65536  # of a ray, whatever it and its box are


@dataclass(frozen=True)
class Samples:
    """Packed samples of R rays."""

    ray: Tensor  # (S,) int64, non-decreasing
    t: Tensor  # (S,) float32, distance along the ray, scene units
    step: float  # length of the interval that every sample stands for, scene units
    n_rays: int  # R, rays without samples included

    def __len__(self) -> int:
        return self.ray.shape[0]

    def positions(self, rays: Rays) -> Tensor:
        """Returns world points (S, 3)."""
        return rays.origin[self.ray] + self.t[:, None] * rays.direction[self.ray]

    def where(self, keep: Tensor) -> Samples:
        """Returns the samples for which keep (S,) bool is set."""
        return Samples(self.ray[keep], self.t[keep], self.step, self.n_rays)


def box_interval(rays: Rays, box: SceneBox) -> tuple[Tensor, Tensor]:
    """Returns distances (R,) at which rays enter and leave the box; leave <= enter where they miss it.

    A direction with a zero component gives infinities, which compare right.

    Source: the slab test of Kay and Kajiya 1986.
    """
    inverse = 1 / rays.direction
    a = (box.corner - rays.origin) * inverse
    b = (box.corner + box.side - rays.origin) * inverse

    # 0 * inf is nan for a ray that lies in a face of the box: such a ray does not limit the interval.
    known = ~(a.isnan() | b.isnan())
    near = torch.minimum(a, b).where(known, -math.inf).amax(dim=1).clamp(min=0)
    far = torch.maximum(a, b).where(known, math.inf).amin(dim=1)
    return near, far


def march(
    rays: Rays, box: SceneBox, occupied: Tensor, step: float, offset: Tensor, backend: str = "reference"
) -> Samples:
    """Returns the samples of rays in occupied cells.

    Args:
        rays: R rays.
        box: the scene box.
        occupied: (G, G, G) bool, indexed [x, y, z].
        step: length of a step, scene units (of s in contracted space).
        offset: (R,) in [0, 1), where in its step a sample lies.
        backend: see `nerf.ops.autograd`.

    Where samples lie is not differentiable: t has no gradient. Gradients by rays go through
    `Samples.positions`.

    Raises:
        ValueError: a ray is not finite (native).
    """
    with torch.no_grad():
        if not is_native(backend):
            return march_reference(rays, box, occupied, step, offset)
        from nerf.engine import bindings as ops

        parts = (rays.origin.contiguous(), rays.direction.contiguous(), offset.contiguous())
        if not all(torch.isfinite(part).all() for part in parts):
            raise ValueError("march: an origin, a direction or an offset is not a finite number")

        space = box.contraction and (box.contraction.center, box.contraction.radius, box.contraction.near)
        count, t = ops.march(parts, box.corner, box.side, occupied.contiguous(), step, space)
        ray = torch.repeat_interleave(torch.arange(len(rays)), count)
        return Samples(ray, t, step, len(rays))


def march_reference(rays: Rays, box: SceneBox, occupied: Tensor, step: float, offset: Tensor) -> Samples:
    """Returns the same as `march`, in plain torch."""
    if box.contraction is not None:
        return _march_contracted(rays, box, box.contraction, occupied, step, offset)

    near, far = box_interval(rays, box)
    count = _sample_count(rays, near, far, step, offset)
    hit = count.nonzero().squeeze(1)
    if len(hit) == 0:
        return Samples(torch.empty(0, dtype=torch.int64), near.new_empty(0), step, len(rays))

    # As many steps for every ray as the longest has; those beyond a ray's own count are dropped below.
    index = torch.arange(int(count.max()))
    t = near[hit, None] + (index + offset[hit, None]) * step

    # The row of the flat grid, one axis at a time: positions (R, steps, 3) would take thrice the memory.
    start = box.unit_from_world(rays.origin[hit])
    direction = rays.direction[hit] / box.side
    size = occupied.shape[0]
    row = torch.zeros(t.shape, dtype=torch.int64)
    for axis in range(3):
        cell = ((start[:, axis, None] + t * direction[:, axis, None]) * size).long().clamp_(0, size - 1)
        row = row * size + cell

    keep = (index < count[hit, None]) & occupied.flatten()[row]
    ray, sample = keep.nonzero(as_tuple=True)
    return Samples(hit[ray], t[ray, sample], step, len(rays))


def _sample_count(rays: Rays, near: Tensor, far: Tensor, step: float, offset: Tensor) -> Tensor:
    """Returns how many steps (R,) int64 rays take: none if one is not finite or has no end, MOST_STEPS at most."""
    numbers = torch.cat([rays.origin, rays.direction, (far - near)[:, None], offset[:, None]], dim=1)
    count = ((far - near) / step - offset + 1).floor().clamp(0, MOST_STEPS)
    return count.where(numbers.isfinite().all(dim=1), 0).long()


def _march_contracted(
    rays: Rays, box: SceneBox, contraction: Contraction, occupied: Tensor, step: float, offset: Tensor
) -> Samples:
    """Returns what `march_reference` returns, of a contracted space."""
    stretch = contraction.stretch(rays)
    count = _sample_count(rays, stretch.first, stretch.last, step, offset)

    # Steps are even in s; t follows from it.
    index = torch.arange(int(count.max()) if len(count) else 0)
    every = torch.arange(len(rays))
    t = stretch.t(every, stretch.first[:, None] + (index + offset[:, None]) * step)

    position = box.unit_from_world(rays.origin[:, None] + t[..., None] * rays.direction[:, None])
    size = occupied.shape[0]
    cell = (position * size).long().clamp_(0, size - 1)

    inside = ((position >= 0) & (position <= 1)).all(dim=-1) & (index < count[:, None])
    keep = inside & occupied[cell[..., 0], cell[..., 1], cell[..., 2]]
    ray, sample = keep.nonzero(as_tuple=True)
    return Samples(ray, t[ray, sample], step, len(rays))
