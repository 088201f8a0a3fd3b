"""Which places of a model training cameras vouch for, and the model without what none does: clouds.

A camera is a witness of a place where it sees the surface there. Among the cameras it takes two: a cloud before a
camera explains that one picture, and nobody else sees into it. Beyond them one is enough.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor
from torch.nn.functional import max_pool2d

from nerf.geometry.cameras import Cameras
from nerf.rendering.depth_views import DepthViews, render_depths
from nerf.rendering.model import RadianceModel
from nerf.rendering.occupancy import OccupancyGrid

MOST_CAMERAS = 128  # that are asked, evenly among all
MOST_RAYS = 2**20  # from all of them together
SIDES = (48, 128)  # pixels of the longer side of their pictures: at least, at most
SLACK = 0.02  # of the box's side, grown with the square of the distance as errors of depth do: so near surfaces are one
BEHIND = 3.0  # times that: so thick is what a surface is made of
ENOUGH = 2  # witnesses that a place among the cameras needs
POINTS_AT_ONCE = 2**16  # their arithmetic stays in the cache


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

    @cached_property
    def _nearest(self) -> Tensor:
        """(F, H, W), the least distance of each pixel and its neighbours."""
        return -max_pool2d(-self.views.distance[:, None], 3, 1, 1)[:, 0]

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
        far = torch.zeros(len(point), dtype=torch.bool) if nothing is None else nothing
        slack = self.slack(point)
        return self._vouched(point, slack, slack, far)

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
        never = torch.zeros(len(center), dtype=torch.bool)
        return cells[self._vouched(center, slack + extent, BEHIND * slack + extent, never)]

    def _vouched(self, point: Tensor, before: Tensor, behind: Tensor, far: Tensor) -> Tensor:
        """Returns (N,) bool: whether enough cameras see a surface within a distance before or behind points (N, 3)."""
        blocks = zip(*(each.split(POINTS_AT_ONCE) for each in (point, before, behind, far)))
        return torch.cat([self._block_vouched(*block) for block in blocks])

    def _block_vouched(self, point: Tensor, before: Tensor, behind: Tensor, far: Tensor) -> Tensor:
        missing = torch.where(self.among_cameras(point), min(ENOUGH, len(self.views)), 1)
        asked = torch.arange(len(point))  # those that witnesses are missing of
        for frame in range(len(self.views)):
            which, *gaps = self._gaps(frame, point[asked])
            which = asked[which]
            witness = torch.zeros(len(which), dtype=torch.bool)
            for gap in gaps:
                witness |= (gap > -behind[which]) & ((gap < before[which]) | far[which])
            missing[which] -= witness.to(missing.dtype)
            asked = asked[missing[asked] > 0]
        return missing <= 0

    def _gaps(self, frame: int, point: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Returns which points (N, 3) are in the picture of one camera, and how far they are in front of what it sees.

        That is measured at the point's pixel, and at the one beside it that sees the nearest: thin things are met, too.
        """
        cameras = self.views.cameras
        pixel, depth = cameras.project(frame, point)
        inside = cameras.shows(frame, pixel, depth).nonzero().squeeze(1)
        column, row = pixel[inside].long().unbind(1)
        index = row * cameras.width + column
        away = (point[inside] - cameras.world_from_camera[frame, :, 3]).norm(dim=1)
        here = self.views.distance[frame].flatten()[index]
        return inside, here - away, self._nearest[frame].flatten()[index] - away


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
    return made, Witnesses.of(made, cameras)


def thumbnails(cameras: Cameras, side: int) -> Cameras:
    """Returns the cameras with pictures of one size whose longer side has so many pixels, or as many as it has."""
    factor = min(1.0, side / max(cameras.width, cameras.height))
    return cameras.resized(max(1, round(cameras.width * factor)), max(1, round(cameras.height * factor)))
