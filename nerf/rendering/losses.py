"""Losses on rendered rays. What is called a loss is a scalar mean over rays and channels."""

from __future__ import annotations

import torch
from torch import Tensor

from nerf.color import BACKGROUNDS, over
from nerf.ops.composite import Rendering, in_front, weights
from nerf.ops.march import Samples


def photometric_loss(rendering: Rendering, target: Tensor, background: str) -> Tensor:
    """Returns the mean squared colour error of R rays, see `photometric_errors`."""
    return photometric_errors(rendering, target, background).mean()


def photometric_errors(rendering: Rendering, target: Tensor, background: str) -> Tensor:
    """Returns the squared colour errors (R,) of R rays against target (R, 3 or 4), straight alpha; mean over channels.

    A target without alpha is opaque: what shines through it is an error.

    With background ``random`` the error is the *expectation* over backgrounds b, uniform in [0, 1] per
    channel, in closed form. With d = c - c* the error over black and e = alpha* - alpha the error of
    what shines through, E[(d + b e)^2] = (d + e / 2)^2 + e^2 / 12. It has the mean of drawing b at
    random, without the noise.
    """
    if target.shape[-1] == 3:
        target = torch.cat([target, torch.ones_like(target[:, :1])], dim=1)

    if background != "random":
        through = (1 - rendering.opacity[:, None]) * BACKGROUNDS[background]
        return (rendering.rgb + through - over(target, background)).square().mean(1)

    alpha = target[:, 3:]
    through = alpha - rendering.opacity[:, None]
    over_black = rendering.rgb - target[:, :3] * alpha
    return ((over_black + through / 2).square() + through.square() / 12).mean(1)


def near_part(t: Tensor, near: float) -> Tensor:
    """Returns the part of its gradient that a sample at distance t from its camera keeps (Philip and Deschaintre 2023).

    Near their camera rays are dense, by the inverse square of the distance. Unless that is evened out,
    what is near learns soonest, and becomes a cloud that explains its picture alone.

    near: distance below which gradients fade, the unit of t.
    """
    return (t / near).clamp(max=1).square()


def faded(value: Tensor, part: Tensor) -> Tensor:
    """Returns `value` unchanged; of its gradient only `part` is passed on."""
    return value.detach() + part * (value - value.detach())


def distance_loss(density: Tensor, s: Tensor, measured: Tensor, samples: Samples, length: float) -> Tensor:
    """Returns how far light is seen from where it was measured to be, mean over all rays.

    For one ray with weights w it is the sum of w_i |s_i - measured|: how far the light must be moved along the ray
    (the Wasserstein distance to a point). Rays without a measurement cost nothing.

    Args:
        density: (S,), in the unit of 1 / length.
        s: (S,), increasing along a ray.
        measured: (R,), in the unit of s; not finite where nothing was measured.
        samples: the samples' rays.
        length: of the interval that a sample stands for, in the unit of s.
    """
    weight = weights(density * length, samples.ray, samples.n_rays)
    apart = (s - measured[samples.ray]).abs()
    return (weight * torch.where(apart.isfinite(), apart, 0)).sum() / max(samples.n_rays, 1)


def distortion_loss(density: Tensor, s: Tensor, samples: Samples, length: float) -> Tensor:
    """Returns how far apart along their rays light is seen, mean over rays (Barron et al. 2022, equation 15).

    For one ray with weights w it is the sum of w_i w_j |s_i - s_j| over all pairs plus that of
    w_i^2 length / 3: the mean distance of two points on the ray, each drawn by its weight. Fog and
    floaters cost, a surface does not.

    Args:
        density: (S,), in the unit of 1 / length.
        s: (S,), increasing along a ray.
        samples: the samples' rays.
        length: of the interval that a sample stands for, in the unit of s.
    """
    weight = weights(density * length, samples.ray, samples.n_rays)
    # Over pairs i < j: s_j times the weight in front of j, less the sum of w s in front of it.
    before = in_front(weight, samples.ray, samples.n_rays)
    before_s = in_front(weight * s, samples.ray, samples.n_rays)
    pairs = 2 * weight * (s * before - before_s)
    return (pairs + weight.square() * length / 3).sum() / max(samples.n_rays, 1)
