"""Encodings with parameters: a position becomes features."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from nerf.config import FieldSettings
from nerf.ops.hash_grid import grid_levels, hash_grid


class HashGrid(nn.Module):
    """The multiresolution hash grid as a module: positions (S, D) in [0, 1] -> features (S, levels * features).

    dimensions: D, 1 to 4. backend: what computes it, see `nerf.ops.native`.
    """

    def __init__(
        self, settings: FieldSettings, generator: torch.Generator, dimensions: int = 3, backend: str = "reference"
    ) -> None:
        super().__init__()
        self.backend = backend
        self.levels = grid_levels(
            settings.levels, settings.base_resolution, settings.finest_resolution, settings.log2_table_size, dimensions
        )
        self.width = settings.levels * settings.features_per_level
        table = torch.empty(sum(level.rows for level in self.levels), settings.features_per_level)
        self.table = nn.Parameter(table.uniform_(-1e-4, 1e-4, generator=generator))

    def forward(self, position: Tensor) -> Tensor:
        return hash_grid(position, self.table, self.levels, self.backend)
