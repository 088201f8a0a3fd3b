"""Encodings with parameters: a position becomes features."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from nerf.config import FieldSettings
from nerf.fields.settings import CoordinateFieldSettings
from nerf.ops.hash_grid import grid_levels, hash_grid


class HashGrid(nn.Module):
    """The multiresolution hash grid as a module: positions (S, D) in [0, 1] -> features (S, levels * features).

    dimensions: D, 1 to 4. backend: what computes it, see `nerf.ops.autograd`.
    """

    def __init__(
        self,
        settings: FieldSettings | CoordinateFieldSettings,
        generator: torch.Generator,
        dimensions: int = 3,
        backend: str = "reference",
    ) -> None:
        super().__init__()
        self.backend = backend
        self.levels = grid_levels(
            settings.levels, settings.base_resolution, settings.finest_resolution, settings.log2_table_size, dimensions
        )
        self.width = settings.levels * settings.features_per_level
        self.active_levels = settings.levels

        table = torch.empty(sum(level.rows for level in self.levels), settings.features_per_level)
        self.table = nn.Parameter(table.uniform_(-1e-4, 1e-4, generator=generator))

    @contextmanager
    def coarsest(self, levels: int) -> Iterator[None]:
        """Inside, only the coarsest `levels` levels give features; those of the finer ones are 0."""
        self.active_levels = levels
        try:
            yield
        finally:
            self.active_levels = len(self.levels)

    def forward(self, position: Tensor) -> Tensor:
        levels = self.levels[: self.active_levels]
        table = self.table[: sum(level.rows for level in levels)]
        features = hash_grid(position, table, levels, self.backend)
        return torch.nn.functional.pad(features, (0, self.width - features.shape[1]))
