"""Camera paths for films."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from nerf.cameras import Cameras, look_at
from nerf.surroundings import camera_cube

SURROUNDED = 0.5  # of one direction's share: mean direction to the cameras below which they stand all round
SWAY = 0.7  # of the cameras' spread
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


def camera_path(cameras: Cameras, center: Tensor | None, frames: int, width: int, height: int) -> tuple[str, Cameras]:
    """Returns the path that suits a capture, and its name: an orbit, or a sway where that would leave what was seen.

    center: (3,), what the cameras look at; found from them if None.
    """
    if center is None:
        cube = camera_cube(cameras)
        center = cube.corner + cube.side / 2
    outward = torch.nn.functional.normalize(cameras.world_from_camera[:, :, 3] - center, dim=1)
    up = up_direction(cameras)
    across = outward - (outward @ up)[:, None] * up
    # Cameras all round a scene cancel each other's directions.
    if across.mean(0).norm() > SURROUNDED * across.norm(dim=1).mean():
        return "sway", sway(cameras, center, frames, width, height)
    return "orbit", orbit(cameras, center, frames, width, height)


def orbit(cameras: Cameras, center: Tensor, frames: int, width: int, height: int) -> Cameras:
    """Returns cameras once round a point (3,), at the given cameras' median distance and height above it.

    The last frame is one step before the first, so that the film loops.
    """
    up = up_direction(cameras)
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
    return _through(cameras, poses, width, height)


def sway(cameras: Cameras, center: Tensor, frames: int, width: int, height: int) -> Cameras:
    """Returns cameras on an ellipse among the given ones that look at a point (3,); the film loops.

    The ellipse lies in the two directions in which the cameras spread most, a part as wide as they spread.
    """
    up, eye = up_direction(cameras), cameras.world_from_camera[:, :, 3]
    middle = eye.mean(0)
    spread = eye - middle
    ahead = torch.nn.functional.normalize(center - middle, dim=0)
    spread = spread - (spread @ ahead)[:, None] * ahead
    _, _, axes = torch.linalg.svd(spread, full_matrices=True)
    reach = [(spread @ axis).abs().quantile(0.9) * SWAY for axis in axes[:2]]
    poses = []
    for frame in range(frames):
        angle = 2 * math.pi * frame / frames
        place = middle + math.cos(angle) * reach[0] * axes[0] + math.sin(angle) * reach[1] * axes[1]
        poses.append(look_at(place, center, up))
    return _through(cameras, poses, width, height)


def _through(cameras: Cameras, poses: list[Tensor], width: int, height: int) -> Cameras:
    """Returns pinhole cameras at poses, with the focal length of the first of `cameras`."""
    lens, frames = cameras[:1].resized(width, height), len(poses)
    return Cameras(torch.stack(poses), lens.focal.repeat(frames, 1), lens.center.repeat(frames, 1), width, height)
