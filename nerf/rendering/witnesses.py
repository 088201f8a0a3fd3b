"""Which places of a model training cameras vouch for, and the model without what none does: clouds.

A camera is a witness of a place where it sees the surface there. Among the cameras it takes two: a cloud before a
camera explains that one picture, and nobody else sees into it. Beyond them one is enough.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass

import torch
from torch import Tensor

from nerf.errors import InputError
from nerf.geometry.cameras import Cameras
from nerf.rendering.depth_views import EMPTY, DepthViews, render_depths
from nerf.rendering.model import RadianceModel
from nerf.rendering.occupancy import OccupancyGrid
from nerf.report import progress

MOST_CAMERAS = 128  # that are asked, evenly among all
MOST_RAYS = 2**20  # from all of them together
SIDES = (48, 128)  # pixels of the longer side of their pictures: at least, at most
SLACK = 0.02  # of the box's side, grown with the square of the distance as errors of depth do: so near surfaces are one
BEHIND = 3.0  # times that: so thick is what a surface is made of
ENOUGH = 2  # witnesses that a place among the cameras needs


@dataclass(frozen=True)
class Witnesses:
    """What training cameras see of a model, coarsely."""

    model: RadianceModel
    views: DepthViews

    @classmethod
    def of(cls, model: RadianceModel, cameras: Cameras) -> Witnesses:
        """Returns what cameras (F) see of a model.

        Raises:
            InputError: no ray meets anything.
        """
        if len(cameras) > MOST_CAMERAS:
            cameras = cameras[torch.linspace(0, len(cameras) - 1, MOST_CAMERAS).round().long()]
        aspect = cameras.width / cameras.height
        side = (MOST_RAYS / len(cameras) * max(aspect, 1 / aspect)) ** 0.5
        return cls(model, render_depths(model, thumbnails(cameras, round(min(max(side, SIDES[0]), SIDES[1])))))

    def of_fewer_cells(self, model: RadianceModel) -> Witnesses:
        """Returns what the cameras see of the same model with fewer cells: rays that met a lost one look again."""
        cameras = self.views.cameras
        distance = self.views.distance.flatten(1).clone()
        for frame in progress(range(len(cameras)), title="looking past clouds", unit="view"):
            rays = cameras.image_rays(frame)
            met = distance[frame].isfinite().nonzero().squeeze(1)
            point = rays.origin[met] + distance[frame, met, None] * rays.direction[met]
            again = met[~model.may_hold(point)]
            distance[frame, again] = model.surface(rays[again])
        if not distance.isfinite().any():
            raise InputError(EMPTY)
        return Witnesses(model, DepthViews(cameras, distance.view_as(self.views.distance)))

    def slack(self, point: Tensor) -> Tensor:
        """Returns how near two surfaces must be to be one, scene units, (N,) at world points (N, 3)."""
        contraction = self.model.box.contraction
        slack = torch.full((len(point),), SLACK * self.model.box.core.side)
        return slack if contraction is None else slack * contraction.growth(point).square()

    def among_cameras(self, point: Tensor) -> Tensor:
        """Returns (N,) bool: whether points (N, 3) are as near to the middle of the scene as cameras stand."""
        contraction = self.model.box.contraction
        if contraction is None:
            return torch.ones(len(point), dtype=torch.bool)
        eye = self.views.cameras.world_from_camera[:, :, 3]
        return (point - contraction.center).norm(dim=1) <= (eye - contraction.center).norm(dim=1).max()

    def seen(self, point: Tensor, nothing: Tensor | None = None) -> Tensor:
        """Returns (N,) bool: whether the surface at world points (N, 3) was seen.

        nothing: (N,) bool, points that stand for what is infinitely far.
        """
        slack = self.slack(point)
        before = slack if nothing is None else slack.masked_fill(nothing, torch.inf)
        return self._vouched(point, before, slack)

    def cells(self) -> Tensor:
        """Returns the occupied cells (N, 3) that hold what was seen."""
        grid = self.model.occupancy
        box = self.model.box
        cells = grid.occupied.nonzero()
        center = box.world_from_unit((cells + 0.5) / grid.resolution)

        # What a cell holds may be as far from its middle as its corners.
        extent = torch.full((len(center),), 0.5 * box.diagonal / grid.resolution)
        if box.contraction is not None:
            extent = extent * box.contraction.expansion(center)
        slack = self.slack(center)
        return cells[self._vouched(center, slack + extent, BEHIND * slack + extent)]

    def _vouched(self, point: Tensor, before: Tensor, behind: Tensor) -> Tensor:
        """Returns (N,) bool: whether enough cameras see a surface within a distance before or behind points (N, 3)."""
        enough = torch.where(self.among_cameras(point), min(ENOUGH, len(self.views)), 1)
        return self.views.witnessed(point, before, behind, enough.int())


@torch.no_grad()
def without_clouds(model: RadianceModel, cameras: Cameras) -> tuple[RadianceModel, Witnesses]:
    """Returns an unbounded model without the cells of which no training camera is a witness, and what cameras see then.

    A model with bounds is returned as it is: silhouettes have decided there.

    Raises:
        InputError: no ray meets anything.
    """
    witnesses = Witnesses.of(model, cameras)
    if model.box.contraction is None:
        return model, witnesses

    kept = OccupancyGrid(model.occupancy.hull.clone())
    kept.value.copy_(model.occupancy.value)
    kept.occupied.zero_()
    kept.occupied[tuple(witnesses.cells().T)] = True

    # The same field, with other cells; the engine of the whole model knows the old ones.
    made = copy.copy(model)
    made._modules = {**model._modules, "occupancy": kept}
    made.forget_engine()
    return made, witnesses.of_fewer_cells(made)


def thumbnails(cameras: Cameras, side: int) -> Cameras:
    """Returns the cameras with pictures of one size whose longer side has so many pixels, or as many as it has."""
    factor = min(1.0, side / max(cameras.width, cameras.height))
    return cameras.resized(max(1, round(cameras.width * factor)), max(1, round(cameras.height * factor)))
