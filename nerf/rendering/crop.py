"""The crop box: one for every output. What lies outside is left out."""

from __future__ import annotations

import copy

import torch

from nerf.errors import InputError
from nerf.geometry.scene_box import CropBox
from nerf.rendering.model import RadianceModel
from nerf.rendering.occupancy import OccupancyGrid
from nerf.report import say

CUT_RESOLUTION = 256  # cells a side in which a film is cut, at least: half a voxel of the default mesh
MUCH = 0.05  # a part of the content above which a cut is worth a warning


def within(model: RadianceModel, crop: CropBox) -> tuple[RadianceModel, float]:
    """Returns the model with nothing outside of a crop box, and the part of its content that is cut away."""
    # The same cells, cut finer, so that a film is cut about where a mesh is.
    grid = model.occupancy
    factor = -(-CUT_RESOLUTION // grid.resolution)
    hull = grid.hull
    for axis in range(3):
        hull = hull.repeat_interleave(factor, dim=axis)
    fine = OccupancyGrid(hull)

    part = torch.arange(factor)
    cells = (grid.occupied.nonzero()[:, None] * factor + torch.cartesian_prod(part, part, part)).flatten(0, 1)
    kept = cells[crop.holds(model.box.world_from_unit((cells + 0.5) / fine.resolution))]
    fine.occupied.zero_()
    fine.occupied[tuple(kept.T)] = True

    # The same field, with other cells; the engine of the whole model knows the old ones.
    made = copy.copy(model)
    made._modules = {**model._modules, "occupancy": fine}
    made.forget_engine()
    return made, 1 - len(kept) / max(1, len(cells))


def cropped(model: RadianceModel, crop: CropBox | None) -> RadianceModel:
    """Returns the model with nothing outside of the crop box, and says how much was cut.

    Raises:
        InputError: nothing is left.
    """
    if crop is None:
        return model
    made, cut = within(model, crop)
    if cut == 1:
        raise InputError("--crop: nothing of the scene is in the box; it is in the frame of the input poses")
    warning = "warning: " if cut > MUCH else ""
    say("crop", f"{warning}crop: {cut:.1%} of the cells with matter are cut away")
    return made
