"""Where a photographer might stand for a further picture: about as far and as high as for those there are."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torch.nn.functional import normalize

from nerf.coverage.sights import Photographs
from nerf.errors import InputError
from nerf.geometry.camera_rig import camera_box, forward_facing, looks_inwards
from nerf.geometry.cameras import Cameras, look_at
from nerf.ops import sight
from nerf.rendering.model import RadianceModel
from nerf.video.plan import keeps_clear

DIRECTIONS = 200  # from what the cameras look at, evenly over the heights of the cameras
LOWER, HIGHER = 5.0, 10.0  # degrees beyond the lowest and the highest camera
STEEPEST = 75.0  # degrees above or below; farther, no picture is upright
NEARER = (1.0, 0.6)  # times the distance of the cameras nearby
NEARBY = 4  # cameras
BESIDE = 25.0  # degrees from the next camera, where all face one way; all round the whole circle is asked


@dataclass(frozen=True)
class Stand:
    """Where cameras stand round what they look at."""

    center: Tensor  # (3,)
    up: Tensor  # (3,) unit
    offset: Tensor  # (F, 3), of the cameras from the centre

    @classmethod
    def of(cls, photographs: Photographs, up: Tensor) -> Stand:
        """Returns where photographs were taken from.

        Raises:
            InputError: they look away from one another: there is nothing to walk round.
        """
        cameras = photographs.cameras
        eye = cameras.world_from_camera[:, :, 3]
        if forward_facing(cameras):
            depth = photographs.distance[photographs.distance.isfinite()].median()
            center = eye.mean(0) + depth * normalize(cameras.world_from_camera[:, :, 2].mean(0), dim=0)
        elif looks_inwards(cameras):
            box = camera_box(cameras)
            center = box.corner + box.side / 2
        else:
            raise InputError("the photographs look at no common thing, round which one could walk")
        return cls(center, up, eye - center)

    @property
    def elevation(self) -> Tensor:
        """(F,) degrees of the cameras above the centre."""
        return (normalize(self.offset, dim=1) @ self.up).clamp(-1, 1).asin().rad2deg()

    def directions(self) -> Tensor:
        """Returns unit vectors (N, 3) from the centre, a golden spiral over the heights of the cameras."""
        low = min(max(self.elevation.min().item() - LOWER, -STEEPEST), STEEPEST - LOWER)
        high = min(max(self.elevation.max().item() + HIGHER, low + LOWER), STEEPEST)
        number = torch.arange(DIRECTIONS)
        bottom, top = math.sin(math.radians(low)), math.sin(math.radians(high))
        height = bottom + (top - bottom) * (number + 0.5) / DIRECTIONS
        azimuth = math.pi * (3 - math.sqrt(5)) * number
        level = (1 - height.square()).sqrt()
        side = normalize(torch.linalg.cross(self.up, torch.eye(3)[self.up.abs().argmin()]), dim=0)
        frame = torch.stack([side, torch.linalg.cross(self.up, side), self.up])
        return torch.stack([level * azimuth.cos(), level * azimuth.sin(), height], dim=1) @ frame


def viewpoints(model: RadianceModel, cameras: Cameras, photographs: Photographs, up: Tensor) -> Cameras:
    """Returns pinholes where a photographer might stand, with the lenses of the photographs taken nearby.

    Left out are places in or close to matter, and those that no photograph shows to be free though some look there.

    Args:
        model: the scene.
        cameras: of the photographs, turned so that their pictures are upright.
        photographs: what these see of the model.
        up: (3,) unit.

    Raises:
        InputError: there is no such place.
    """
    stand = Stand.of(photographs, up)
    directions = stand.directions()
    cosine = directions @ normalize(stand.offset, dim=1).T
    limit = BESIDE if forward_facing(cameras) else 180.0
    within = cosine.amax(1) >= math.cos(math.radians(limit))
    nearby = cosine[within].topk(min(NEARBY, len(cameras)), dim=1).indices
    away = stand.offset.norm(dim=1)[nearby].mean(1)

    offset = torch.cat([(nearer * away)[:, None] * directions[within] for nearer in NEARER])
    poses = torch.stack([look_at(stand.center + each, stand.center, up) for each in offset])
    like = cameras[nearby[:, 0].repeat(len(NEARER))]
    found = replace(like, world_from_camera=poses, lens=torch.zeros_like(like.lens))

    allowed = keeps_clear(model, found) & _free(photographs, found.world_from_camera[:, :, 3])
    if not allowed.any():
        raise InputError("there is no place between the photographs from which to see more: too close to matter")
    return found[allowed]


def _free(photographs: Photographs, eye: Tensor) -> Tensor:
    """Returns (N,) bool: whether places (N, 3) are free: some photograph sees through them, or none looks there."""
    free = torch.zeros(len(eye), dtype=torch.bool)
    behind = torch.zeros(len(eye), dtype=torch.bool)
    for frame in range(len(photographs.cameras)):
        gap = sight.gaps(photographs.cameras, photographs.distance, frame, eye, photographs.slack)
        free |= gap > photographs.slack
        behind |= gap < -photographs.slack
    return free | ~behind
