"""Where float32 begins to count: an origin near the cameras, for inputs that lie far from their own.

Map coordinates are millions of metres, of which single precision keeps every half. Poses so far away are read as
float64 and kept relative to an `Origin`; what is written gets it back in float64. Others keep the origin they have.
"""

from __future__ import annotations

import math

import numpy
import torch
from torch import Tensor

Origin = tuple[float, float, float]  # in the frame of the input poses, scene units

NO_ORIGIN: Origin = (0.0, 0.0, 0.0)
FAR_AWAY = 256.0  # times the cameras' spread from the origin: float32 then keeps 1 part in 32 thousand of the spread
ROUNDED = 1e-12  # of the coordinates: a spread below it is what float64 rounds away, and no spread


def near_origin(poses: numpy.ndarray) -> tuple[Tensor, Origin]:
    """Returns poses (F, 3, 4) as float32 relative to an origin, and that origin.

    It is `NO_ORIGIN` unless they are far from that.

    poses: (F, 3, 4) float64, finite, in the frame of the input.
    """
    eye = poses[:, :, 3]
    middle = eye.mean(0)
    spread = float(numpy.abs(eye - middle).max())
    far = float(numpy.abs(eye).max())
    if spread <= ROUNDED * far:
        middle = eye[0]
        spread = 0.0
    # Cameras in one place have no spread: a unit stands for it.
    if far <= FAR_AWAY * (spread or 1.0):
        return torch.from_numpy(poses.astype(numpy.float32, order="C")), NO_ORIGIN

    if spread > 0:  # a round number says more to a reader, and costs nothing
        unit = 10.0 ** math.floor(math.log10(spread))
        middle = numpy.round(middle / unit) * unit
    x, y, z = middle.tolist()
    near = poses.copy()
    near[:, :, 3] -= (x, y, z)
    return torch.from_numpy(near.astype(numpy.float32, order="C")), (x, y, z)


def relative(point: Tensor, origin: Origin) -> Tensor:
    """Returns points (..., 3) of the input's frame as float32 relative to an origin."""
    return (point.double() - torch.tensor(origin, dtype=torch.float64)).float()


def absolute(point: Tensor, origin: Origin) -> Tensor:
    """Returns points (..., 3) in the input's frame: as they are where there is no origin, else float64."""
    return point if origin == NO_ORIGIN else point.double() + torch.tensor(origin, dtype=torch.float64)


def absolute_poses(poses: Tensor, origin: Origin) -> Tensor:
    """Returns poses (..., 3, 4) in the input's frame, likewise."""
    if origin == NO_ORIGIN:
        return poses
    return torch.cat([poses[..., :3].double(), absolute(poses[..., 3], origin)[..., None]], dim=-1)
