"""Figures of merit of pictures and surfaces. Pictures are float, in [0, 1]."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from nerf.errors import InputError

# Wang et al. 2004, section III-B; the two constants keep the quotients finite in flat, dark windows.
SSIM_SIGMA = 1.5  # pixels
SSIM_WINDOW = 11  # pixels
SSIM_C1 = 0.01**2
SSIM_C2 = 0.03**2


def psnr(picture: Tensor, truth: Tensor) -> float:
    """Returns the peak signal-to-noise ratio in dB: -10 log10 of the mean squared error; infinite if equal.

    Raises:
        InputError: sizes differ or a value is not finite.
    """
    if picture.shape != truth.shape:
        raise InputError(f"psnr: sizes {tuple(picture.shape)} and {tuple(truth.shape)} differ")
    error = (picture.double() - truth.double()).square().mean().item()
    if not math.isfinite(error):
        raise InputError("psnr: a pixel is not a finite number; the model has diverged, train it again")
    return -10 * math.log10(error) if error > 0 else math.inf


def ssim(picture: Tensor, truth: Tensor) -> float:
    """Returns the mean structural similarity of two pictures (H, W, C) over all windows that lie inside them.

    Raises:
        InputError: sizes differ, or a side is shorter than the window.

    Source: Wang, Bovik, Sheikh and Simoncelli 2004, Gaussian windows, mean over pixels and channels.
    """
    if picture.shape != truth.shape or min(picture.shape[:2]) < SSIM_WINDOW:
        raise InputError(
            f"ssim: expected two pictures of one size, at least {SSIM_WINDOW} pixels a side, "
            f"got {tuple(picture.shape)} and {tuple(truth.shape)}"
        )

    offset = torch.arange(SSIM_WINDOW, dtype=torch.float64) - SSIM_WINDOW // 2
    window = torch.exp(-0.5 * (offset / SSIM_SIGMA) ** 2)
    window /= window.sum()

    def blurred(value: Tensor) -> Tensor:
        across = torch.nn.functional.conv2d(value, window.view(1, 1, 1, -1))
        return torch.nn.functional.conv2d(across, window.view(1, 1, -1, 1))

    a, b = (image.double().permute(2, 0, 1)[:, None] for image in (picture, truth))
    mean_a = blurred(a)
    mean_b = blurred(b)
    var_a = blurred(a * a) - mean_a**2
    var_b = blurred(b * b) - mean_b**2
    covariance = blurred(a * b) - mean_a * mean_b

    luminance = (2 * mean_a * mean_b + SSIM_C1) / (mean_a**2 + mean_b**2 + SSIM_C1)
    structure = (2 * covariance + SSIM_C2) / (var_a + var_b + SSIM_C2)
    return (luminance * structure).mean().item()


def surface_scores(to_truth: Tensor, to_surface: Tensor, threshold: float) -> dict[str, float]:
    """Returns chamfer, precision, recall and fscore of a surface against the true one.

    Args:
        to_truth: (N,) distances from points spread evenly over the surface to the true surface, scene units.
        to_surface: (M,) distances from points spread evenly over the true surface to the surface, scene units.
        threshold: distance below which a point counts as found, scene units.

    chamfer is the mean of the two mean distances (L1), precision the part of `to_truth` below the threshold, recall
    that of `to_surface`, fscore their harmonic mean (Knapitsch et al. 2017).
    """
    precision = (to_truth < threshold).double().mean().item()
    recall = (to_surface < threshold).double().mean().item()
    fscore = 2 * precision * recall / (precision + recall) if precision + recall else 0.0
    chamfer = (to_truth.double().mean() + to_surface.double().mean()).item() / 2
    return {"chamfer": chamfer, "precision": precision, "recall": recall, "fscore": fscore}
