"""The radiance field: position -> density; position and direction -> colour (instant-ngp's structure)."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager

import torch
from torch import Tensor, nn

from nerf.config import FieldSettings
from nerf.fields.encodings import HashGrid
from nerf.fields.mlp import MLP
from nerf.ops.hash_grid import Level
from nerf.ops.spherical_harmonics import spherical_harmonics

# exp(15) per cube side is opaque within any step (exp(-3e6 / 8192) is 0 in float32): no gradient is lost there.
LARGEST_LOG_DENSITY = 15.0


class RadianceField(nn.Module):
    """Hash grid -> density MLP; its outputs, then spherical harmonics of the direction -> colour MLP.

    Positions are in the unit cube. Density is per *side of the cube*, so that the field does not know
    scene units. The colour MLP may also see a code of `code_size` numbers, last among its inputs: what
    is peculiar to one picture (Martin-Brualla et al. 2021, section 4.1). It is zero where none is given.
    """

    def __init__(self, settings: FieldSettings, generator: torch.Generator, code_size: int = 0) -> None:
        super().__init__()
        self.degree = settings.direction_degree
        self.code_size = code_size
        self.encoding = self.new_encoding(settings, generator)
        self.density_mlp = MLP([self.encoding.width, settings.density_width, settings.geometry_features], generator)
        inputs = settings.geometry_features + self.degree**2 + code_size
        self.color_mlp = MLP([inputs] + [settings.color_width] * settings.color_layers + [3], generator)

    @staticmethod
    def new_encoding(settings: FieldSettings, generator: torch.Generator) -> HashGrid:
        """Returns what encodes a position for the density network; another field may have another."""
        return HashGrid(settings, generator)

    def density(self, position: Tensor) -> tuple[Tensor, Tensor]:
        """Returns density (S,), per side of the cube, and geometry features (S, G) of positions (S, 3) in [0, 1]."""
        features = self.density_mlp(self.encoding(position))
        return torch.exp(features[:, 0].clamp(max=LARGEST_LOG_DENSITY)), features

    @property
    def levels(self) -> tuple[Level, ...]:
        """The levels of detail, coarsest first, that training adds one after another."""
        return self.encoding.levels

    def coarsest(self, count: int) -> AbstractContextManager[None]:
        """Returns a context in which only the coarsest `count` levels take part."""
        return self.encoding.coarsest(count)

    def plain(self) -> RadianceField:
        """Returns the same field with its parameters in this project's modules: itself."""
        return self

    @torch.no_grad()
    def load_tensors(self, tensors: Mapping[str, Tensor]) -> None:
        """Copies parameters from tensors, by name."""
        for name, parameter in self.named_parameters():
            parameter.copy_(tensors[name])

    def portable(self, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Returns tensors that go with the parameters one by one, such as moments, as checkpoints have them."""
        return dict(tensors)

    def own(self, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Returns tensors of a checkpoint as they go with the parameters one by one: the inverse of `portable`."""
        return dict(tensors)

    def color(self, direction: Tensor, features: Tensor, code: Tensor | None = None) -> Tensor:
        """Returns RGB (S, 3) in (0, 1) of unit directions (S, 3), geometry features (S, G) and codes (S, code_size)."""
        basis = spherical_harmonics(direction, self.degree)
        if code is None:
            code = basis.new_zeros(len(basis), self.code_size)
        return torch.sigmoid(self.color_mlp(torch.cat([features, basis, code], dim=1)))
