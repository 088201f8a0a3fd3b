"""Multiresolution hash grid (Müller, Evans, Schied and Keller 2022, section 3), with tiny-cuda-nn's conventions.

Positions lie in [0, 1]^3. Level l has `scale` s_l = base * growth^l - 1; a position x falls at x * s_l + 0.5 on the
level's lattice of `resolution` ceil(s_l) + 1 vertices a side. A level is dense while resolution^3 vertices (rounded up
to a multiple of 8) fit the largest table, else vertices are hashed. All levels share one table, coarsest first,
features innermost, so that parameters can be exchanged with tiny-cuda-nn.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy
import torch
from torch import Tensor

PRIMES = (1, 2654435761, 805459861)  # the spatial hash of Teschner et al. 2003; the first is 1 for cache coherence


@dataclass(frozen=True)
class Level:
    """One level: position -> lattice scale, vertices a side, rows of the table, and whether they are hashed."""

    scale: float
    resolution: int
    rows: int
    hashed: bool


def growth(levels: int, base_resolution: int, finest_resolution: int) -> float:
    """Returns by what the resolution grows from level to level."""
    return 1.0 if levels == 1 else (finest_resolution / base_resolution) ** (1 / (levels - 1))


def grid_levels(levels: int, base_resolution: int, finest_resolution: int, log2_table_size: int) -> tuple[Level, ...]:
    """Returns the levels of a grid whose resolutions grow geometrically from base to finest."""
    log2_growth, made = math.log2(growth(levels, base_resolution, finest_resolution)), []
    for index in range(levels):
        # float32, as tiny-cuda-nn computes it: ceil() below depends on the last bit.
        power = numpy.exp2(numpy.float32(index) * numpy.float32(log2_growth), dtype=numpy.float32)
        scale = power * numpy.float32(base_resolution) - numpy.float32(1)
        resolution = math.ceil(scale) + 1
        vertices = -(-(resolution**3) // 8) * 8
        rows = min(vertices, 2**log2_table_size)
        made.append(Level(float(scale), resolution, rows, hashed=resolution**3 > rows))
    return tuple(made)


def hash_grid(position: Tensor, table: Tensor, levels: tuple[Level, ...]) -> Tensor:
    """Returns features (S, L * F): the trilinear interpolation of each level's vertices, levels side by side.

    Args:
        position: (S, 3), in [0, 1].
        table: (rows of all levels, F).
        levels: L levels, see `grid_levels`.

    Differentiable in table, once, by the analytic gradient below; not in position.
    """
    tables = table.split([level.rows for level in levels])
    features = []
    for rows, level in zip(tables, levels):
        row, weight = corners(position, level)
        features.append(_WeightedRows.apply(rows, row, weight))
    return torch.cat(features, dim=1)


def hash_grid_reference(position: Tensor, table: Tensor, levels: tuple[Level, ...]) -> Tensor:
    """Returns the same as `hash_grid`, differentiated by autograd in position (almost everywhere) and table."""
    features = []
    for rows, level in zip(table.split([level.rows for level in levels]), levels):
        row, weight = corners(position, level)
        features.append((weight[:, :, None] * rows[row]).sum(dim=1))
    return torch.cat(features, dim=1)


def corners(position: Tensor, level: Level) -> tuple[Tensor, Tensor]:
    """Returns table rows (S, 8) int32 and trilinear weights (S, 8) of the corners round positions (S, 3).

    Corner k takes the upper vertex along axis a where bit a of k is set.
    """
    on_lattice = position.T * level.scale + 0.5
    lower = on_lattice.detach().floor()
    upper_part = on_lattice - lower
    stride = PRIMES if level.hashed else (1, level.resolution, level.resolution**2)
    # 32-bit products wrap round as the hash wants them; a table has at most 2^24 rows.
    stride = torch.tensor(stride).to(torch.int32)[:, None]
    low = lower.to(torch.int32) * stride
    terms = torch.stack([low, low + stride])
    factors = torch.stack([1 - upper_part, upper_part])
    rows, weights = [], []
    for corner in range(8):
        x, y, z = (terms[corner >> axis & 1, axis] for axis in range(3))
        rows.append(x ^ y ^ z if level.hashed else x + y + z)
        x, y, z = (factors[corner >> axis & 1, axis] for axis in range(3))
        weights.append(x * y * z)
    row = torch.stack(rows, dim=1)
    # A dense level's upper faces reach one vertex past the lattice, where tiny-cuda-nn wraps too.
    row = row & (level.rows - 1) if level.hashed else row % level.rows
    return row, torch.stack(weights, dim=1)


class _WeightedRows(torch.autograd.Function):
    """sum over k of weight[s, k] * table[row[s, k]]; its gradient adds weight * gradient to the rows.

    Five times faster on a CPU than autograd through table[row], which is most of a training step.
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
        place = (row.flatten()[:, None] * width + torch.arange(width, dtype=torch.int32)).flatten()
        share = torch.einsum("sk,sf->skf", weight, grad).flatten()
        return torch.zeros(ctx.shape, dtype=grad.dtype).view(-1).index_add_(0, place, share).view(ctx.shape), None, None
