"""Camera paths for films."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from nerf.cameras import Cameras, look_at
from nerf.hull import camera_cube

SNAP_DEGREES = 15.0  # an up direction this near to an axis of the input frame is meant to be that axis


def up_direction(cameras: Cameras) -> Tensor:
    """Returns the mean upward direction (3,) of the cameras, snapped to an axis of the input frame near it."""
    up = torch.nn.functional.normalize(-cameras.world_from_camera[:, :, 1].mean(0), dim=0)
    axis = up.abs().argmax()
    if up[axis].abs() > math.cos(math.radians(SNAP_DEGREES)):
        snapped = torch.zeros(3)
        snapped[axis] = up[axis].sign()
        return snapped
    return up


def orbit(cameras: Cameras, frames: int, width: int, height: int) -> Cameras:
    """Returns cameras once round what the given cameras look at, at their median distance and height above it.

    The last frame is one step before the first, so that the film loops.
    """
    cube = camera_cube(cameras)
    center, up = cube.corner + cube.side / 2, up_direction(cameras)
    offset = cameras.world_from_camera[:, :, 3] - center
    distance, rise = offset.norm(dim=1).median(), (offset @ up).median()
    across = max((distance**2 - rise**2).clamp(min=0).sqrt(), 0.3 * distance)
    ahead = offset[0] - (offset[0] @ up) * up
    if ahead.norm() < 1e-3 * distance:  # the first camera looks straight down: any direction across will do
        ahead = torch.linalg.cross(up, torch.eye(3)[up.abs().argmin()])
    ahead = torch.nn.functional.normalize(ahead, dim=0)
    side = torch.linalg.cross(up, ahead)
    poses = []
    for frame in range(frames):
        angle = 2 * math.pi * frame / frames
        eye = center + across * (math.cos(angle) * ahead + math.sin(angle) * side) + rise * up
        poses.append(look_at(eye, center, up))
    lens = cameras[:1].resized(width, height)
    return Cameras(torch.stack(poses), lens.focal.repeat(frames, 1), lens.center.repeat(frames, 1), width, height)
