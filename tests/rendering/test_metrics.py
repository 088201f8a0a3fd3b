"""PSNR, SSIM and surface scores against hand values and scikit-image."""

import math

import pytest
import torch

from nerf.errors import InputError
from nerf.rendering.metrics import psnr, ssim, surface_scores


def pictures():
    generator = torch.Generator().manual_seed(0)
    truth = torch.rand(40, 56, 3, generator=generator)
    return (truth + 0.1 * torch.randn(40, 56, 3, generator=generator)).clamp(0, 1), truth


def test_psnr_by_hand():
    assert psnr(torch.full((2, 2, 3), 0.6), torch.full((2, 2, 3), 0.5)) == pytest.approx(20, abs=1e-4)
    assert math.isinf(psnr(torch.zeros(1, 1, 3), torch.zeros(1, 1, 3)))


def test_psnr_and_ssim_agree_with_scikit_image():
    from skimage.metrics import peak_signal_noise_ratio, structural_similarity

    picture, truth = (value.double().numpy() for value in pictures())
    theirs = structural_similarity(picture, truth, data_range=1, channel_axis=2, gaussian_weights=True, sigma=1.5,
                                   use_sample_covariance=False)  # fmt: skip
    assert ssim(*pictures()) == pytest.approx(theirs, abs=1e-6)
    assert psnr(*pictures()) == pytest.approx(peak_signal_noise_ratio(truth, picture, data_range=1), abs=1e-6)


def test_a_picture_is_like_itself():
    assert ssim(pictures()[1], pictures()[1]) == pytest.approx(1)


def test_nan_and_wrong_sizes_are_errors_not_numbers():
    with pytest.raises(InputError, match="not a finite number"):
        psnr(torch.full((2, 2, 3), math.nan), torch.zeros(2, 2, 3))
    with pytest.raises(InputError, match="differ"):
        psnr(torch.zeros(2, 2, 3), torch.zeros(2, 3, 3))


def test_surface_scores_by_hand():
    scores = surface_scores(torch.tensor([0.1, 0.1, 5.0]), torch.tensor([0.1, 0.3]), 0.2)
    assert scores["precision"] == pytest.approx(2 / 3) and scores["recall"] == 0.5
    assert scores["fscore"] == pytest.approx(2 * (2 / 3) * 0.5 / (2 / 3 + 0.5))
    assert scores["chamfer"] == pytest.approx((5.2 / 3 + 0.2) / 2)
    assert surface_scores(torch.ones(2), torch.ones(2), 0.5)["fscore"] == 0
