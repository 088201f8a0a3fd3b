"""Encodings with parameters: a position becomes features."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from nerf.config import FieldSettings
from nerf.ops.hash_grid import grid_levels, hash_grid


class HashGrid(nn.Module):
    """The multiresolution hash grid as a module: positions (S, 3) in [0, 1] -> features (S, levels * features)."""

    def __init__(self, settings: FieldSettings, generator: torch.Generator) -> None:
        super().__init__()
        self.levels = grid_levels(
            settings.levels, settings.base_resolution, settings.finest_resolution, settings.log2_table_size
        )
        self.width = settings.levels * settings.features_per_level
        self.active_levels = settings.levels
        table = torch.empty(sum(level.rows for level in self.levels), settings.features_per_level)
        self.table = nn.Parameter(table.uniform_(-1e-4, 1e-4, generator=generator))

    @contextmanager
    def coarsest(self, levels: int) -> Iterator[None]:
        """Inside, only so many levels give features; those of the finer ones count as 0."""
        self.active_levels = levels
        try:
            yield
        finally:
            self.active_levels = len(self.levels)

    def forward(self, position: Tensor) -> Tensor:
        features = hash_grid(position, self.table, self.levels[: self.active_levels])
        return torch.nn.functional.pad(features, (0, self.width - features.shape[1]))
