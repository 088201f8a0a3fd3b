"""The photometric loss and its closed form over random backgrounds."""

import math

import pytest
import torch

from nerf.ops.composite import Rendering, weights
from nerf.ops.march import Samples
from nerf.rendering.losses import distortion_loss, faded, near_part, photometric_loss


def case(n=7):
    generator = torch.Generator().manual_seed(0)
    opacity = torch.rand(n, generator=generator)
    rgb = torch.rand(n, 3, generator=generator)
    return Rendering(rgb * opacity[:, None], opacity, opacity), torch.rand(n, 4, generator=generator)


def test_the_closed_form_is_the_mean_over_random_backgrounds():
    rendering, target = case()
    generator = torch.Generator().manual_seed(1)
    background = torch.rand(200_000, 1, 3, generator=generator)
    ours = rendering.rgb + (1 - rendering.opacity[:, None]) * background
    theirs = target[:, :3] * target[:, 3:] + (1 - target[:, 3:]) * background
    drawn = (ours - theirs).square().mean()
    # 200 000 backgrounds leave about 0.2 % of noise.
    assert torch.isclose(photometric_loss(rendering, target, "random"), drawn, rtol=0.01)


def test_a_perfect_rendering_costs_nothing_on_any_background():
    _, target = case()
    perfect = Rendering(target[:, :3] * target[:, 3:], target[:, 3], target[:, 3])
    for background in ("random", "white", "black"):
        assert photometric_loss(perfect, target, background) < 1e-12


def test_wrong_opacity_over_white_is_seen_by_the_random_background_only():
    # A white thing over white: opacity cannot be told, unless the background changes.
    white = Rendering(torch.zeros(1, 3), torch.zeros(1), torch.zeros(1))
    target = torch.ones(1, 4)
    assert photometric_loss(white, target, "white") == 0
    assert photometric_loss(white, target, "random") > 0.3


def test_a_picture_without_alpha_is_opaque_and_transparency_costs_before_it():
    dark = torch.zeros(1, 3)
    clear, solid = (Rendering(dark, opacity, opacity) for opacity in (torch.zeros(1), torch.ones(1)))
    assert photometric_loss(solid, dark, "random") == 0
    assert photometric_loss(clear, dark, "random") > 0.3 and photometric_loss(clear, dark, "white") == 1


def distortion(density, s, ray, n_rays, length=0.1):
    s = torch.tensor(s)
    samples = Samples(torch.tensor(ray, dtype=torch.int64), s, length, n_rays)
    return distortion_loss(torch.as_tensor(density), s, samples, length)


def test_distortion_of_two_walls_that_each_take_half_of_the_light():
    # Weights of 1/2 each, 3 apart: two pairs of 1/4 * 3, two intervals of 1/4 * 0.1 / 3; one of two rays.
    half = math.log(2) / 0.1
    assert distortion([half, 1e3], [1.0, 4.0], [1, 1], 2).item() == pytest.approx((1.5 + 0.05 / 3) / 2, rel=1e-5)


def test_distortion_is_the_sum_over_all_pairs_of_a_ray_and_its_gradient_that_of_autograd():
    generator = torch.Generator().manual_seed(2)
    ray = torch.tensor([0] * 5 + [2] * 9 + [3])
    s = torch.rand(len(ray), generator=generator, dtype=torch.float64).cumsum(0)
    density = (4 * torch.rand(len(ray), generator=generator, dtype=torch.float64)).requires_grad_()
    samples = Samples(ray, s, 0.2, 5)

    weight = weights(density * 0.2, ray, 5)
    pairs = weight[:, None] * weight * (s[:, None] - s).abs() * (ray[:, None] == ray)
    expected = (pairs.sum() + weight.square().sum() * 0.2 / 3) / 5

    loss = distortion_loss(density, s, samples, 0.2)
    assert torch.isclose(loss, expected, rtol=1e-12)
    assert torch.allclose(*(torch.autograd.grad(x, density)[0] for x in (loss, expected)), rtol=1e-9, atol=1e-14)


def test_rays_without_samples_have_no_distortion():
    assert distortion([], [], [], 3) == 0
    assert distortion([], [], [], 0) == 0


def test_what_is_nearer_than_the_fading_begins_keeps_its_value_and_a_part_of_its_gradient():
    value = torch.tensor([3.0, 5.0, 7.0], requires_grad=True)
    out = faded(value, near_part(torch.tensor([0.5, 2.0, 9.0]), near=2.0))
    out.sum().backward()
    assert out.tolist() == [3.0, 5.0, 7.0]
    assert value.grad.tolist() == [0.0625, 1.0, 1.0]
