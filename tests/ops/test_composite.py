"""Compositing against hand values, autograd and its own invariants."""

import math

import pytest
import torch

from nerf.ops.composite import composite, composite_reference, distance_at, transmittance
from nerf.ops.march import Samples


def packed(counts, step=0.1, dtype=torch.float64):
    ray = torch.repeat_interleave(torch.arange(len(counts)), torch.tensor(counts))
    t = torch.cat([torch.arange(count) * step + 1 for count in counts]).to(dtype)
    return Samples(ray, t, step, len(counts))


def test_two_samples_by_hand():
    samples = packed([2], step=1.0)
    sigma = torch.tensor([math.log(2), math.log(4)], dtype=torch.float64)
    rgb = torch.tensor([[1, 0, 0], [0, 1, 0]], dtype=torch.float64)
    rendering = composite(sigma, rgb, samples)
    # Half the light stops at the first sample, three quarters of the other half at the second.
    assert torch.allclose(rendering.rgb, torch.tensor([[0.5, 0.375, 0]]).double())
    assert math.isclose(rendering.opacity.item(), 0.875)
    assert math.isclose(rendering.depth.item(), 0.5 * 1 + 0.375 * 2)


@pytest.mark.parametrize("counts", [[0], [1], [0, 3, 0, 1, 7, 0], [40, 2]])
def test_analytic_gradient_is_autograd_s(counts):
    samples = packed(counts)
    generator = torch.Generator().manual_seed(0)
    n = len(samples)
    sigma = torch.rand(n, dtype=torch.float64, generator=generator) * 20
    rgb = torch.rand(n, 3, dtype=torch.float64, generator=generator)
    cotangents = [
        torch.randn(len(counts), *shape, dtype=torch.float64, generator=generator) for shape in ((3,), (), ())
    ]

    results = []
    for function in (composite, composite_reference):
        inputs = sigma.clone().requires_grad_(), rgb.clone().requires_grad_()
        out = function(*inputs, samples)
        sum((value * c).sum() for value, c in zip((out.rgb, out.opacity, out.depth), cotangents)).backward()
        results.append([out.rgb, out.opacity, out.depth, *(value.grad for value in inputs)])

    for ours, theirs in zip(*results):
        assert torch.allclose(ours, theirs, rtol=1e-12, atol=1e-13)


def test_gradcheck_in_double():
    samples = packed([3, 0, 4])
    sigma = torch.tensor([0.1, 5, 2, 30, 1, 0, 7], dtype=torch.float64).requires_grad_()
    rgb = torch.rand(7, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(1)).requires_grad_()

    def outputs(sigma, rgb):
        rendering = composite(sigma, rgb, samples)
        return rendering.rgb, rendering.opacity, rendering.depth

    assert torch.autograd.gradcheck(outputs, (sigma, rgb))


def test_weights_never_exceed_one():
    samples = packed([50, 50], dtype=torch.float32)
    sigma = torch.rand(100, generator=torch.Generator().manual_seed(2)) * 1e6
    opacity = composite(sigma, torch.ones(100, 3), samples).opacity
    assert (opacity <= 1 + 1e-6).all() and (opacity > 0.999).all()


def test_splitting_an_interval_does_not_change_the_colour():
    coarse = packed([3], step=0.2)
    fine = packed([6], step=0.1)
    sigma = torch.tensor([1.0, 4, 2], dtype=torch.float64)
    rgb = torch.rand(3, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(3))
    whole = composite(sigma, rgb, coarse)
    split = composite(sigma.repeat_interleave(2), rgb.repeat_interleave(2, 0), fine)
    assert torch.allclose(whole.rgb, split.rgb) and torch.allclose(whole.opacity, split.opacity)


def test_transmittance_starts_at_one_on_every_ray_however_many_come_before():
    tau = torch.full((100_000,), 3.0)
    ray = torch.arange(100_000) // 10
    reached = transmittance(tau, ray, 10_000)
    # exp(-3 k) along every ray: a float32 running sum over all rays would have lost the last digits long before.
    assert torch.allclose(reached.view(-1, 10), torch.exp(-3.0 * torch.arange(10)).expand(10_000, 10), rtol=1e-5)


def test_the_distance_at_which_half_of_the_light_is_left_by_hand():
    # Two steps around 1 and 2, of densities 0 and 2 ln 2: half is left half-way through the second step, from 1.5 on.
    samples = packed([2, 1, 0], step=1.0)
    sigma = torch.tensor([0.0, 2 * math.log(2), 0.1], dtype=torch.float64)

    distance = distance_at(sigma, samples, 0.5)
    assert math.isclose(distance[0].item(), 2.0, rel_tol=1e-6)
    assert distance[1:].tolist() == [math.inf, math.inf]
    assert math.isclose(distance_at(sigma, samples, 0.25)[0].item(), 2.5, rel_tol=1e-6)
