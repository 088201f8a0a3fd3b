"""Real spherical harmonics of a direction, in tiny-cuda-nn's order and signs (with the Condon-Shortley phase)."""

from __future__ import annotations

import torch
from torch import Tensor

from nerf.ops.autograd import NativeOp, is_native

HIGHEST_DEGREE = 4


def spherical_harmonics(direction: Tensor, degree: int, backend: str = "reference") -> Tensor:
    """Returns the first degree^2 harmonics (S, degree^2) of unit directions (S, 3). degree: 1 to 4.

    Order: l = 0 .. degree - 1, within l from m = -l to l.

    Differentiable in direction, whose length counts as free; twice through the reference.

    Raises:
        ValueError: there is no such degree, or directions are not (S, 3).
    """
    if not 1 <= degree <= HIGHEST_DEGREE:
        raise ValueError(f"spherical_harmonics: degree {degree} is not 1 to {HIGHEST_DEGREE}")
    if direction.dim() != 2 or direction.shape[1] != 3:
        raise ValueError(f"spherical_harmonics: expected directions (S, 3), got {tuple(direction.shape)}")

    if not is_native(backend):
        return spherical_harmonics_reference(direction, degree)
    from nerf.engine import bindings as ops

    op = NativeOp(
        lambda inputs: ops.spherical_harmonics(inputs[0], degree),
        lambda inputs, grad, needed: [ops.spherical_harmonics_vjp(inputs[0], degree, grad)],
        lambda inputs: spherical_harmonics_reference(inputs[0], degree),
    )
    return op(direction)


def spherical_harmonics_reference(direction: Tensor, degree: int) -> Tensor:
    """Returns the same as `spherical_harmonics`, differentiated by autograd.

    Source: Sloan 2013, "Efficient spherical harmonic evaluation", polynomial forms.
    """
    x, y, z = direction.unbind(-1)
    xx = x * x
    yy = y * y
    zz = z * z

    basis = [0.28209479177387814 + 0 * x]  # a constant, yet on the graph
    if degree > 1:
        basis += [-0.48860251190291987 * y, 0.48860251190291987 * z, -0.48860251190291987 * x]
    if degree > 2:
        basis += [
            1.0925484305920792 * x * y,
            -1.0925484305920792 * y * z,
            0.94617469575755997 * zz - 0.31539156525251999,
            -1.0925484305920792 * x * z,
            0.54627421529603959 * (xx - yy),
        ]
    if degree > 3:
        basis += [
            0.59004358992664352 * y * (yy - 3 * xx),
            2.8906114426405538 * x * y * z,
            0.45704579946446572 * y * (1 - 5 * zz),
            0.3731763325901154 * z * (5 * zz - 3),
            0.45704579946446572 * x * (1 - 5 * zz),
            1.4453057213202769 * z * (xx - yy),
            0.59004358992664352 * x * (3 * yy - xx),
        ]
    return torch.stack(basis, dim=-1)
