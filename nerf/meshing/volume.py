"""Lattices of values that are above zero inside of things: what marching cubes turns into a surface.

A volume is asked for planes [x] of its lattice, so that no more of it than a block is ever in memory. There are two:
`DensityVolume`, the field's density against a level, and `FusedVolume`, the surface that all cameras see, fused (after
Curless and Levoy 1996). A field says nothing about points that no camera sees: they count as inside.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Protocol

import torch
from torch import Tensor

from nerf.geometry.scene_box import SceneBox
from nerf.rendering.depth_views import DepthViews
from nerf.rendering.model import RadianceModel

POINTS_AT_ONCE = 2**16  # their arithmetic stays in the cache
LOG_RANGE = 4.0  # natural logs of density kept either side of the level: more would only skew the interpolation
LEVEL_VIEWS = 32  # from which the level is taken
# Farther behind what a camera sees than the truncation it knows nothing, farther in front free is free. Less leaves the
# noise of the distances in the surface, more fills dents and thickens what is thin.
TRUNCATION = 1 / 64  # of the box's side
LEAST_TRUNCATION = 4.0  # cells
FREE, NEAR, DEEP = 0, 1, 2  # cells: empty, with a surface in them or beside them, seen by no camera
SEES_THROUGH = 4.0  # weight of a camera that sees a point free against one that sees it filled: fog hides, never shows


class Volume(Protocol):
    """Values on the (N + 1)^3 lattice points of a cube, above 0 inside of things."""

    box: SceneBox  # the cube
    resolution: int  # N

    def planes(self, first: int, last: int) -> Tensor:
        """Returns values (last - first + 1, N + 1, N + 1) float32 of the planes `first` to `last` along x."""
        ...


def lattice_points(box: SceneBox, resolution: int, row: Tensor) -> Tensor:
    """Returns world points (N, 3) of flat lattice indices (N,)."""
    size = resolution + 1
    index = torch.stack([row // size**2, row // size % size, row % size], dim=1)
    return box.corner + index * (box.side / resolution)


def lattice_planes(
    box: SceneBox, resolution: int, planes: tuple[int, int], value: Callable[[Tensor], Tensor]
) -> Tensor:
    """Returns values (last - first + 1, N + 1, N + 1) of the planes first to last along x of a lattice.

    value: world points (N, 3) -> (N,), called for so many points at once that memory stays small.
    """
    first, last = planes
    size = (resolution + 1) ** 2
    rows = torch.arange(first * size, (last + 1) * size).split(POINTS_AT_ONCE)
    values = torch.cat([value(lattice_points(box, resolution, row)) for row in rows])
    return values.view(last - first + 1, resolution + 1, resolution + 1)


class DensityVolume:
    """Log density of the field less the level at which rays meet the surface; what no camera sees is inside."""

    def __init__(self, model: RadianceModel, views: DepthViews, resolution: int, box: SceneBox | None = None) -> None:
        self.box = box or model.box.core
        self.resolution = resolution
        self._model = model
        self._hidden = unseen_cells(model, views, model.occupancy.hull)
        self.level = surface_level(model, views)

    @torch.no_grad()
    def planes(self, first: int, last: int) -> Tensor:
        """Returns values of the planes, see `Volume`."""
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

    level = torch.cat(values)
    return level.median().item() if len(level) else 0.0


def lattice_entries(
    model: RadianceModel, grid: Tensor, box: SceneBox, resolution: int, planes: tuple[int, int]
) -> Tensor:
    """Returns entries (last - first + 1, N + 1, N + 1) of a grid (G, G, G) over the cells of a model, at a lattice."""
    if model.box.contraction is not None:
        return lattice_planes(box, resolution, planes, lambda point: grid.flatten()[cells(model, point)])

    # Which cell it is, is known from each coordinate alone.
    axes = box.corner + torch.arange(resolution + 1)[:, None] * (box.side / resolution)
    cell = (model.box.unit_from_world(axes).clamp(0, 1) * len(grid)).long().clamp(max=len(grid) - 1)
    first, last = planes
    return grid[cell[first : last + 1, 0]][:, cell[:, 1]][:, :, cell[:, 2]]


def cells(model: RadianceModel, point: Tensor) -> Tensor:
    """Returns the flat number (N,) of the occupancy cell that each world point (N, 3) is in, or nearest to."""
    return model.occupancy.cell_rows(model.box.unit_from_world(point).clamp(0, 1))


def unseen_cells(model: RadianceModel, views: DepthViews, among: Tensor) -> Tensor:
    """Returns which cells of the occupancy grid (G^3,) bool, of those `among` (G, G, G), no camera sees into.

    Without a hull (no alpha) nothing counts as unseen: what is out of all pictures is not inside of things.
    """
    size = model.occupancy.resolution
    hidden = torch.zeros(size**3, dtype=torch.bool)
    if not model.carved:
        return hidden

    cell = model.box.side / size
    row = (among & model.occupancy.hull).flatten().nonzero().squeeze(1)
    index = torch.stack([row // size**2, row // size % size, row % size], dim=1)
    point = model.box.corner + (index + 0.5) * cell
    before, behind = torch.tensor([math.inf, cell])[:, None].expand(2, len(row))
    seen = views.witnessed(point, before, behind, torch.ones(len(row), dtype=torch.int32), cell)
    hidden[row[~seen]] = True
    return hidden


class FusedVolume:
    """The mean of what all cameras say of a point: how far it is in front of the surface they see, cut to +-1.

    Cameras that see a point behind the surface by more than TRUNCATION know nothing of it.
    """

    def __init__(self, model: RadianceModel, views: DepthViews, resolution: int, box: SceneBox | None = None) -> None:
        self.box = box or model.box.core
        self.resolution = resolution
        self._views = views
        self._model = model
        self._reach = self.box.side * max(TRUNCATION, LEAST_TRUNCATION / resolution)

        grown = torch.nn.functional.max_pool3d(model.occupancy.occupied[None, None].float(), 3, 1, 1)[0, 0] > 0
        near = grown & model.occupancy.hull
        deep = unseen_cells(model, views, ~near).view(near.shape)
        self._state = torch.where(near, NEAR, torch.where(deep, DEEP, FREE)).to(torch.int8)

    @torch.no_grad()
    def planes(self, first: int, last: int) -> Tensor:
        """Returns values of the planes, see `Volume`."""
        state = lattice_entries(self._model, self._state, self.box, self.resolution, (first, last))
        value = torch.where(state == DEEP, 1.0, -1.0)
        offset = first * (self.resolution + 1) ** 2
        for row in (state == NEAR).flatten().nonzero().squeeze(1).split(POINTS_AT_ONCE):
            value.view(-1)[row] = self.fused(lattice_points(self.box, self.resolution, row + offset))
        return value

    def fused(self, point: Tensor) -> Tensor:
        """Returns the fused values (N,) in [-1, 1], above 0 inside, at points (N, 3); 1 where no camera sees."""
        return self._views.fused(point, self._reach, SEES_THROUGH)
