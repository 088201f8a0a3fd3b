"""What a set of cameras says as a whole: where they look, and whether at one thing."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from nerf.errors import InputError
from nerf.geometry.cameras import Cameras, look_at
from nerf.geometry.scene_box import SceneBox

PARALLEL = 0.9  # length of the mean optical axis above which cameras all face one way: within some 30 degrees of it
INWARDS = 0.8  # of the cameras must have before them what they look at
STEEP = 0.95  # cosine with up beyond which cameras face up or down

ONE_PLACE = 1e-6  # of the coordinates: cameras nearer than this to what they look at are in one place


def forward_facing(cameras: Cameras) -> bool:
    """Returns whether the cameras all face about one way, rather than look at something from all around."""
    return cameras.world_from_camera[:, :, 2].mean(0).norm().item() > PARALLEL


def looks_inwards(cameras: Cameras) -> bool:
    """Returns whether most cameras have before them the point that is nearest to all optical axes."""
    box = camera_box(cameras)
    ahead = box.corner + box.side / 2 - cameras.world_from_camera[:, :, 3]
    return ((ahead * cameras.world_from_camera[:, :, 2]).sum(1) > 0).float().mean().item() > INWARDS


def widest_gap(cameras: Cameras, up: Tensor) -> tuple[Tensor, float]:
    """Returns the widest angle round the scene, seen from above, in which no camera stands.

    As the direction (3,) from the middle of the scene to the middle of the gap, and its width, degrees; up: (3,).

    Raises:
        InputError: the cameras stand in one place.
    """
    box = camera_box(cameras)
    offset = cameras.world_from_camera[:, :, 3] - (box.corner + box.side / 2)
    side = torch.nn.functional.normalize(torch.linalg.cross(up, torch.eye(3)[up.abs().argmin()]), dim=0)
    front = torch.linalg.cross(up, side)
    azimuth = torch.atan2(offset @ front, offset @ side).sort().values
    gap = torch.cat([azimuth[1:], azimuth[:1] + 2 * math.pi]) - azimuth
    widest = gap.argmax()
    middle = azimuth[widest] + gap[widest] / 2
    return middle.cos() * side + middle.sin() * front, gap[widest].rad2deg().item()


def mean_camera(cameras: Cameras, up: Tensor) -> Tensor:
    """Returns the pose (3, 4) in the middle of cameras that face one way, with `up` (3,) upwards.

    Cameras that face up or down are held as they were in the mean.
    """
    eye = cameras.world_from_camera[:, :, 3].mean(0)
    forward = torch.nn.functional.normalize(cameras.world_from_camera[:, :, 2].mean(0), dim=0)
    if (forward @ up).abs() > STEEP:
        up = -cameras.world_from_camera[:, :, 1].mean(0)
    return look_at(eye, eye + forward, up)


def camera_box(cameras: Cameras) -> SceneBox:
    """Returns the box in the middle of the cameras.

    Its centre is where they look, the point nearest to all optical axes in the least-squares sense.
    Its side is their median distance from there.

    Raises:
        InputError: the cameras stand in one place.
    """
    eye = cameras.world_from_camera[:, :, 3].double()
    axis = cameras.world_from_camera[:, :, 2].double()

    center = _nearest_to_axes(eye, axis)
    side = (eye - center).norm(dim=1).median().item()
    if not side > ONE_PLACE * eye.abs().max().item():
        raise InputError(
            "the cameras stand in one place: their poses do not tell the size of the scene; photograph from several "
            "places, or give scene.bounds, half the side of a cube that holds it"
        )
    return SceneBox((center - side / 2).float(), side)


def angle_to_attention(cameras: Cameras) -> float:
    """Returns the median angle, degrees, between the cameras' axes and the point nearest to them all.

    It is small where they look at something together, and above 90 where they look away from one another; 180 of
    cameras in one place.
    """
    eye = cameras.world_from_camera[:, :, 3].double()
    axis = cameras.world_from_camera[:, :, 2].double()
    toward = _nearest_to_axes(eye, axis) - eye
    distance = toward.norm(dim=1)
    if not distance.median().item() > ONE_PLACE * eye.abs().max().item():
        return 180.0
    cosine = (toward * axis).sum(dim=1) / distance.clamp(min=torch.finfo(torch.float64).tiny)
    return cosine.clamp(-1, 1).acos().rad2deg().median().item()


def _nearest_to_axes(eye: Tensor, axis: Tensor) -> Tensor:
    """Returns the point (3,) nearest to axes through eyes (F, 3) along unit vectors (F, 3), float64, least squares."""
    # Normal equations of the squared distances from the axes.
    off_axis = torch.eye(3, dtype=torch.float64) - axis[:, :, None] * axis[:, None, :]
    normal = off_axis.sum(0)
    # Parallel axes fix no point along themselves: a small pull towards the mean eye decides.
    normal += 1e-6 * len(eye) * torch.eye(3, dtype=torch.float64)
    target = (off_axis @ eye[:, :, None]).sum(0)[:, 0] + 1e-6 * len(eye) * eye.mean(0)
    return torch.linalg.solve(normal, target)
