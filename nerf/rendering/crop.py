"""The crop box: one for every output. What lies outside is left out."""

from __future__ import annotations

import copy

import torch
from torch import Tensor

from nerf.errors import InputError
from nerf.geometry.scene_box import CropBox
from nerf.rendering.model import RadianceModel
from nerf.rendering.occupancy import OccupancyGrid
from nerf.report import say

CUT_RESOLUTION = 256  # cells a side in which a film is cut, at least: half a voxel of the default mesh
MUCH = 0.05  # a part of the content above which a cut is worth a warning


def cell_centers(grid: OccupancyGrid, model: RadianceModel) -> Tensor:
    """Returns the world points (G^3, 3) in the middle of the cells of a grid over the model's box."""
    axis = (torch.arange(grid.resolution) + 0.5) / grid.resolution
    return model.box.world_from_unit(torch.cartesian_prod(axis, axis, axis))


def cropped(model: RadianceModel, crop: CropBox | None) -> RadianceModel:
    """Returns the model with nothing outside of the crop box, and says how much was cut.

    Raises:
        InputError: nothing is left.
    """
    if crop is None:
        return model

    # The same cells, cut finer, so that the film is cut about where the mesh is.
    grid = model.occupancy
    factor = -(-CUT_RESOLUTION // grid.resolution)
    fine = OccupancyGrid(torch.zeros((grid.resolution * factor,) * 3, dtype=torch.bool))
    inside = crop.holds(cell_centers(fine, model)).view(fine.hull.shape)
    for name in ("hull", "occupied"):
        whole = getattr(grid, name)
        for axis in range(3):
            whole = whole.repeat_interleave(factor, dim=axis)
        getattr(fine, name).copy_(whole & inside)

    cut = 1 - fine.occupied.sum().item() / max(1, grid.occupied.sum().item() * factor**3)
    if cut == 1:
        raise InputError("--crop: nothing of the scene is in the box; it is in the frame of the input poses")
    warning = "warning: " if cut > MUCH else ""
    say("crop", f"{warning}crop: {cut:.1%} of the cells with matter are cut away")

    # The same field, with other cells; the engine of the whole model knows the old ones.
    made = copy.copy(model)
    made._modules = {**model._modules, "occupancy": fine}
    made.forget_engine()
    return made
