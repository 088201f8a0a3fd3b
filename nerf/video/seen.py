"""What training cameras saw of what a film shows: a film is to stay where somebody looked."""

from __future__ import annotations

import torch
from torch import Tensor

from nerf.geometry.cameras import Cameras
from nerf.geometry.contraction import FAR
from nerf.rendering.witnesses import Witnesses


def seen_pixels(witnesses: Witnesses, cameras: Cameras) -> Tensor:
    """Returns which pixels of cameras (F, small pictures of one size) show what was seen, (F, H, W) bool."""
    model = witnesses.model
    distance = torch.stack([model.distances(cameras, frame) for frame in range(len(cameras))])
    rays = [cameras.image_rays(frame) for frame in range(len(cameras))]
    origin = torch.cat([part.origin for part in rays])
    direction = torch.cat([part.direction for part in rays])

    # Through a scene with bounds one looks at its background, which is known. Elsewhere, at what is very far away.
    contraction = model.box.contraction
    nothing = ~distance.flatten().isfinite()
    far = model.box.core.side if contraction is None else FAR * contraction.radius
    point = origin + torch.where(nothing, far, distance.flatten())[:, None] * direction
    seen = witnesses.seen(point, nothing=nothing)
    return (seen | nothing if contraction is None else seen).view(distance.shape)


def seen_shares(witnesses: Witnesses, cameras: Cameras) -> Tensor:
    """Returns the part of each small picture that shows what was seen, (F,)."""
    return seen_pixels(witnesses, cameras).float().mean(dim=(1, 2))
