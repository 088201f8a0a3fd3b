"""Multilayer perceptron without biases, ReLU between layers: tiny-cuda-nn's network and its weight layout."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from nerf.ops.mlp import mlp


class MLP(nn.Module):
    """Layers of the given widths (inputs first, outputs last): (S, widths[0]) -> (S, widths[-1]).

    Weight k is (widths[k + 1], widths[k]), row-major. Initialised after Glorot and Bengio 2010 (uniform).
    backend: what computes it, see `nerf.ops.autograd`.
    """

    def __init__(self, widths: Sequence[int], generator: torch.Generator, backend: str = "reference") -> None:
        super().__init__()
        self.backend = backend
        self.weights = nn.ParameterList(
            nn.init.xavier_uniform_(torch.empty(outputs, inputs), generator=generator)
            for inputs, outputs in zip(widths[:-1], widths[1:])
        )

    def forward(self, value: Tensor) -> Tensor:
        return mlp(value, list(self.weights), self.backend)
