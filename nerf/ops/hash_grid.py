"""Multiresolution hash grid (Müller, Evans, Schied and Keller 2022, section 3), with tiny-cuda-nn's conventions.

Positions lie in [0, 1]^D, D from 1 to 4. Level l has `scale` s_l = base * growth^l - 1 and a lattice
of `resolution` ceil(s_l) + 1 vertices a side, on which a position x falls at x * s_l + 0.5.

A level is dense while resolution^D vertices (rounded up to a multiple of 8) fit the largest table;
otherwise its vertices are hashed. All levels share one table, coarsest first, features innermost,
so that parameters can be exchanged with tiny-cuda-nn.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy
import torch
from torch import Tensor

from nerf.ops.autograd import Inputs, NativeOp, is_native

# The spatial hash of Teschner et al. 2003; the first is 1 for cache coherence.
PRIMES = (1, 2654435761, 805459861, 3674653429)
FEATURES = (1, 2, 4, 8)  # numbers of features of a vertex that the engine knows


@dataclass(frozen=True)
class Level:
    """One level of the grid."""

    scale: float  # from positions to the lattice
    resolution: int  # vertices a side
    rows: int  # of the table
    hashed: bool  # whether vertices share rows by their hash


def growth(levels: int, base_resolution: int, finest_resolution: int) -> float:
    """Returns the factor by which the resolution grows from level to level."""
    return 1.0 if levels == 1 else (finest_resolution / base_resolution) ** (1 / (levels - 1))


def grid_levels(
    levels: int, base_resolution: int, finest_resolution: int, log2_table_size: int, dimensions: int = 3
) -> tuple[Level, ...]:
    """Returns the levels of a grid whose resolutions grow geometrically from base to finest."""
    log2_growth = math.log2(growth(levels, base_resolution, finest_resolution))
    made = []
    for index in range(levels):
        # float32, as tiny-cuda-nn computes it: ceil() below depends on the last bit.
        power = numpy.exp2(numpy.float32(index) * numpy.float32(log2_growth), dtype=numpy.float32)
        scale = power * numpy.float32(base_resolution) - numpy.float32(1)
        resolution = math.ceil(scale) + 1

        vertices = -(-(resolution**dimensions) // 8) * 8
        rows = min(vertices, 2**log2_table_size)
        made.append(Level(float(scale), resolution, rows, hashed=resolution**dimensions > rows))
    return tuple(made)


def hash_grid(position: Tensor, table: Tensor, levels: tuple[Level, ...], backend: str = "reference") -> Tensor:
    """Returns features (S, L * F): the multilinear interpolation of each level's vertices, levels side by side.

    Args:
        position: (S, D), in [0, 1].
        table: (rows of all levels, F).
        levels: L levels, see `grid_levels`.
        backend: see `nerf.ops.autograd`.

    Differentiable in table, and in position almost everywhere; twice through the reference.

    Raises:
        ValueError: table and levels do not fit, or (native) a position lies outside.
    """
    _check_shapes(position, table, levels)
    if is_native(backend):
        return _native_hash_grid(position, table, levels)
    if position.requires_grad:
        return hash_grid_reference(position, table, levels)

    features = []
    for rows, level in zip(table.split([level.rows for level in levels]), levels):
        row, weight = corners(position, level)
        features.append(_WeightedRows.apply(rows, row, weight))
    return torch.cat(features, dim=1)


def _check_shapes(position: Tensor, table: Tensor, levels: tuple[Level, ...]) -> None:
    dimensions = position.shape[-1]
    if position.dim() != 2 or not 1 <= dimensions <= len(PRIMES):
        raise ValueError(f"hash_grid: expected positions (S, 1 to {len(PRIMES)}), got {tuple(position.shape)}")

    rows = sum(level.rows for level in levels)
    if table.dim() != 2 or table.shape[0] != rows or table.shape[1] not in FEATURES:
        raise ValueError(f"hash_grid: expected a table ({rows}, 1, 2, 4 or 8), got {tuple(table.shape)}")

    for level in levels:
        if level.hashed and level.rows & (level.rows - 1):
            raise ValueError(f"hash_grid: a hashed level has {level.rows} rows, not a power of two")
        if not level.hashed and level.rows < level.resolution**dimensions:
            raise ValueError(f"hash_grid: {level} has not all vertices of {dimensions} dimensions; see grid_levels")


def _native_hash_grid(position: Tensor, table: Tensor, levels: tuple[Level, ...]) -> Tensor:
    from nerf.engine import bindings as ops
    from nerf.engine import signatures

    if position.numel():
        low, high = (bound.item() for bound in position.detach().aminmax())
        # The engine would read beyond its table; a comparison with nan is false.
        if not (low >= 0 and high <= 1):
            raise ValueError(f"hash_grid: positions must lie in [0, 1], got {low:g} to {high:g}; clamp them")
    native = [signatures.Level(level.scale, level.resolution, level.rows, level.hashed) for level in levels]

    def value(inputs: Inputs) -> Tensor:
        position, table = inputs
        return ops.hash_grid(position, table, native)

    def vjp(inputs: Inputs, grad: Tensor, needed: tuple[bool, ...]) -> tuple[Tensor | None, ...]:
        position, table = inputs
        return ops.hash_grid_vjp(position, table, native, grad, (needed[0], needed[1]))

    def reference(inputs: Inputs) -> Tensor:
        position, table = inputs
        return hash_grid_reference(position, table, levels)

    return NativeOp(value, vjp, reference)(position, table)


def hash_grid_reference(position: Tensor, table: Tensor, levels: tuple[Level, ...]) -> Tensor:
    """Returns the same as `hash_grid`, differentiated by autograd in position (almost everywhere) and table."""
    features = []
    for rows, level in zip(table.split([level.rows for level in levels]), levels):
        row, weight = corners(position, level)
        features.append((weight[:, :, None] * rows[row]).sum(dim=1))
    return torch.cat(features, dim=1)


def corners(position: Tensor, level: Level) -> tuple[Tensor, Tensor]:
    """Returns table rows (S, 2^D) int32 and multilinear weights (S, 2^D) of the corners around positions (S, D).

    Corner k takes the upper vertex along axis a where bit a of k is set.
    """
    dimensions = position.shape[1]
    on_lattice = position.T * level.scale + 0.5
    lower = on_lattice.detach().floor()
    upper_part = on_lattice - lower

    # Along each axis, the lower and the upper vertex's term of the row and factor of the weight.
    strides = PRIMES[:dimensions] if level.hashed else [level.resolution**axis for axis in range(dimensions)]
    # 32-bit products wrap around as the hash wants them; a table has at most 2^24 rows.
    stride = torch.tensor(strides).to(torch.int32)[:, None]
    low = lower.to(torch.int32) * stride
    terms = torch.stack([low, low + stride])
    factors = torch.stack([1 - upper_part, upper_part])

    rows = []
    weights = []
    for corner in range(2**dimensions):
        row = terms[corner & 1, 0]
        weight = factors[corner & 1, 0]
        for axis in range(1, dimensions):
            up = corner >> axis & 1
            row = row ^ terms[up, axis] if level.hashed else row + terms[up, axis]
            weight = weight * factors[up, axis]
        rows.append(row)
        weights.append(weight)

    row = torch.stack(rows, dim=1)
    # A dense level's upper faces reach one vertex past the lattice, where tiny-cuda-nn wraps too.
    row = row & (level.rows - 1) if level.hashed else row % level.rows
    return row, torch.stack(weights, dim=1)


class _WeightedRows(torch.autograd.Function):
    """The sum over k of weight[s, k] * table[row[s, k]]; its gradient adds weight * gradient to the rows.

    On a CPU it is five times faster than autograd through table[row], which would be most of a training step.
    """

    @staticmethod
    def forward(ctx, table: Tensor, row: Tensor, weight: Tensor) -> Tensor:
        ctx.save_for_backward(row, weight)
        ctx.shape = table.shape
        return torch.nn.functional.embedding_bag(row, table, per_sample_weights=weight, mode="sum")

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, grad: Tensor) -> tuple[Tensor, None, None]:
        row, weight = ctx.saved_tensors
        width = ctx.shape[1]
        index = (row.flatten()[:, None] * width + torch.arange(width, dtype=torch.int32)).flatten()
        share = torch.einsum("sk,sf->skf", weight, grad).flatten()
        grad_table = torch.zeros(ctx.shape, dtype=grad.dtype).view(-1).index_add_(0, index, share)
        return grad_table.view(ctx.shape), None, None
