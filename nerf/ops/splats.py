"""Gaussian splats: the picture that a pinhole camera sees of them.

A splat is a Gaussian in space. A camera sees it, to first order, as a Gaussian in the picture (Zwicker et al. 2001),
widened by the blur of a pixel. In the order of their depth, splats cover each other. Programs do one of two things with
what a pixel widens: it keeps its opacity (Kerbl et al. 2023), or it is as much less opaque (Yu et al. 2024). Sources:
Kerbl et al. 2023, "3D Gaussian splatting for real-time radiance field rendering"; Yu et al. 2024, "Mip-splatting";
Zwicker, Pfister, van Baar and Gross 2001, "EWA volume splatting".
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn.functional import normalize

from nerf.geometry.cameras import Cameras
from nerf.ops.autograd import NativeOp, is_native
from nerf.ops.spherical_harmonics import spherical_harmonics_reference

# As in nerf/engine/src/splats.h.
PIXEL_BLUR = 0.3  # variance that a pixel adds, squared pixels
LEAST_ALPHA = 1 / 255  # of a splat at a pixel, below which it is not there
MOST_ALPHA = 0.99
LEAST_LIGHT = 1e-4  # that still comes through, below which what is behind does not count
LEAST_SHARE = 1e-4  # of its area, squared, that a splat has before it is widened
WIDEST = 1.3  # times as far out as the picture's border a splat is sheared no more than there

BLOCK = 32  # pixels along a side of a block, which the reference takes at once


def splats(
    arrays: Sequence[Tensor],
    cameras: Cameras,
    frame: int,
    near: float,
    antialiased: bool = False,
    backend: str = "reference",
) -> Tensor:
    """Returns the picture (H, W, 4) that a camera sees, as a pinhole: colour over black, and opacity.

    Differentiable in the splats; no gradient goes through where a splat ends, or to the camera.

    Args:
        arrays: of N splats: means (N, 3) float32, scene units; logarithms of the standard deviations along a splat's
            own axes (N, 3); turns from its axes to the world's (N, 4), quaternions w, x, y, z of any length; logits of
            the opacity in its middle (N,); harmonics (N, D^2, 3) of its colour less 0.5, by the direction from the
            camera, see `nerf.ops.spherical_harmonics`.
        cameras, frame: who looks; lenses do not bend.
        near: scene units along the camera's axis, before which nothing is seen.
        antialiased: whether a splat that a pixel widens is as much less opaque there.
        backend: see `nerf.ops.autograd`.
    """
    if not is_native(backend):
        return _splats_reference(arrays, cameras, frame, near, antialiased)
    from nerf.engine import bindings as ops

    view = (cameras, frame, near, antialiased)
    drawn: list[Tensor] = []  # the last picture: its gradients are computed from it

    def value(inputs: tuple[Tensor, ...]) -> Tensor:
        drawn[:] = [ops.splats(inputs, view)]
        return drawn[0].clone()

    op = NativeOp(
        value,
        lambda inputs, grad, needed: ops.splats_vjp(inputs, view, drawn[0], grad),
        lambda inputs: _splats_reference(inputs, *view),
    )
    return op(*arrays)


def _splats_reference(arrays: Sequence[Tensor], cameras: Cameras, frame: int, near: float, antialiased: bool) -> Tensor:
    """Returns the same as `splats`, differentiated by autograd, block by block of pixels."""
    mean, log_scale, turn, logit, harmonics = arrays
    pose = cameras.world_from_camera[frame].to(mean.dtype)
    offset = mean - pose[:, 3]
    place = offset @ pose[:, :3]
    some = (place[:, 2] > near).nonzero().squeeze(1)
    some = some[place[some, 2].sort(stable=True).indices]
    offset, place = offset[some], place[some]

    # Middles and covariances in the picture.
    depth = place[:, 2:]
    focal, center, size = cameras.focal[frame], cameras.center[frame], cameras.size[frame]
    middle = focal * place[:, :2] / depth + center
    low, high = -WIDEST * center / focal, WIDEST * (size - center) / focal
    shear = torch.minimum(torch.maximum(place[:, :2] / depth, low), high)
    towards = pose[:, :3].T  # (3, 3): rows are the camera's axes in the world
    step = (focal / depth)[:, :, None] * (towards[:2] - shear[:, :, None] * towards[2])
    axes = _rotations(turn[some]) * log_scale[some].exp()[:, None]
    shown = step @ axes
    thin = shown @ shown.mT
    covariance = thin + PIXEL_BLUR * torch.eye(2)
    opacity = torch.sigmoid(logit[some])
    if antialiased:
        share = torch.linalg.det(thin) / torch.linalg.det(covariance)
        opacity = opacity * share.clamp(min=LEAST_SHARE).sqrt()

    degree = math.isqrt(harmonics.shape[1])
    basis = spherical_harmonics_reference(normalize(offset, dim=1), degree)
    rgb = ((basis[:, :, None] * harmonics[some]).sum(1) + 0.5).clamp(min=0)
    seen = torch.cat([rgb, torch.ones_like(opacity)[:, None]], dim=1)

    # Within its reach a splat has the least alpha or more.
    squared = 2 * (opacity / LEAST_ALPHA).log().detach().clamp(min=0)
    reach = (squared[:, None] * covariance.diagonal(dim1=1, dim2=2).detach()).sqrt()
    inverse = torch.linalg.inv(covariance)
    rows = []
    width, height = size.tolist()
    for top in range(0, height, BLOCK):
        blocks = []
        for left in range(0, width, BLOCK):
            first = torch.tensor([left, top])
            last = (first + BLOCK).minimum(size)
            met = ((middle + reach > first) & (middle - reach < last)).all(dim=1)
            blocks.append(_block(first, last, middle[met], inverse[met], opacity[met], seen[met]))
        rows.append(torch.cat(blocks, dim=1))
    return torch.cat(rows)


def _rotations(turn: Tensor) -> Tensor:
    """Returns the rotations (N, 3, 3) of quaternions (N, 4) w, x, y, z of any length."""
    w, x, y, z = normalize(turn, dim=1).unbind(1)
    rows = [
        torch.stack([1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)], dim=1),
        torch.stack([2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)], dim=1),
        torch.stack([2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)], dim=1),
    ]
    return torch.stack(rows, dim=1)


def _block(first: Tensor, last: Tensor, middle: Tensor, inverse: Tensor, opacity: Tensor, seen: Tensor) -> Tensor:
    """Returns a block (H, W, 4) of the picture, of the splats that it meets, the nearest first."""
    column, row = (torch.arange(int(low), int(high)) + 0.5 for low, high in zip(first, last))
    pixel = torch.stack(torch.meshgrid(column, row, indexing="xy"), dim=-1)  # (H, W, 2)
    away = pixel[:, :, None] - middle
    power = -0.5 * torch.einsum("hwni,nij,hwnj->hwn", away, inverse, away)
    alpha = (opacity * power.exp()).clamp(max=MOST_ALPHA)
    alpha = torch.where(alpha >= LEAST_ALPHA, alpha, 0)
    light = torch.cat([torch.ones_like(alpha[..., :1]), (1 - alpha).cumprod(-1)[..., :-1]], dim=-1)
    weight = torch.where(light > LEAST_LIGHT, light * alpha, 0)
    return weight @ seen
