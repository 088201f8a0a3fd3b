"""Camera paths as functions of the part u of the path gone by: orbit, arc, figure-eight and spiral. All of them close.

Centre, distance, height and extent come from the training cameras, so that a film stays where pictures came from.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from nerf.geometry.camera_rig import camera_box
from nerf.geometry.cameras import Cameras, look_at

EIGHT_DEGREES = (60.0, 15.0)  # swing of the figure-eight to either side, up and down
SPIRAL_TURNS = 2
SPIRAL_REACH = 0.9  # quantile of the cameras' offsets that a spiral reaches
STEEPEST = 1.25  # radians above or below: farther, an orbit would only turn on the spot
LEAST_AHEAD = 1e-3  # of the distance: nearer, the first camera looks straight down
ALL_ROUND = math.radians(60)  # the widest gap between neighbouring cameras that still stand all round
LEVEL = math.radians(30)  # above or below the median camera, within which cameras are of about one height
NEIGHBOURHOOD = math.radians(25)  # standard deviation of the weights of cameras whose height and distance are followed


def times(frames: int, loop: bool, ease: str) -> Tensor:
    """Returns the part of the path gone by at each frame, (F,) float64 from 0; a loop ends one frame before 1.

    ease: "linear", or "smooth" for a start and an end at rest (the cubic 3 u^2 - 2 u^3).
    """
    u = torch.arange(frames, dtype=torch.float64) / max(frames if loop else frames - 1, 1)
    return u if ease == "linear" else u * u * (3 - 2 * u)


@dataclass(frozen=True)
class Framing:
    """How a path departs from where the training cameras stood and what they showed."""

    reach: float = 1.0  # times their distance, or of a spiral their spread
    view: float = 1.0  # times the extent of what a picture shows at a given distance
    swing: float = 1.0  # of the part of their arc that is gone along
    follow: bool = False  # whether height and distance are those of the cameras nearby, not of all


@dataclass(frozen=True)
class CameraRig:
    """Where cameras stand round what they look at."""

    center: Tensor  # (3,), what they look at
    ahead: Tensor  # (3,) unit, level, towards the first of them
    side: Tensor  # (3,) unit, level, across
    up: Tensor  # (3,) unit
    azimuth: Tensor  # (F,), radians from ahead towards side
    elevation: Tensor  # (F,), radians
    distance: Tensor  # (F,), scene units

    @classmethod
    def of(cls, cameras: Cameras, up: Tensor) -> CameraRig:
        """Returns where cameras stand, with `up` (3,) upwards."""
        box = camera_box(cameras)
        center = box.corner + box.side / 2
        offset = cameras.world_from_camera[:, :, 3] - center
        distance = offset.norm(dim=1)

        ahead = offset[0] - (offset[0] @ up) * up
        if ahead.norm() < LEAST_AHEAD * distance.median():  # any direction across will do
            ahead = torch.linalg.cross(up, torch.eye(3)[up.abs().argmin()])
        ahead = torch.nn.functional.normalize(ahead, dim=0)
        side = torch.linalg.cross(up, ahead)

        height = offset @ up
        elevation = (height / distance.clamp(min=1e-12)).clamp(-1, 1).asin()
        return cls(center, ahead, side, up, torch.atan2(offset @ side, offset @ ahead), elevation, distance)

    def widest_gap(self) -> tuple[float, float]:
        """Returns where the widest gap between cameras of about one height begins, and its width, radians of azimuth.

        Cameras that look from far above or below are not asked: they stand at no side of what they look at.
        """
        level = (self.elevation - self.elevation.median()).abs() < LEVEL
        azimuth = self.azimuth[level].sort().values
        gaps = torch.cat([azimuth[1:], azimuth[:1] + 2 * math.pi]) - azimuth
        return azimuth[gaps.argmax()].item(), gaps.max().item()

    @property
    def all_round(self) -> bool:
        """Whether cameras stand all round what they look at."""
        return self.widest_gap()[1] <= ALL_ROUND

    def arc(self) -> tuple[float, float]:
        """Returns the middle of the arc on which the cameras stand, and half its extent, radians of azimuth."""
        begin, gap = self.widest_gap()
        half = (2 * math.pi - gap) / 2
        return begin + gap + half, half

    def poses(self, azimuth: Tensor, rise: Tensor, framing: Framing) -> Tensor:
        """Returns (F, 3, 4) of cameras that look at the centre.

        Args:
            azimuth: (F,), radians.
            rise: (F,), radians above the height of the training cameras.
            framing: how far they stand, and whether height and distance follow the cameras nearby.
        """
        elevation, distance = self._nearby(azimuth) if framing.follow else self._typical(azimuth)
        elevation = (elevation + rise).clamp(-STEEPEST, STEEPEST)
        distance = framing.reach * distance

        poses = []
        for turn, above, away in zip(azimuth.tolist(), elevation.tolist(), distance.tolist()):
            across = math.cos(turn) * self.ahead + math.sin(turn) * self.side
            eye = self.center + away * (math.cos(above) * across + math.sin(above) * self.up)
            poses.append(look_at(eye, self.center, self.up))
        return torch.stack(poses)

    def _typical(self, azimuth: Tensor) -> tuple[Tensor, Tensor]:
        """Returns elevation and distance of an orbit, (F,) each: the medians of all cameras."""
        away = self.distance.median().item()
        height = (self.distance * self.elevation.sin()).median().item()
        elevation = math.asin(max(-1.0, min(1.0, height / away)))
        return torch.full_like(azimuth, elevation), torch.full_like(azimuth, away)

    def _nearby(self, azimuth: Tensor) -> tuple[Tensor, Tensor]:
        """Returns elevation and distance of the cameras about some azimuths, (F,) each: smooth means."""
        apart = (azimuth[:, None] - self.azimuth.double() + math.pi).remainder(2 * math.pi) - math.pi
        weight = torch.softmax(-0.5 * (apart / NEIGHBOURHOOD).square(), dim=1)
        return weight @ self.elevation.double(), (weight @ self.distance.double().log()).exp()


def orbit(rig: CameraRig, u: Tensor, framing: Framing) -> Tensor:
    """Returns poses (F, 3, 4) once round what the cameras look at."""
    return rig.poses(2 * math.pi * u, torch.zeros_like(u), framing)


def arc(rig: CameraRig, u: Tensor, framing: Framing) -> Tensor:
    """Returns poses (F, 3, 4) to and fro along the arc on which the cameras stand."""
    middle, half = rig.arc()
    return rig.poses(middle + framing.swing * half * torch.sin(2 * math.pi * u), torch.zeros_like(u), framing)


def figure_eight(rig: CameraRig, u: Tensor, framing: Framing) -> Tensor:
    """Returns poses (F, 3, 4) along a lying eight in front of what the cameras look at, the first camera's side."""
    wide, high = (math.radians(swing) for swing in EIGHT_DEGREES)
    middle = rig._typical(u)[0]
    clear = middle.clamp(-STEEPEST + high, STEEPEST - high) - middle
    return rig.poses(wide * torch.sin(2 * math.pi * u), clear + high * torch.sin(4 * math.pi * u), framing)


def spiral(cameras: Cameras, mean: Tensor, u: Tensor, focus: float, reach: float = 1.0) -> Tensor:
    """Returns poses (F, 3, 4) that circle in front of the mean camera, to and fro, and look at one point.

    Args:
        cameras: all facing one way.
        mean: (3, 4), the pose in their middle.
        u: (F,).
        focus: distance of the point before the mean camera, scene units.
        reach: times the cameras' spread.

    Source: Mildenhall et al. 2019 (LLFF).
    """
    offset = (cameras.world_from_camera[:, :, 3] - mean[:, 3]) @ mean[:, :3]
    spread = reach * torch.quantile(offset.abs(), SPIRAL_REACH, dim=0)

    angle = 2 * math.pi * SPIRAL_TURNS * u.float()
    swing = torch.stack([angle.cos(), -angle.sin(), -(angle / SPIRAL_TURNS).sin()], dim=1) * spread
    target = mean[:, 3] + focus * mean[:, 2]
    return torch.stack([look_at(mean[:, 3] + mean[:, :3] @ step, target, -mean[:, 1]) for step in swing])
