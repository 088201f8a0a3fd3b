"""Losses on rendered rays. Every function returns a scalar mean over rays and channels."""

from __future__ import annotations

import torch
from torch import Tensor

from nerf.colour import BACKGROUNDS, over
from nerf.ops.composite import Rendering


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
