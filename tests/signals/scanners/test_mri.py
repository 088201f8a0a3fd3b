import pytest
import torch

from nerf.signals import baselines
from nerf.signals.scanners import mri


def phantom(side: int = 48, slices: int = 2) -> torch.Tensor:
    """Returns (Z, side, side - 3): boxes in a frame, piecewise constant, between 0 and 1."""
    x = torch.zeros(slices, side, side - 3)
    x[:, 8:40, 6:38] = 0.4
    x[:, 14:30, 12:20] = 0.9
    x[1:, 20:26, 24:34] = 0.7
    return x


def test_k_space_is_unitary_and_its_centre_is_the_mean():
    x = torch.rand(2, 9, 8, generator=torch.Generator().manual_seed(0))
    k = mri.k_space(x)
    assert torch.allclose(k.abs().square().sum(), x.square().sum())
    assert torch.allclose(k[:, 4, 4].real, x.sum((1, 2)) / 72**0.5)
    assert torch.allclose(mri.from_k_space(k).real, x, atol=1e-6)


@pytest.mark.parametrize("kind", ["radial", "cartesian"])
def test_masks_measure_the_share_they_are_asked_for_with_the_centre_in_it(kind):
    masks = mri.slice_masks(kind, (64, 80, 3), 4, torch.Generator().manual_seed(0))
    share = masks.float().mean((1, 2))
    assert (share <= 0.25 + 1e-6).all() and (share > 0.2).all()
    assert masks[:, 32, 40].all() and (masks[0] != masks[1]).any()


def test_cartesian_masks_are_whole_lines():
    mask = mri.cartesian_mask((16, 40), 4, torch.Generator().manual_seed(0))
    assert (mask.all(0) == mask.any(0)).all() and mask.any(0).sum() == 10


def test_with_everything_measured_zero_filling_is_exact():
    x = phantom()
    assert torch.allclose(baselines.zero_filled(mri.k_space(x)), x, atol=1e-6)


def test_total_variation_recovers_boxes_that_zero_filling_does_not():
    x = phantom()
    mask = mri.slice_masks("radial", (48, 45, 2), 3, torch.Generator())
    measured = mri.k_space(x) * mask
    error = {
        axes: (baselines.total_variation_reconstruction(measured, mask, 1e-3, 300, axes) - x).abs().mean()
        for axes in (2, 3)
    }
    assert max(error.values()) < 0.1 * (baselines.zero_filled(measured) - x).abs().mean()


def test_total_variation_minimises_its_functional():
    x = phantom() + 0.05 * torch.randn(2, 48, 45, generator=torch.Generator().manual_seed(0))
    mask = mri.slice_masks("radial", (48, 45, 2), 3, torch.Generator())
    measured = mri.k_space(x) * mask
    weight = 0.02

    def functional(slices: torch.Tensor) -> float:
        misfit = ((mri.k_space(slices) - measured) * mask).abs().square().sum() / 2
        return (misfit + weight * baselines._gradient(slices, 2).square().sum(0).sqrt().sum()).item()

    found = baselines.total_variation_reconstruction(measured, mask, weight, 400)
    least = functional(found)
    for other in (0.99 * found, found + 0.01 * (x - found), found.roll(1, 1) * 0.01 + 0.99 * found):
        assert functional(other) > least


def test_the_divergence_is_minus_the_adjoint_of_the_gradient():
    random = torch.Generator().manual_seed(0)
    for axes in (2, 3):
        x = torch.randn(3, 5, 6, generator=random)
        dual = torch.randn(axes, 3, 5, 6, generator=random)
        dot = (baselines._gradient(x, axes) * dual).sum() + (x * baselines._divergence(dual)).sum()
        assert abs(dot.item()) < 1e-4  # float32 sums of about 200 numbers
