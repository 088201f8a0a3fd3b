"""Losses on rendered rays. Every function returns a scalar mean over rays and channels."""

from __future__ import annotations

import torch
from torch import Tensor

from nerf.color import BACKGROUNDS, over
from nerf.ops.composite import Rendering, in_front, weights
from nerf.ops.march import Samples


def photometric_loss(rendering: Rendering, target: Tensor, background: str) -> Tensor:
    """Returns the mean squared colour error of R rays against target (R, 3 or 4), straight alpha.

    A target without alpha is opaque: what shines through it is an error. With background ``random`` the loss is the
    *expectation* over backgrounds uniform in [0, 1] per channel, in closed form: with d = c - c* the error over black
    and e = alpha* - alpha that of what shines through, E[(d + b e)^2] = (d + e / 2)^2 + e^2 / 12. Same mean as drawing
    b at random, without its noise.
    """
    if target.shape[-1] == 3:
        target = torch.cat([target, torch.ones_like(target[:, :1])], dim=1)
    if background != "random":
        through = (1 - rendering.opacity[:, None]) * BACKGROUNDS[background]
        return (rendering.rgb + through - over(target, background)).square().mean()
    alpha = target[:, 3:]
    through = alpha - rendering.opacity[:, None]
    over_black = rendering.rgb - target[:, :3] * alpha
    return ((over_black + through / 2).square() + through.square() / 12).mean()


def near_part(t: Tensor, near: float) -> Tensor:
    """Returns the part of its gradient that a sample at distance t from its camera keeps (Philip and Deschaintre 2023).

    Rays are dense near their camera, by the inverse square of the distance: unless that is evened out, what is near
    learns soonest, and becomes a cloud that explains its picture alone. near: where fading begins, the unit of t.
    """
    return (t / near).clamp(max=1).square()


def faded(value: Tensor, part: Tensor) -> Tensor:
    """Returns `value` as it is, with a gradient of which only `part` goes on."""
    return value.detach() + part * (value - value.detach())


def distortion_loss(density: Tensor, place: Tensor, samples: Samples, length: float) -> Tensor:
    """Returns how far apart along their rays light is seen, mean over rays (Barron et al. 2022, equation 15).

    Of one ray with weights w it is the sum of w_i w_j |s_i - s_j| over all pairs plus that of w_i^2 length / 3: the
    mean distance of two places on the ray, were each drawn by its weight. Fog and floaters cost, a surface does not.

    Args:
        density: (S,), in the unit of 1 / length.
        place: s, (S,) increasing along a ray.
        samples: the rays they are of.
        length: of the interval that a sample stands for, in the unit of s.
    """
    weight = weights(density * length, samples.ray, samples.n_rays)
    # Over pairs i < j: s_j times the weight in front of j, less the sum of w s in front of it.
    before, before_s = (in_front(value, samples.ray, samples.n_rays) for value in (weight, weight * place))
    pairs = 2 * weight * (place * before - before_s)
    return (pairs + weight.square() * length / 3).sum() / max(samples.n_rays, 1)
