"""Multilayer perceptron without biases, ReLU between layers: tiny-cuda-nn's network and its weight layout."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from nerf.ops.autograd import Inputs, NativeOp, is_native


def mlp(value: Tensor, weights: Sequence[Tensor], backend: str = "reference") -> Tensor:
    """Returns (S, outputs) of inputs (S, inputs). Weight k is (outputs, inputs) of layer k.

    Differentiable in the inputs and in the weights; twice through the reference.

    Raises:
        ValueError: the layers do not fit each other.
    """
    if not is_native(backend):
        return mlp_reference(value, weights)
    from nerf.engine import bindings as ops

    widths = [value.shape[1], *(weight.shape[0] for weight in weights)]
    if [weight.shape[1] for weight in weights] != widths[:-1] or not weights:
        shapes = ", ".join(str(tuple(weight.shape)) for weight in weights)
        raise ValueError(f"mlp: inputs {tuple(value.shape)} and weights {shapes} do not fit each other")

    def vjp(inputs: Inputs, grad: Tensor, needed: tuple[bool, ...]) -> list[Tensor]:
        grad_value, grad_weights = ops.mlp_vjp(inputs[0], inputs[1:], grad)
        return [grad_value, *grad_weights]

    op = NativeOp(
        lambda inputs: ops.mlp(inputs[0], inputs[1:]),
        vjp,
        lambda inputs: mlp_reference(inputs[0], inputs[1:]),
    )
    return op(value, *weights)


def mlp_reference(value: Tensor, weights: Sequence[Tensor]) -> Tensor:
    """Returns the same as `mlp`, by plain matrix products."""
    *hidden, last = weights
    for weight in hidden:
        value = torch.relu(value @ weight.T)
    return value @ last.T
