"""Native ops under autograd: equal to the reference, checked by differences in double, twice differentiable."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from nerf.errors import InputError
from nerf.geometry.cameras import Rays
from nerf.geometry.scene_box import SceneBox
from nerf.ops.composite import composite
from nerf.ops.hash_grid import Level, grid_levels, hash_grid
from nerf.ops.march import Samples, march
from nerf.ops.mlp import mlp
from nerf.ops.spherical_harmonics import spherical_harmonics

# float32 rounds positions on a lattice of some ten vertices, and sums of some hundred terms, to parts in 10^5.
TOLERANCE = {torch.float32: 5e-5, torch.float64: 1e-11}


def uniform(seed: int, *shape: int, low: float = 0.0) -> Tensor:
    return torch.empty(*shape, dtype=torch.float64).uniform_(low, 1, generator=torch.Generator().manual_seed(seed))


def grid_case(dimensions: int, size: int):
    levels = grid_levels(2, 3, 9, 5, dimensions)
    table = uniform(2, sum(level.rows for level in levels), 2, low=-1)
    return lambda backend: lambda x, y: hash_grid(x, y, levels, backend), (uniform(1, size, dimensions), table)


def mlp_case(size: int):
    inputs = uniform(3, size, 5, low=-1), uniform(4, 7, 5, low=-1), uniform(5, 6, 7, low=-1), uniform(6, 3, 6, low=-1)
    return lambda backend: lambda value, *weights: mlp(value, weights, backend), inputs


def harmonics_case(size: int):
    direction = torch.nn.functional.normalize(uniform(7, size, 3, low=-1), dim=1)
    return lambda backend: lambda value: spherical_harmonics(value, 4, backend), (direction,)


def composite_case(size: int):
    ray = torch.arange(size) // 3 * 2
    t = uniform(8, size) + torch.arange(size)

    def on(backend):
        def pixels(sigma, rgb):
            seen = composite(sigma, rgb, Samples(ray, t.to(sigma.dtype), 0.7, size + 1), backend)
            return torch.cat([seen.rgb, seen.opacity[:, None], seen.depth[:, None]], dim=1)

        return pixels

    return on, (uniform(9, size), uniform(10, size, 3))


CASES = {
    "a grid on a line": lambda size: grid_case(1, size),
    "a grid in the plane": lambda size: grid_case(2, size),
    "a grid in space": lambda size: grid_case(3, size),
    "a grid in space and time": lambda size: grid_case(4, size),
    "an mlp": mlp_case,
    "harmonics": harmonics_case,
    "compositing": composite_case,
}
cases = pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())


@cases
@pytest.mark.parametrize("dtype", list(TOLERANCE))
@pytest.mark.parametrize("size", [0, 1, 40])
def test_values_and_gradients_are_the_reference_s(case, dtype, size):
    on, inputs = case(size)

    results = []
    for backend in ("native", "reference"):
        leaves = [value.to(dtype).requires_grad_() for value in inputs]
        out = on(backend)(*leaves)
        cotangent = uniform(11, *out.shape, low=-1).to(dtype)
        grads = torch.autograd.grad(out, leaves, cotangent, allow_unused=size == 0)
        results.append([out.detach(), *(torch.zeros_like(x) if g is None else g for g, x in zip(grads, leaves))])

    for ours, theirs in zip(*results, strict=True):
        assert ours.shape == theirs.shape and ours.dtype == theirs.dtype == dtype
        assert (ours - theirs).norm() <= TOLERANCE[dtype] * theirs.norm().clamp(min=1)
    assert size == 0 or all(grad.abs().max() > 0 for grad in results[0])


@cases
def test_first_and_second_derivatives_are_those_of_differences(case):
    on, inputs = case(3)
    leaves = tuple(value.requires_grad_() for value in inputs)
    assert torch.autograd.gradcheck(on("native"), leaves)
    assert torch.autograd.gradgradcheck(on("native"), leaves)


def test_a_loss_on_the_slope_of_a_grid_reaches_its_table():
    on, (position, table) = grid_case(3, 20)
    grads = []
    for backend in ("native", "reference"):
        x = position.clone().requires_grad_()
        rows = table.clone().requires_grad_()
        (slope,) = torch.autograd.grad(on(backend)(x, rows).sum(), x, create_graph=True)
        (slope.norm(dim=1) - 1).square().mean().backward()  # what keeps a signed distance honest
        grads.append(rows.grad)
    assert torch.allclose(*grads, rtol=1e-10, atol=1e-12) and grads[0].abs().max() > 0


def test_only_the_gradient_that_is_wanted_is_computed():
    on, (position, table) = grid_case(3, 5)
    rows = table.requires_grad_()
    on("native")(position, rows).sum().backward()
    assert rows.grad.abs().max() > 0 and position.grad is None


@pytest.mark.parametrize("dtype", list(TOLERANCE))
def test_a_native_march_finds_the_samples_of_the_reference(dtype):
    origin = (uniform(12, 30, 3, low=-1) * 3).to(dtype).requires_grad_()
    direction = torch.nn.functional.normalize(uniform(13, 30, 3).to(dtype) - origin.detach(), dim=1)
    box = SceneBox(torch.zeros(3), 1.0)
    occupied = uniform(14, 16, 16, 16) < 0.3

    native, reference = (
        march(Rays(origin, direction), box, occupied, 0.02, uniform(15, 30).to(dtype), backend)
        for backend in ("native", "reference")
    )

    # A sample within float32 rounding of a cell's face may fall on either side.
    assert len(reference) > 300 and abs(len(native) - len(reference)) <= (2 if dtype == torch.float32 else 0)
    assert not native.t.requires_grad and not reference.t.requires_grad
    assert native.positions(Rays(origin, direction)).requires_grad


def test_what_would_read_beyond_an_array_is_refused():
    on, (position, table) = grid_case(2, 3)
    for wrong in (-0.01, 1.01, float("nan"), float("inf")):
        with pytest.raises(ValueError, match=r"positions must lie in \[0, 1\]"):
            on("native")(torch.where(position == position[0, 0], wrong, position), table)

    with pytest.raises(ValueError, match="expected a table"):
        on("native")(position, table[1:])
    with pytest.raises(ValueError, match="not all vertices of 3 dimensions"):
        on("native")(uniform(1, 3, 3), table)
    with pytest.raises(ValueError, match="a hashed level has 12 rows"):
        hash_grid(position, uniform(1, 12, 2), (Level(9.0, 10, 12, True),), "native")

    with pytest.raises(ValueError, match="do not fit"):
        mlp(uniform(1, 3, 4), [uniform(2, 5, 3)], "native")
    with pytest.raises(ValueError, match="degree 5"):
        spherical_harmonics(uniform(1, 3, 3), 5, "native")

    ray = Rays(torch.full((1, 3), float("nan")), torch.ones(1, 3))
    with pytest.raises(ValueError, match="not a finite number"):
        march(ray, SceneBox(torch.zeros(3), 1.0), torch.ones(8, 8, 8, dtype=torch.bool), 0.1, torch.zeros(1), "native")


def test_mixed_and_whole_number_types_are_refused():
    on, (position, table) = grid_case(2, 3)
    with pytest.raises(TypeError, match="all float32 or all float64"):
        on("native")(position.float(), table)


def test_where_samples_lie_is_not_differentiable_and_says_so():
    samples = Samples(torch.zeros(2, dtype=torch.int64), torch.ones(2, requires_grad=True), 0.1, 1)
    for backend in ("native", "reference"):
        with pytest.raises(ValueError, match="not differentiable in samples.t"):
            composite(torch.ones(2), torch.ones(2, 3), samples, backend)


def test_an_unknown_backend_is_refused_with_the_nearest():
    on, inputs = grid_case(2, 3)
    with pytest.raises(InputError, match='"nativ" is not a backend of an op; did you mean "native"'):
        on("nativ")(*inputs)
