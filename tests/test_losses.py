"""The photometric loss and its closed form over random backgrounds."""

import torch

from nerf.losses import photometric_loss
from nerf.ops.composite import Rendering


def case(n=7):
    generator = torch.Generator().manual_seed(0)
    opacity, rgb = torch.rand(n, generator=generator), torch.rand(n, 3, generator=generator)
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
    white, target = Rendering(torch.zeros(1, 3), torch.zeros(1), torch.zeros(1)), torch.ones(1, 4)
    assert photometric_loss(white, target, "white") == 0
    assert photometric_loss(white, target, "random") > 0.3


def test_a_picture_without_alpha_is_opaque_and_transparency_costs_before_it():
    dark = torch.zeros(1, 3)
    clear, solid = (Rendering(dark, opacity, opacity) for opacity in (torch.zeros(1), torch.ones(1)))
    assert photometric_loss(solid, dark, "random") == 0
    assert photometric_loss(clear, dark, "random") > 0.3 and photometric_loss(clear, dark, "white") == 1
