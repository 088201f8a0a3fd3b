"""The hash grid against numbers worked out by hand, a scalar implementation and autograd."""

import math

import pytest
import torch

from nerf.ops.hash_grid import Level, corners, grid_levels, hash_grid, hash_grid_reference

# Worked out once by scalar_encode below and stored: a later change of both texts is seen.
GOLDEN = [0.202251510152, 0.193053477030, -0.106188420233, -0.201164330392, -0.330067069111, -0.493268804869]


def scalar_row(x: int, y: int, z: int, level: Level) -> int:
    """Returns tiny-cuda-nn's index, in Python integers."""
    if level.hashed:
        return ((x ^ (y * 2654435761) ^ (z * 805459861)) & 0xFFFFFFFF) % level.rows
    return (x + y * level.resolution + z * level.resolution**2) % level.rows


def scalar_encode(point, table, levels):
    """Returns the features of one position, a list, corner by corner."""
    features = []
    first = 0
    for level in levels:
        on_lattice = [value * level.scale + 0.5 for value in point]
        base = [math.floor(value) for value in on_lattice]

        out = [0.0] * table.shape[1]
        for corner in range(8):
            up = [corner >> axis & 1 for axis in range(3)]
            weight = math.prod(p - b if u else 1 - (p - b) for p, b, u in zip(on_lattice, base, up))
            row = first + scalar_row(*(b + u for b, u in zip(base, up)), level)
            out = [value + weight * table[row, f].item() for f, value in enumerate(out)]

        features += out
        first += level.rows
    return features


def table_for(levels, features, dtype=torch.float64):
    rows = sum(level.rows for level in levels)
    return torch.sin(torch.arange(rows * features, dtype=dtype) * 0.37).view(rows, features)


def test_levels_have_tiny_cuda_nn_sizes():
    levels = grid_levels(3, 4, 16, 10)
    # scale = 4 * 2^l - 1; resolution = ceil(scale) + 1; rows = resolution^3 rounded up to 8, at most 2^10.
    assert [level.scale for level in levels] == [3.0, 7.0, 15.0]
    assert [level.resolution for level in levels] == [4, 8, 16]
    assert [level.rows for level in levels] == [64, 512, 1024]
    assert [level.hashed for level in levels] == [False, False, True]


def test_golden_features_stay_what_they_were():
    levels = grid_levels(3, 4, 16, 10)
    point = torch.tensor([[0.1, 0.7, 0.45]], dtype=torch.float64)
    golden = torch.tensor([GOLDEN], dtype=torch.float64)
    assert torch.allclose(hash_grid(point, table_for(levels, 2), levels), golden, atol=1e-9)


def test_a_position_on_a_vertex_returns_its_row():
    level = grid_levels(1, 4, 4, 10)
    table = table_for(level, 2)
    # x * 3 + 0.5 = 2 at x = 0.5: vertex (2, 2, 2) of a dense 4^3 lattice, row 2 + 2 * 4 + 2 * 16 = 42.
    point = torch.full((1, 3), 0.5, dtype=torch.float64)
    assert torch.allclose(hash_grid(point, table, level)[0], table[42])


def test_agrees_with_a_scalar_text_everywhere():
    levels = grid_levels(4, 3, 40, 9)
    table = table_for(levels, 4)
    points = torch.rand(50, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    points[0] = 0.0  # the faces of the cube
    points[1] = 1.0
    expected = torch.tensor([scalar_encode(point.tolist(), table, levels) for point in points], dtype=torch.float64)
    assert torch.allclose(hash_grid(points, table, levels), expected, atol=1e-12)
    assert torch.allclose(hash_grid_reference(points, table, levels), expected, atol=1e-12)


@pytest.mark.parametrize("size", [0, 1, 77])
def test_gradient_by_the_table_is_autograd_s(size):
    levels = grid_levels(3, 4, 32, 8)
    points = torch.rand(size, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    cotangent = torch.randn(size, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(3))
    grads = []
    for encode in (hash_grid, hash_grid_reference):
        table = table_for(levels, 2).requires_grad_()
        (encode(points, table, levels) * cotangent).sum().backward()
        grads.append(table.grad)
    assert torch.allclose(grads[0], grads[1], rtol=1e-12, atol=1e-14)
    assert size == 0 or grads[0].abs().max() > 0


def test_gradcheck_of_the_table_and_of_the_position():
    levels = grid_levels(2, 3, 8, 6)
    points = torch.rand(5, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(4))
    table = table_for(levels, 2).requires_grad_()
    assert torch.autograd.gradcheck(lambda table: hash_grid(points, table, levels), table)
    fixed = table.detach()
    assert torch.autograd.gradcheck(lambda points: hash_grid_reference(points, fixed, levels), points.requires_grad_())


def test_weights_of_the_corners_sum_to_one():
    points = torch.rand(100, 3, generator=torch.Generator().manual_seed(5))
    for level in grid_levels(4, 4, 64, 10):
        row, weight = corners(points, level)
        assert torch.allclose(weight.sum(1), torch.ones(100), atol=1e-6)
        assert row.min() >= 0 and row.max() < level.rows
