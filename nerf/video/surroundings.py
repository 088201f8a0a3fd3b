"""What nobody saw, in a film: not white, and no clouds, but a blur of what is around it."""

from __future__ import annotations

from torch import Tensor
from torch.nn.functional import avg_pool2d, interpolate, max_pool2d

from nerf.geometry.cameras import Cameras
from nerf.rendering.witnesses import Witnesses, thumbnails
from nerf.video.seen import seen_pixels

MASK_SIDE = 80  # pixels of the longer side of the picture in which it is decided what was seen
SPECK = 3  # pixels of it: what is unseen in a place smaller than this is shown as it is
SOFT = 7  # pixels of it over which the seen fades into the blur
LEAST_WEIGHT = 1e-4  # of all colours round a pixel, by which their sum is divided


def seen_weight(witnesses: Witnesses, cameras: Cameras, frame: int) -> Tensor:
    """Returns how far each pixel of a frame is to be shown, (H, W) in [0, 1]: 1 where training cameras saw it."""
    small = thumbnails(cameras[frame : frame + 1], MASK_SIDE)
    unseen = (~seen_pixels(witnesses, small)).float()[None]

    # Opening leaves specks out; the ramp then lies outside of what is seen.
    opened = max_pool2d(-max_pool2d(-unseen, SPECK, 1, SPECK // 2), SPECK, 1, SPECK // 2)
    soft = avg_pool2d(max_pool2d(opened, SOFT // 2, 1, SOFT // 4), SOFT, 1, SOFT // 2, count_include_pad=False)
    whole = interpolate(soft, size=(cameras.height, cameras.width), mode="bilinear", align_corners=False)
    return 1 - whole[0, 0].clamp(0, 1)


def filled(rgb: Tensor, weight: Tensor) -> Tensor:
    """Returns colours (H, W, 3) that are `rgb` where the weight (H, W) is 1, and a blur of them where it is 0.

    Colours are averaged to half the size again and again, by weight, and what is missing is taken from the next coarser
    picture (push and pull; Gortler et al. 1996).
    """
    colors = (rgb * weight[..., None]).permute(2, 0, 1)[None]
    return _pulled(colors, weight[None, None])[0].permute(1, 2, 0)


def _pulled(colors: Tensor, weight: Tensor) -> Tensor:
    """Returns whole colours (1, 3, H, W) of colours times their weights, and the weights (1, 1, H, W)."""
    height, width = weight.shape[2:]
    if max(height, width) == 1:
        return colors / weight.clamp(min=LEAST_WEIGHT)

    # A coarser pixel is whole as soon as any part of it is.
    size = ((height + 1) // 2, (width + 1) // 2)
    coarse = avg_pool2d(colors, 2, 2, ceil_mode=True, count_include_pad=False)
    coarse_weight = avg_pool2d(weight, 2, 2, ceil_mode=True, count_include_pad=False)
    gain = coarse_weight.clamp(min=LEAST_WEIGHT).reciprocal() * (2 * coarse_weight).clamp(max=1)
    below = _pulled(coarse * gain, coarse_weight * gain)

    blur = interpolate(below, size=(2 * size[0], 2 * size[1]), mode="bilinear", align_corners=False)
    return colors + (1 - weight) * blur[:, :, :height, :width]
