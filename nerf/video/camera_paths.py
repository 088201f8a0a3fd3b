"""Camera paths that close: orbit, figure-eight and spiral, as functions of the part u of the path gone by.

Centre, distance, height and up direction come from the training cameras, so that a film stays where pictures came from.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from nerf.geometry.camera_rig import camera_box, mean_camera, up_direction
from nerf.geometry.cameras import Cameras, look_at

EIGHT_DEGREES = (60.0, 15.0)  # swing of the figure-eight to either side, up and down
SPIRAL_TURNS = 2
SPIRAL_REACH = 0.9  # quantile of the cameras' offsets that a spiral reaches
STEEPEST = 1.25  # radians above or below: farther, an orbit would only turn on the spot
LEAST_AHEAD = 1e-3  # of the distance: nearer, the first camera looks straight down


def times(frames: int, loop: bool, ease: str) -> Tensor:
    """Returns the part of the path gone by at each frame, (F,) float64 from 0; a loop ends one frame before 1.

    ease: "linear", or "smooth" for a start and an end at rest (the cubic 3 u^2 - 2 u^3).
    """
    u = torch.arange(frames, dtype=torch.float64) / max(frames if loop else frames - 1, 1)
    return u if ease == "linear" else u * u * (3 - 2 * u)


@dataclass(frozen=True)
class CameraRig:
    """Where cameras stand round what they look at."""

    center: Tensor  # (3,), what they look at
    ahead: Tensor  # (3,) unit, level, towards the first of them
    side: Tensor  # (3,) unit, level, across
    up: Tensor  # (3,) unit
    distance: float  # scene units, the median
    elevation: float  # radians, the median

    @classmethod
    def of(cls, cameras: Cameras) -> CameraRig:
        """Returns where cameras stand."""
        box = camera_box(cameras)
        center = box.corner + box.side / 2
        up = up_direction(cameras)
        offset = cameras.world_from_camera[:, :, 3] - center
        distance = offset.norm(dim=1).median().item()
        height = (offset @ up).median().item()

        ahead = offset[0] - (offset[0] @ up) * up
        if ahead.norm() < LEAST_AHEAD * distance:  # any direction across will do
            ahead = torch.linalg.cross(up, torch.eye(3)[up.abs().argmin()])
        ahead = torch.nn.functional.normalize(ahead, dim=0)

        elevation = math.asin(max(-1.0, min(1.0, height / distance)))
        elevation = max(-STEEPEST, min(STEEPEST, elevation))
        return cls(center, ahead, torch.linalg.cross(up, ahead), up, distance, elevation)

    def poses(self, azimuth: Tensor, elevation: Tensor, reach: float) -> Tensor:
        """Returns (F, 3, 4) of cameras that look at the centre; angles (F,) in radians, reach in median distances."""
        poses = []
        for turn, rise in zip(azimuth.tolist(), elevation.tolist()):
            across = math.cos(turn) * self.ahead + math.sin(turn) * self.side
            eye = self.center + reach * self.distance * (math.cos(rise) * across + math.sin(rise) * self.up)
            poses.append(look_at(eye, self.center, self.up))
        return torch.stack(poses)


def orbit(cameras: Cameras, u: Tensor, reach: float = 1.0) -> Tensor:
    """Returns poses (F, 3, 4) once round what the cameras look at, at `reach` times their distance."""
    rig = CameraRig.of(cameras)
    return rig.poses(2 * math.pi * u, torch.full_like(u, rig.elevation), reach)


def figure_eight(cameras: Cameras, u: Tensor, reach: float = 1.0) -> Tensor:
    """Returns poses (F, 3, 4) along a lying eight in front of what the cameras look at, the first camera's side."""
    rig = CameraRig.of(cameras)
    wide, high = (math.radians(swing) for swing in EIGHT_DEGREES)
    middle = max(-STEEPEST + high, min(STEEPEST - high, rig.elevation))
    return rig.poses(wide * torch.sin(2 * math.pi * u), middle + high * torch.sin(4 * math.pi * u), reach)


def spiral(cameras: Cameras, u: Tensor, focus: float, reach: float = 1.0) -> Tensor:
    """Returns poses (F, 3, 4) that circle in front of the mean camera, to and fro, and look at one point.

    focus: distance of that point before the mean camera, scene units. reach: times the cameras' spread.
    Source: Mildenhall et al. 2019 (LLFF).
    """
    mean = mean_camera(cameras)
    offset = (cameras.world_from_camera[:, :, 3] - mean[:, 3]) @ mean[:, :3]
    spread = reach * torch.quantile(offset.abs(), SPIRAL_REACH, dim=0)

    angle = 2 * math.pi * SPIRAL_TURNS * u.float()
    swing = torch.stack([angle.cos(), -angle.sin(), -(angle / SPIRAL_TURNS).sin()], dim=1) * spread
    target = mean[:, 3] + focus * mean[:, 2]
    return torch.stack([look_at(mean[:, 3] + mean[:, :3] @ step, target, -mean[:, 1]) for step in swing])
