"""Fields of any signal: positions (S, D) in [0, 1]^D -> values (S, C), by five ways to feed an MLP.

relu        the position itself: blind to fine detail (spectral bias; Rahaman et al. 2019)
encoding    sines and cosines of octaves (Mildenhall et al. 2020, section 5.1)
fourier     sines and cosines of random frequencies (Tancik et al. 2020)
siren       sines instead of ReLU (Sitzmann et al. 2020)
hash        the multiresolution hash grid, D to 4 (Müller et al. 2022), with the engine's bias-free MLP

All are differentiable in positions and parameters, and so are their gradients. The hash grid's second derivatives go
through its plain-torch twin, and are those of a piecewise multilinear function followed by ReLU.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from nerf.errors import InputError
from nerf.fields.encodings import HashGrid
from nerf.fields.mlp import MLP
from nerf.fields.settings import CoordinateFieldSettings

QUERY_BATCH = 2**17  # positions that `values` computes at a time


class CoordinateField(nn.Module):
    """A field by its settings, with its first parameters drawn from a generator."""

    def __init__(
        self,
        settings: CoordinateFieldSettings,
        inputs: int,
        outputs: int,
        generator: torch.Generator,
        backend: str = "reference",
    ) -> None:
        """inputs: D. outputs: C. backend: what computes the hash grid and its MLP."""
        super().__init__()
        self.inputs = inputs
        self.outputs = outputs
        hidden = [settings.width] * settings.layers

        if settings.kind == "hash":
            if inputs > 4:
                raise InputError(f"field.kind: hash grids have at most 4 dimensions, the signal has {inputs}")
            grid = HashGrid(settings, generator, inputs, backend)
            self.encoding: nn.Module = grid
            self.network: nn.Module = MLP([grid.width, *hidden, outputs], generator, backend)
        elif settings.kind == "siren":
            self.encoding = nn.Identity()
            self.network = Siren([inputs, *hidden, outputs], settings.omega, generator)
        else:
            encoding = _sines_and_cosines(settings, inputs, generator)
            self.encoding = encoding
            self.network = relu_network([encoding.width, *hidden, outputs], generator)

    def forward(self, position: Tensor) -> Tensor:
        return self.network(self.encoding(position))

    @torch.no_grad()
    def values(self, position: Tensor) -> Tensor:
        """Returns (S, C) of positions (S, D), without gradients, in blocks that bound the memory."""
        if len(position) == 0:
            return position.new_empty(0, self.outputs)
        return torch.cat([self(block) for block in position.split(QUERY_BATCH)])


def _sines_and_cosines(
    settings: CoordinateFieldSettings, inputs: int, generator: torch.Generator
) -> Octaves | RandomFourier:
    """Returns the encoding before a ReLU network: none for relu, which is that of no octaves."""
    if settings.kind == "fourier":
        return RandomFourier(inputs, settings.width // 2, settings.fourier_scale, generator)
    return Octaves(inputs, settings.octaves if settings.kind == "encoding" else 0)


class Octaves(nn.Module):
    """The position in [-1, 1], then sin(2^k pi p) and cos(2^k pi p) of it for k below `octaves`."""

    def __init__(self, inputs: int, octaves: int) -> None:
        super().__init__()
        self.octaves = octaves
        self.width = inputs * (1 + 2 * octaves)

    def forward(self, position: Tensor) -> Tensor:
        centred = position * 2 - 1
        parts = [centred]
        for octave in range(self.octaves):
            angle = centred * (math.pi * 2**octave)
            parts += [torch.sin(angle), torch.cos(angle)]
        return torch.cat(parts, dim=1)


class RandomFourier(nn.Module):
    """sin and cos of 2 pi B p, the entries of B normal with standard deviation `scale`."""

    frequency: Tensor  # B, (features, D), cycles per side

    def __init__(self, inputs: int, features: int, scale: float, generator: torch.Generator) -> None:
        super().__init__()
        self.width = 2 * features
        self.register_buffer("frequency", torch.randn(features, inputs, generator=generator) * scale)

    def forward(self, position: Tensor) -> Tensor:
        angle = position @ (2 * math.pi * self.frequency).T
        return torch.cat([torch.sin(angle), torch.cos(angle)], dim=1)


class Siren(nn.Module):
    """Layers x -> sin(omega (W x + b)) of positions in [-1, 1], the last without sine.

    Initialised so that each layer's inputs keep their distribution (Sitzmann et al. 2020, section 3.2): W uniform
    within 1 / n of the first layer, within sqrt(6 / n) / omega of the others, n their inputs.
    """

    def __init__(self, widths: Sequence[int], omega: float, generator: torch.Generator) -> None:
        super().__init__()
        self.omega = omega
        self.layers = nn.ModuleList(
            _linear(a, b, 1 / a if index == 0 else math.sqrt(6 / a) / omega, generator)
            for index, (a, b) in enumerate(zip(widths[:-1], widths[1:]))
        )

    def forward(self, position: Tensor) -> Tensor:
        value = position * 2 - 1
        *hidden, last = self.layers
        for layer in hidden:
            value = torch.sin(self.omega * layer(value))
        return last(value)


def relu_network(widths: Sequence[int], generator: torch.Generator) -> nn.Module:
    """Returns layers with biases and ReLU between them, initialised after He et al. 2015 (uniform)."""
    layers: list[nn.Module] = []
    for a, b in zip(widths[:-1], widths[1:]):
        layers += [_linear(a, b, math.sqrt(6 / a), generator), nn.ReLU()]
    return nn.Sequential(*layers[:-1])


def _linear(inputs: int, outputs: int, bound: float, generator: torch.Generator) -> nn.Linear:
    """Returns a layer with weights uniform within `bound` and biases within 1 / sqrt(inputs)."""
    layer = nn.Linear(inputs, outputs)
    nn.init.uniform_(layer.weight, -bound, bound, generator=generator)
    nn.init.uniform_(layer.bias, -1 / math.sqrt(inputs), 1 / math.sqrt(inputs), generator=generator)
    return layer
