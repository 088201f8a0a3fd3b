"""From the frame of the input poses to the one that a user wants: another up axis, another scale, a named unit."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from nerf.geometry.cameras import Cameras
from nerf.geometry.origin import NO_ORIGIN, Origin
from nerf.geometry.scale import METRES, Scale


@dataclass(frozen=True)
class Placement:
    """A rotation and a scale about the origin of the input's frame.

    Points and cameras are relative to an origin of their own before and after: what writes them adds `origin`.
    """

    turn: Tensor  # (3, 3), the rotation
    scale: float
    unit: str  # what lengths are in afterwards; "" = scene units
    origin: Origin = NO_ORIGIN  # what points are relative to afterwards, in the new frame
    metres: float | None = None  # of a length afterwards; None = nobody knows
    up: Tensor | None = None  # (3,), which way is up afterwards; None = it is as the user asked for

    def points(self, point: Tensor) -> Tensor:
        """Returns points (N, 3) in the new frame, relative to `origin`."""
        return self.scale * point @ self.turn.T

    def directions(self, direction: Tensor) -> Tensor:
        """Returns unit vectors (N, 3) in the new frame."""
        return direction @ self.turn.T

    def cameras(self, cameras: Cameras) -> Cameras:
        """Returns the cameras in the new frame."""
        pose = cameras.world_from_camera
        turned = torch.cat([self.turn @ pose[:, :, :3], self.points(pose[:, :, 3])[:, :, None]], dim=2)
        return replace(cameras, world_from_camera=turned, origin=self.origin)

    @property
    def y_up(self) -> Tensor:
        """(3, 3) float64: the rotation by which y is up, for formats that want it so, unless the user said what is."""
        return torch.eye(3, dtype=torch.float64) if self.up is None else _turn("y", self.up)

    @property
    def gltf(self) -> Tensor:
        """(4, 4) float64: from points relative to `origin` to the space of glTF, which is in metres and has y up."""
        matrix = torch.eye(4, dtype=torch.float64)
        matrix[:3, :3] = (self.metres or 1.0) * self.y_up
        matrix[:3, 3] = matrix[:3, :3] @ torch.tensor(self.origin, dtype=torch.float64)
        return matrix

    @property
    def words(self) -> str:
        """The unit of lengths and their frame, for a message."""
        same = self.scale == 1 and torch.equal(self.turn, torch.eye(3))
        frame = "in the frame of the input poses" if same else f"turned and scaled by {self.scale:g}"
        return f"{self.unit or 'scene units'}, {frame}"


NOWHERE = Placement(torch.eye(3), 1.0, "")  # where nothing is moved, and nothing is known


def placement(
    up: str,
    scene_up: Tensor,
    scale: float | None = None,
    unit: str = "",
    origin: Origin = NO_ORIGIN,
    known: Scale | None = None,
) -> Placement:
    """Returns the placement that turns the scene's up direction to a signed axis, by the smallest rotation.

    Args:
        up: the axis, as "z" or "-y"; "" = no rotation.
        scene_up: (3,), which way is up in the frame of the input poses.
        scale: of lengths; None = to `unit`, if it is known how long a scene unit is, else 1.
        unit: of lengths afterwards; "" = scene units.
        origin: what points are relative to before.
        known: how long a scene unit is.
    """
    if scale is None:
        scale = known.metres / METRES[unit] if known and unit else 1.0
    metres = METRES[unit] if unit else known.metres / scale if known else None
    turn = torch.eye(3, dtype=torch.float64) if not up else _turn(up, scene_up)
    if origin != NO_ORIGIN:
        x, y, z = (scale * (turn @ torch.tensor(origin, dtype=torch.float64))).tolist()
        origin = (x, y, z)
    return Placement(turn.float(), scale, unit, origin, metres, None if up else scene_up)


def _turn(up: str, scene_up: Tensor) -> Tensor:
    """Returns the smallest rotation (3, 3) float64 from a direction to a signed axis."""

    target = torch.zeros(3, dtype=torch.float64)
    target["xyz".index(up[-1])] = -1.0 if up[0] == "-" else 1.0
    source = torch.nn.functional.normalize(scene_up.double(), dim=0)
    across = torch.linalg.cross(source, target)
    along = (source @ target).item()
    identity = torch.eye(3).double()

    if along < -1 + 1e-9:  # upside down: half a turn about any axis across
        axis = torch.nn.functional.normalize(torch.linalg.cross(source, identity[source.abs().argmin()]), dim=0)
        return 2 * axis[:, None] * axis - identity

    # Rodrigues' formula with the angle between the two.
    x, y, z = across.tolist()
    skew = torch.tensor([[0, -z, y], [z, 0, -x], [-y, x, 0]], dtype=torch.float64)
    return identity + skew + skew @ skew / (1 + along)
