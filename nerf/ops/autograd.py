"""How the engine's functions take part in autograd.

Every op has the keyword `backend`: ``reference`` is plain torch, ``native`` is the engine (float32
or float64, on the CPU). Nothing is chosen for the caller.

The first gradients of a native op are the engine's own. The engine has no second derivatives: a
gradient that is itself to be differentiated (``create_graph=True``) is computed by the plain-torch
reference. It is right to any order, at the reference's speed.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from nerf.errors import InputError, nearest

BACKENDS = ("native", "reference")

Inputs = tuple[Tensor, ...]


@dataclass(frozen=True)
class NativeOp:
    """A function of tensors that the engine computes."""

    value: Callable[[Inputs], Tensor]  # inputs -> output
    vjp: Callable[[Inputs, Tensor, tuple[bool, ...]], Sequence[Tensor | None]]
    # (inputs, gradient by the output, which inputs need one) -> gradients by the inputs, or None
    reference: Callable[[Inputs], Tensor]  # the same function in plain torch

    def __call__(self, *inputs: Tensor) -> Tensor:
        dtypes = {tensor.dtype for tensor in inputs}
        if len(dtypes) != 1 or not dtypes <= {torch.float32, torch.float64}:
            raise TypeError(f"backend native: expected all float32 or all float64, got {sorted(map(str, dtypes))}")
        return _NativeFunction.apply(self, *(tensor.contiguous() for tensor in inputs))


class _NativeFunction(torch.autograd.Function):
    @staticmethod
    def forward(ctx, op: NativeOp, *inputs: Tensor) -> Tensor:
        ctx.op = op
        ctx.save_for_backward(*inputs)
        return op.value(inputs)

    @staticmethod
    def backward(ctx, grad: Tensor) -> tuple[Tensor | None, ...]:
        inputs = ctx.saved_tensors
        needed = ctx.needs_input_grad[1:]
        if not torch.is_grad_enabled():
            return None, *ctx.op.vjp(inputs, grad.contiguous(), needed)

        # The gradient will be differentiated: only the reference can do that.
        wanted = [tensor for tensor, wants in zip(inputs, needed) if wants]
        output = ctx.op.reference(inputs)
        found = iter(torch.autograd.grad(output, wanted, grad, create_graph=True, allow_unused=True))
        return None, *(next(found) if wants else None for wants in needed)


def fastest() -> str:
    """Returns the backend that computes ops fastest: native where the engine was built, else reference."""
    from nerf.engine import available

    return "native" if available() else "reference"


def is_native(backend: str) -> bool:
    """Returns whether the engine is to compute an op.

    Raises:
        InputError: there is no such backend.
    """
    if backend not in BACKENDS:
        raise InputError(f'"{backend}" is not a backend of an op{nearest(backend, BACKENDS)}')
    return backend == "native"
