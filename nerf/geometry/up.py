"""Which way is up, from what cameras and surfaces tell; a capture says it nowhere.

Whoever takes pictures walks about and looks up and down, but holds the camera level: its x axis stays across the
vertical or, where it is held sideways, its y axis. The direction that is most nearly across all of those is the
horizon's. A floor or a table below the cameras tells it independently.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from nerf.errors import InputError
from nerf.geometry.camera_rig import STEEP
from nerf.geometry.cameras import Cameras, look_at
from nerf.seeding import generator

SNAP = math.cos(math.radians(3))  # cosine above which an up direction is meant to be an axis of the file
LEVEL_DEGREES = 12.0  # root mean square tilt up to which cameras are said to be held level
CLEARER = 0.5  # times the tilt against the next best direction, above which that of the best tells no horizon
SIGNED = 0.3  # part of the cameras' mean y axis that says which end of a direction is up

FLOOR_DEGREES = (10.0, 25.0)  # a plane that leans farther from the horizon, or from the cameras' mean, is no floor
FLOOR_SLACK = 0.01  # of the cameras' distance: points this near to a plane lie in it
FLOOR_REACH = 2.0  # cameras' distances from what they look at, within which a floor is looked for
FLOOR_SHARE = 0.12  # of the points there that must lie in a floor
FLOOR_BELOW = 0.95  # of the cameras that must be above it
FLOOR_POINTS = 4000  # that are asked
FLOOR_TRIALS = 600  # planes through three points each
FLOOR_FITS = 3  # times that the best plane is fitted to its points


@dataclass(frozen=True)
class Up:
    """A direction, and what told it."""

    direction: Tensor  # (3,) float32 of unit length, in the frame of the input poses
    reason: str  # "the pictures' horizon", for a message
    sideways: bool = False  # whether the pictures lie on their side: the world's up is along their rows


def find_up(cameras: Cameras, floor: Tensor | None = None) -> Up:
    """Returns which way is up: a floor's normal (3,) if known, else the horizon of level cameras, else their mean."""
    if floor is not None:
        return pointing_up(cameras, floor, "the plane of a floor or table")
    horizon = _horizon(cameras)
    if horizon is not None:
        return pointing_up(cameras, horizon, "the pictures' horizon")
    return pointing_up(cameras, _mean_up(cameras), "the mean of the pictures' up")


def direction_of(text: str, what: str) -> Tensor:
    """Returns the direction (3,) that a user names: an axis, as "z" or "-y", or three numbers, as "0.1,0,1".

    what: the option or setting, for the error.

    Raises:
        InputError: it names none.
    """
    axis = re.fullmatch(r"([+-]?)([xyz])", text)
    if axis:
        named = torch.zeros(3)
        named["xyz".index(axis[2])] = -1.0 if axis[1] == "-" else 1.0
        return named
    try:
        return checked_direction([float(part) for part in text.split(",")], what)
    except ValueError:
        raise InputError(f'{what}: "{text}" is no direction; give an axis as z or -y, or numbers as 0.1,0,1') from None


def checked_direction(numbers: object, what: str) -> Tensor:
    """Returns three numbers as a direction (3,).

    Raises:
        InputError: they are none.
    """
    try:
        direction = torch.tensor(numbers, dtype=torch.float32)
    except (TypeError, ValueError, RuntimeError, OverflowError):
        direction = torch.empty(0)
    if direction.shape != (3,) or not direction.isfinite().all() or not direction.any():
        raise InputError(f"{what}: {str(numbers)[:80]} is no direction; expected three finite numbers, not all 0")
    return direction


def pointing_up(cameras: Cameras, direction: Tensor, reason: str) -> Up:
    """Returns a direction (3,) as up, snapped to an axis of the file near it; tells whether pictures lie sideways."""
    up = torch.nn.functional.normalize(direction.double(), dim=0)
    axis = up.abs().argmax()
    if SNAP < up[axis].abs() < 1:
        snapped = torch.zeros(3, dtype=torch.float64)
        snapped[axis] = up[axis].sign()
        up = snapped
        reason = f"{reason}, an axis of the file"

    along_rows = (cameras.world_from_camera[:, :, 0].double() @ up).abs().mean()
    along_columns = (cameras.world_from_camera[:, :, 1].double() @ up).abs().mean()
    return Up(up.float(), reason, bool(along_rows > along_columns))


def upright(cameras: Cameras, up: Up) -> Cameras:
    """Returns the cameras, without their lenses, turned by a quarter where their pictures lie on their side."""
    pose = cameras.world_from_camera
    if not up.sideways:
        return replace(cameras, lens=torch.zeros_like(cameras.lens))

    right, down, forward, eye = pose.unbind(2)
    turned = (right @ up.direction).mean().item()
    x, y = cameras.center.unbind(1)
    width, height = cameras.size.unbind(1)
    if turned > 0:  # up is to the right
        axes = [down, -right]
        center = torch.stack([y, width - x], dim=1)
    else:
        axes = [-down, right]
        center = torch.stack([height - y, x], dim=1)
    return replace(
        cameras,
        world_from_camera=torch.stack([*axes, forward, eye], dim=2),
        focal=cameras.focal.flip(1),
        center=center,
        width=cameras.height,
        height=cameras.width,
        lens=torch.zeros_like(cameras.lens),
        size=cameras.size.flip(1),
    )


def leveled(poses: Tensor, up: Tensor) -> Tensor:
    """Returns poses (K, 3, 4) turned about their optical axes so that `up` (3,) is upwards; steep ones are kept."""
    straight = torch.stack([look_at(pose[:, 3], pose[:, 3] + pose[:, 2], up) for pose in poses])
    steep = (poses[:, :, 2] @ up).abs() > STEEP
    return torch.where(steep[:, None, None], poses, straight)


def _mean_up(cameras: Cameras) -> Tensor:
    """Returns the mean upward direction (3,) of pictures, float64."""
    return torch.nn.functional.normalize(-cameras.world_from_camera[:, :, 1].double().mean(0), dim=0)


def _horizon(cameras: Cameras) -> Tensor | None:
    """Returns the direction (3,) that is across the rows (or columns) of level pictures; None if they are not level."""
    best = None
    clearest = CLEARER
    for held in (0, 1):  # upright, sideways
        across = cameras.world_from_camera[:, :, held].double()
        value, vector = torch.linalg.eigh(across.T @ across / len(across))
        tilt = value.clamp(0, 1).sqrt().asin()
        clear = (tilt[0] / tilt[1].clamp(min=1e-12)).item()
        if tilt[0] < math.radians(LEVEL_DEGREES) and clear < clearest:
            best = vector[:, 0]
            clearest = clear
    if best is None:
        return None

    # Its upper end: as the pictures are held or, sideways, against where cameras look, which is mostly down.
    along = -(cameras.world_from_camera[:, :, 1].double().mean(0) @ best)
    if along.abs() < SIGNED:
        along = -(cameras.world_from_camera[:, :, 2].double().mean(0) @ best)
    return best * (1.0 if along >= 0 else -1.0)


def floor_normal(cameras: Cameras, points: Tensor) -> Tensor | None:
    """Returns the normal (3,) of the plane below the cameras in which most surface points (N, 3) lie; None if few do.

    Planes through three points each are tried (RANSAC; Fischler and Bolles 1981), which lean little from what the
    cameras say.
    """
    if len(points) < 3:
        return None
    points = points.double()
    horizon = _horizon(cameras)
    guess = _mean_up(cameras) if horizon is None else horizon
    lean = math.cos(math.radians(FLOOR_DEGREES[horizon is None]))

    eye = cameras.world_from_camera[:, :, 3].double()
    middle = points.median(0).values
    distance = (eye - middle).norm(dim=1).median()
    near = points[(points - middle).norm(dim=1) < FLOOR_REACH * distance]
    draw = generator(0, "floor")
    if len(near) > FLOOR_POINTS:
        near = near[torch.randperm(len(near), generator=draw)[:FLOOR_POINTS]]
    if len(near) < 3:
        return None

    # Those that are nearly level, and below the cameras.
    corner = near[torch.randint(len(near), (FLOOR_TRIALS, 3), generator=draw)]
    normal = torch.linalg.cross(corner[:, 1] - corner[:, 0], corner[:, 2] - corner[:, 0])
    normal = torch.nn.functional.normalize(normal, dim=1)
    normal = normal * (normal @ guess).sign()[:, None]
    height = (normal * corner[:, 0]).sum(1)
    level = normal @ guess > lean
    below = (normal @ eye.T > height[:, None]).double().mean(1) >= FLOOR_BELOW
    if not (level & below).any():
        return None
    normal = normal[level & below]
    height = height[level & below]

    # The one with most points, then fitted to them.
    slack = FLOOR_SLACK * distance
    count = ((normal @ near.T - height[:, None]).abs() < slack).sum(1)
    best = normal[count.argmax()]
    at = height[count.argmax()]
    for _ in range(FLOOR_FITS):
        members = near[(near @ best - at).abs() < slack]
        center = members.mean(0)
        apart = members - center
        fitted = torch.linalg.eigh(apart.T @ apart)[1][:, 0]
        best = fitted * (1.0 if fitted @ guess >= 0 else -1.0)
        at = best @ center

    share = ((near @ best - at).abs() < slack).double().mean()
    return best if share >= FLOOR_SHARE and best @ guess > lean else None
