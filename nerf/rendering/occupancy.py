"""The occupancy grid: which cells of the scene box can hold matter (Müller et al. 2022, appendix C).

A cell's value is a moving maximum of the densities seen in it, per side of the box. Cells outside the
`hull` (what the silhouettes allow) are empty for good. The others are occupied until pruning starts,
then while their value says so.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn

DECAY = 0.85  # of every value at each update: what was fog is empty soon after
LEAST_THICKNESS = 0.02  # optical thickness of a step above which a cell counts as occupied
CELLS_PER_PROBE = 8  # of the hull, at each update; training samples see what the pictures show as well


class OccupancyGrid(nn.Module):
    """G^3 cells, indexed [x, y, z]."""

    hull: Tensor  # (G, G, G) bool, what can ever be occupied
    occupied: Tensor  # (G, G, G) bool
    value: Tensor  # (G, G, G) float32, density per side of the box

    def __init__(self, hull: Tensor) -> None:
        super().__init__()
        self.register_buffer("hull", hull)
        self.register_buffer("occupied", hull.clone())
        self.register_buffer("value", torch.zeros(hull.shape))

    @property
    def resolution(self) -> int:
        return self.hull.shape[0]

    def cell_rows(self, position: Tensor) -> Tensor:
        """Returns flat cell indices (S,) of positions (S, 3) in [0, 1]."""
        cell = (position * self.resolution).long().clamp_(0, self.resolution - 1)
        return (cell[:, 0] * self.resolution + cell[:, 1]) * self.resolution + cell[:, 2]

    def observe(self, position: Tensor, density: Tensor) -> None:
        """Raises the values of the cells of training samples: thin parts that probes miss stay occupied."""
        self.value.view(-1).scatter_reduce_(0, self.cell_rows(position), density, "amax")

    def update(
        self, density: Callable[[Tensor], Tensor], step_length: float, prune: bool, generator: torch.Generator
    ) -> None:
        """Decays all values, probes random cells of the hull and, if `prune`, decides anew which cells are occupied.

        Args:
            density: positions (S, 3) in [0, 1] -> density (S,) per side of the box.
            step_length: of the march, in sides of the box.
            prune: whether cells may become empty.
            generator: of the cells and the positions probed in them.
        """
        self.value *= DECAY

        # Probe a random position in some random cells.
        candidates = self.hull.flatten().nonzero().squeeze(1)
        if len(candidates) == 0:
            return
        n_probes = math.ceil(len(candidates) / CELLS_PER_PROBE)
        row = candidates[torch.randint(len(candidates), (n_probes,), generator=generator)]
        size = self.resolution
        cell = torch.stack([row // size**2, row // size % size, row % size], dim=1)
        position = (cell + torch.rand(n_probes, 3, generator=generator)) / size
        self.observe(position, density(position))

        if prune:
            mean = self.value[self.hull].mean().item()
            self.occupied.copy_(self.hull & (self.value > min(LEAST_THICKNESS / step_length, mean)))
