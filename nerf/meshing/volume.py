"""Lattices of values that are above zero inside of things: what marching cubes turns into a surface.

A volume is asked for planes [x] of its lattice, so that no more of it than a block is ever in memory. There are two:
`DensityVolume`, the field's density against a level, and `FusedVolume`, the surface that all cameras see, fused (after
Curless and Levoy 1996). A field says nothing about places that no camera sees: they count as inside.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from nerf.errors import InputError
from nerf.geometry.cameras import Cameras
from nerf.geometry.scene_box import SceneBox
from nerf.rendering.model import RadianceModel

POINTS_AT_ONCE = 2**16  # their arithmetic stays in the cache
LOG_RANGE = 4.0  # natural logs of density kept either side of the level: more would only skew the interpolation
LEVEL_VIEWS = 32  # that tell the level
EMPTY = "the model is empty: no ray meets a surface; train longer"
# Of the side: farther behind what a camera sees it knows nothing, farther in front free is free; at least so many
# cells. Less leaves the noise of the distances in the surface, more fills dents and thickens what is thin.
TRUNCATION, LEAST_TRUNCATION = 1 / 64, 4.0
SEES_THROUGH = 4.0  # weight of a camera that sees a place free against one that sees it filled: fog hides, never shows


@dataclass(frozen=True)
class DepthViews:
    """What cameras see: distance (F, H, W) along the ray, scene units, infinite where light goes through."""

    cameras: Cameras
    distance: Tensor

    def __len__(self) -> int:
        return len(self.cameras)

    def gaps(self, frame: int, point: Tensor, sharp: float) -> Tensor:
        """Returns how far points (N, 3) are in front of what one camera sees, scene units; nan out of its picture.

        Between pixels distances are interpolated, but not over steps greater than `sharp`.
        """
        lens = self.cameras
        pixel, along = lens.project(frame, point)
        inside = (along > 0) & ((pixel >= 0) & (pixel < torch.tensor([lens.width, lens.height]))).all(1)
        rows, part = neighbours(pixel, lens.width, lens.height)
        seen = self.distance[frame].flatten()[rows]
        nearest = seen.gather(0, (part.round() @ torch.tensor([1.0, 2.0])).long()[None])[0]
        surface = torch.where(seen.amax(0) - seen.amin(0) < sharp, between(seen, part), nearest)
        gap = surface - (point - lens.world_from_camera[frame, :, 3]).norm(dim=1)
        return torch.where(inside, gap, math.nan)


def neighbours(pixel: Tensor, width: int, height: int) -> tuple[Tensor, Tensor]:
    """Returns which pixels lie round positions (N, 2) in a picture, and where between them the positions are.

    The pixels are flat numbers (4, N), left and right, above and then below; the border's stand for those beyond it.
    The places (N, 2) in [0, 1] are counted from the left and from above.
    """
    lower = (pixel - 0.5).floor()
    column, row = lower.long().unbind(1)
    left, right = (column.clamp(0, width - 1), (column + 1).clamp(0, width - 1))
    above, below = (row.clamp(0, height - 1) * width, (row + 1).clamp(0, height - 1) * width)
    return torch.stack([above + left, above + right, below + left, below + right]), pixel - 0.5 - lower


def between(value: Tensor, part: Tensor) -> Tensor:
    """Returns values (N, ...) interpolated between four neighbours (4, N, ...) at places (N, 2) as of `neighbours`."""
    x, y = part.view(len(part), 2, *(1,) * (value.dim() - 2)).unbind(1)
    return torch.lerp(torch.lerp(value[0], value[1], x), torch.lerp(value[2], value[3], x), y)


@torch.no_grad()
def render_depths(model: RadianceModel, cameras: Cameras) -> DepthViews:
    """Returns what all cameras see of the surface.

    Raises:
        InputError: no ray meets anything.
    """
    from tqdm import trange

    distance = [model.distances(cameras, f) for f in trange(len(cameras), desc="looking from the cameras", unit="view")]
    views = DepthViews(cameras, torch.stack(distance))
    if not views.distance.isfinite().any():
        raise InputError(EMPTY)
    return views


class Volume(Protocol):
    """Values on the (N + 1)^3 lattice points of a cube, above 0 inside of things."""

    box: SceneBox
    resolution: int

    def planes(self, first: int, last: int) -> Tensor:
        """Returns values (last - first + 1, N + 1, N + 1) float32 of the planes `first` to `last` along x."""


def lattice_points(box: SceneBox, resolution: int, row: Tensor) -> Tensor:
    """Returns world points (N, 3) of flat lattice indices (N,)."""
    size = resolution + 1
    index = torch.stack([row // size**2, row // size % size, row % size], dim=1)
    return box.corner + index * (box.side / resolution)


def lattice_planes(
    box: SceneBox, resolution: int, planes: tuple[int, int], value: Callable[[Tensor], Tensor]
) -> Tensor:
    """Returns values (last - first + 1, N + 1, N + 1) float32 of the planes first to last along x of a lattice.

    value: world points (N, 3) -> (N,), called for so many points at once that memory stays small.
    """
    size, (first, last) = (resolution + 1) ** 2, planes
    values = torch.empty((last - first + 1) * size)
    for start in range(0, len(values), POINTS_AT_ONCE):
        row = torch.arange(start, min(start + POINTS_AT_ONCE, len(values))) + first * size
        values[start : start + POINTS_AT_ONCE] = value(lattice_points(box, resolution, row))
    return values.view(last - first + 1, resolution + 1, resolution + 1)


class DensityVolume:
    """Log density of the field less the level at which rays meet the surface; places that no camera sees are inside."""

    def __init__(self, model: RadianceModel, views: DepthViews, resolution: int) -> None:
        self.box, self.resolution, self._model = model.box.core, resolution, model
        self._hidden = unseen_cells(model, views, model.occupancy.hull)
        self.level = surface_level(model, views)

    @torch.no_grad()
    def planes(self, first: int, last: int) -> Tensor:
        return lattice_planes(self.box, self.resolution, (first, last), self._value)

    def _value(self, point: Tensor) -> Tensor:
        value = (self._model.density(point).log() - self.level).clamp(-LOG_RANGE, LOG_RANGE)
        value[self._hidden[cells(self._model, point)]] = LOG_RANGE
        return value


@torch.no_grad()
def surface_level(model: RadianceModel, views: DepthViews) -> float:
    """Returns the log density, per scene unit, at which rays meet the surface: the median over pixels of the views.

    Half of the rendered surface then lies inside the mesh and half outside, however sharp the field has become.
    """
    values = []
    for frame in range(0, len(views), -(-len(views) // LEVEL_VIEWS)):
        distance = views.distance[frame].flatten()
        hit = distance.isfinite()
        rays = views.cameras.image_rays(frame)[hit]
        density = model.density(rays.origin + distance[hit, None] * rays.direction)
        values.append(density[density > 0].log())
    values = torch.cat(values)
    return values.median().item() if len(values) else 0.0


def cells(model: RadianceModel, point: Tensor) -> Tensor:
    """Returns the flat number (N,) of the occupancy cell that each world point (N, 3) is in, or nearest to."""
    return model.occupancy.cell_rows(model.box.unit_from_world(point).clamp(0, 1))


def unseen_cells(model: RadianceModel, views: DepthViews, among: Tensor) -> Tensor:
    """Returns which cells of the occupancy grid (G^3,) bool, of those `among` (G, G, G), no camera sees into.

    Without a hull (no alpha) nothing counts as unseen: what is out of all pictures is not inside of things.
    """
    size, hull = model.occupancy.resolution, model.occupancy.hull
    hidden = torch.zeros(size**3, dtype=torch.bool)
    if not model.carved:
        return hidden
    row, cell = (among & hull).flatten().nonzero().squeeze(1), model.box.side / size
    for frame in range(len(views)):
        index = torch.stack([row // size**2, row // size % size, row % size], dim=1)
        gap = views.gaps(frame, model.box.corner + (index + 0.5) * cell, cell)
        row = row[~(gap > -cell)]
    hidden[row] = True
    return hidden


class FusedVolume:
    """The mean of what all cameras say of a place: how far it is in front of the surface they see, cut to +-1.

    Cameras that see a place behind the surface by more than TRUNCATION know nothing of it.
    """

    def __init__(self, model: RadianceModel, views: DepthViews, resolution: int) -> None:
        self.box, self.resolution = model.box.core, resolution
        self._views, self._model = views, model
        self._reach = self.box.side * max(TRUNCATION, LEAST_TRUNCATION / resolution)
        grown = torch.nn.functional.max_pool3d(model.occupancy.occupied[None, None].float(), 3, 1, 1)[0, 0] > 0
        self._near = (grown & model.occupancy.hull).flatten()
        self._deep = unseen_cells(model, views, ~(grown & model.occupancy.hull))

    @torch.no_grad()
    def planes(self, first: int, last: int) -> Tensor:
        return lattice_planes(self.box, self.resolution, (first, last), self._value)

    def _value(self, point: Tensor) -> Tensor:
        cell = cells(self._model, point)
        near = self._near[cell]
        value = torch.where(self._deep[cell], 1.0, -1.0)
        value[near] = self.fused(point[near])
        return value

    def fused(self, point: Tensor) -> Tensor:
        """Returns the fused values (N,) in [-1, 1], above 0 inside, at points (N, 3); 1 where no camera sees."""
        total, weight = torch.zeros(len(point)), torch.zeros(len(point))
        for frame in range(len(self._views)):
            gap = (self._views.gaps(frame, point, self._reach) / self._reach).clamp(max=1)
            share = torch.where(gap > 0, SEES_THROUGH, torch.where(gap >= -1, 1.0, 0.0))  # nan has none
            total += share * gap.nan_to_num(0)
            weight += share
        return torch.where(weight > 0, -total / weight.clamp(min=1), 1.0)
