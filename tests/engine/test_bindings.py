"""The engine's functions against the plain-torch reference, forward and backward, in float and in double."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from nerf.engine import bindings as ops
from nerf.engine.signatures import Level
from nerf.fields.mlp import MLP
from nerf.geometry.cameras import Rays
from nerf.geometry.contraction import Contraction
from nerf.geometry.scene_box import SceneBox
from nerf.ops.composite import composite_reference
from nerf.ops.hash_grid import grid_levels, hash_grid_reference
from nerf.ops.march import Samples, march_reference
from nerf.ops.spherical_harmonics import spherical_harmonics_reference

# float32 rounds positions on a lattice of 200 vertices, and sums of some hundred terms, to a few parts in 10^5.
TOLERANCE = {torch.float32: 5e-5, torch.float64: 1e-11}
SIZES = [0, 1, 200]
DTYPES = list(TOLERANCE)


def uniform(seed: int, *shape: int, dtype: torch.dtype = torch.float64, low: float = 0.0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.empty(*shape, dtype=torch.float64).uniform_(low, 1, generator=generator).to(dtype)


def error(value: Tensor, truth: Tensor) -> float:
    assert value.shape == truth.shape and value.dtype == truth.dtype
    return ((value - truth).norm() / truth.norm().clamp(min=1e-30)).item() if truth.numel() else 0.0


def native_levels(levels) -> list[Level]:
    return [Level(level.scale, level.resolution, level.rows, level.hashed) for level in levels]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("dimensions", "features"), [(1, 2), (2, 4), (3, 1), (3, 2), (3, 4), (3, 8), (4, 2)])
@pytest.mark.parametrize("size", SIZES)
def test_hash_grid_and_its_gradients_are_the_references(isa, dtype, dimensions, features, size):
    levels = grid_levels(5, 4, 200, 10, dimensions)
    position = uniform(1, size, dimensions, dtype=dtype).requires_grad_()
    table = uniform(2, sum(level.rows for level in levels), features, dtype=dtype, low=-1).requires_grad_()
    truth = hash_grid_reference(position, table, levels)
    grad = uniform(3, *truth.shape, dtype=dtype, low=-1)
    grads_truth = torch.autograd.grad(truth, [position, table], grad)
    native = (position.detach(), table.detach(), native_levels(levels))
    assert error(ops.hash_grid(*native), truth.detach()) < TOLERANCE[dtype]
    for grad_native, grad_truth in zip(ops.hash_grid_vjp(*native, grad), grads_truth, strict=True):
        assert error(grad_native, grad_truth) < TOLERANCE[dtype]


@pytest.mark.parametrize("dimensions", [1, 2, 3, 4])
def test_hash_grid_at_the_faces_of_the_cube_wraps_like_the_reference(isa, dimensions):
    levels = grid_levels(3, 4, 64, 9, dimensions)
    axis = torch.tensor([0.0, 0.5, 1.0], dtype=torch.float64)
    position = torch.stack(torch.meshgrid(*[axis] * dimensions, indexing="ij"), -1).view(-1, dimensions)
    table = uniform(4, sum(level.rows for level in levels), 2)
    found = ops.hash_grid(position, table, native_levels(levels))
    assert error(found, hash_grid_reference(position, table, levels)) < 1e-11


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("widths", [[3, 16, 2], [32, 64, 64, 3], [7, 5], [25, 19, 21, 17]])
@pytest.mark.parametrize("size", SIZES)
def test_mlp_and_its_gradients_are_the_references(isa, dtype, widths, size):
    network = MLP(widths, torch.Generator().manual_seed(5)).to(dtype)
    weights = [weight.detach() for weight in network.weights]
    value = uniform(6, size, widths[0], dtype=dtype, low=-1).requires_grad_()
    truth = network(value)
    grad = uniform(7, *truth.shape, dtype=dtype, low=-1)
    grad_truth, *weights_truth = torch.autograd.grad(truth, [value, *network.weights], grad)
    grad_value, grad_weights = ops.mlp_vjp(value.detach(), weights, grad)
    assert error(ops.mlp(value.detach(), weights), truth.detach()) < TOLERANCE[dtype]
    assert error(grad_value, grad_truth) < TOLERANCE[dtype]
    assert all(error(*pair) < TOLERANCE[dtype] for pair in zip(grad_weights, weights_truth, strict=True))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("degree", [1, 2, 3, 4])
@pytest.mark.parametrize("size", SIZES)
def test_spherical_harmonics_and_their_gradient_are_the_references(isa, dtype, degree, size):
    direction = torch.nn.functional.normalize(uniform(8, size, 3, dtype=dtype, low=-1), dim=1).requires_grad_()
    truth = spherical_harmonics_reference(direction, degree)
    grad = uniform(17, *truth.shape, dtype=dtype, low=-1)
    (grad_truth,) = torch.autograd.grad(truth, direction, grad) if size else [direction.detach()]
    assert error(ops.spherical_harmonics(direction.detach(), degree), truth.detach()) < TOLERANCE[dtype]
    found = ops.spherical_harmonics_vjp(direction.detach(), degree, grad)
    assert error(found, grad_truth) < TOLERANCE[dtype]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("n_rays", [0, 1, 60])
@pytest.mark.parametrize("share", [0.0, 0.02, 1.0])
def test_march_finds_the_samples_of_the_reference(isa, dtype, n_rays, share):
    corner, side, step = torch.tensor([-1.0, -0.5, 0.25], dtype=dtype), 1.5, 0.013
    occupied = uniform(9, 40, 40, 40) < share
    origin = uniform(10, n_rays, 3, dtype=dtype, low=-1) * 3
    direction = torch.nn.functional.normalize(corner + side * uniform(11, n_rays, 3, dtype=dtype) - origin, dim=1)
    offset = uniform(12, n_rays, dtype=dtype)
    truth = march_reference(Rays(origin, direction), SceneBox(corner, side), occupied, step, offset)
    count, t = ops.march((origin, direction, offset), corner, side, occupied, step)
    expected = torch.bincount(truth.ray, minlength=n_rays)
    # In float32 a sample within rounding of a cell's face may fall on either side.
    assert (count - expected).abs().sum() <= (0 if dtype == torch.float64 else 3)
    if dtype == torch.float64:
        assert error(t, truth.t.double()) < 1e-6


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("share", [0.02, 0.5])
def test_march_through_contracted_space_finds_the_samples_of_the_reference(isa, dtype, share):
    occupied, n_rays = uniform(9, 40, 40, 40) < share, 63
    occupied[8:24, :, :16] = False
    center, corner = torch.tensor([0.3, -0.2, 0.1], dtype=dtype), torch.tensor([-1.5, -1.9, -1.6], dtype=dtype)
    origin = center + uniform(10, n_rays, 3, dtype=dtype, low=-1) * 4
    direction = torch.nn.functional.normalize(uniform(11, n_rays, 3, dtype=dtype, low=-1), dim=1)
    offset = uniform(12, n_rays, dtype=dtype)
    box = SceneBox(corner, 3.3, Contraction(center, 1.9, 0.1))
    truth = march_reference(Rays(origin, direction), box, occupied, 0.013, offset)
    count, t = ops.march((origin, direction, offset), corner, 3.3, occupied, 0.013, (center, 1.9, 0.1))
    expected = torch.bincount(truth.ray, minlength=n_rays)
    assert len(truth) > 300
    # In float32 a sample within rounding of a cell's face may fall on either side.
    assert (count - expected).abs().sum() <= (0 if dtype == torch.float64 else 1e-3 * len(truth))
    if dtype == torch.float64:
        assert error(t, truth.t.double()) < 1e-6


def test_march_along_an_axis_from_inside_is_done_by_hand(isa):
    occupied = torch.zeros(4, 4, 4, dtype=torch.bool)
    occupied[3, 1, 1] = True
    ray = (torch.tensor([[0.5, 0.3, 0.3]]), torch.tensor([[1.0, 0.0, 0.0]]), torch.tensor([0.6]))
    count, t = ops.march(ray, torch.zeros(3), 1.0, occupied, 0.1)
    assert count.tolist() == [3]
    assert torch.allclose(t, torch.tensor([0.26, 0.36, 0.46]))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("counts", [[], [0], [1], [0, 3, 70, 0, 1]])
def test_composite_and_its_gradients_are_the_references(isa, dtype, counts):
    count = torch.tensor(counts, dtype=torch.int64)
    size, n_rays = int(count.sum()), len(counts)
    first = torch.cat([torch.zeros(1, dtype=torch.int64), count.cumsum(0)])
    thickness = uniform(13, size, dtype=dtype).requires_grad_()
    rgb, t = uniform(14, size, 3, dtype=dtype).requires_grad_(), uniform(15, size, dtype=dtype) + 1
    samples = Samples(torch.repeat_interleave(torch.arange(n_rays), count), t, 1.0, n_rays)
    seen = composite_reference(thickness, rgb, samples)
    truth = torch.cat([seen.rgb, seen.opacity[:, None], seen.depth[:, None]], dim=1).to(dtype)
    grad = uniform(16, n_rays, 5, dtype=dtype, low=-1)
    grads_truth = torch.autograd.grad((truth * grad).sum(), [thickness, rgb])
    arguments = (thickness.detach(), rgb.detach(), t, first)
    assert error(ops.composite(*arguments), truth.detach()) < TOLERANCE[dtype]
    for grad_native, grad_truth in zip(ops.composite_vjp(*arguments, grad), grads_truth, strict=True):
        assert error(grad_native, grad_truth) < TOLERANCE[dtype]


def test_a_tensor_of_another_type_is_refused():
    with pytest.raises(TypeError, match="float32"):
        ops.mlp(torch.zeros(2, 3), [torch.zeros(4, 3, dtype=torch.float64)])
