"""Cameras: pixel -> ray and back.

Axes of a camera: x to the right, y down, z forward (OpenCV). Pixel (column, row) covers
[column, column + 1) x [row, row + 1), so its centre is at +0.5. ``world_from_camera`` is a (3, 4)
matrix [R | c]: rotation, centre. The world is the frame of the input poses, but for an origin where those are far from
their own; lengths are scene units.
How a lens bends rays: `nerf.geometry.lenses`.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from nerf.errors import InputError
from nerf.geometry.lenses import TERMS, distort, normalized_from_point, ray_from_normalized, undistort
from nerf.geometry.origin import NO_ORIGIN, Origin, absolute_poses, relative

NOT_GIVEN = torch.empty(0)
MOST_PIXELS = 16384  # along a side of a picture
LARGEST = 1e15  # of coordinates and of slopes of rays: their squares are finite in single precision, sums of them too
NOT_ORTHONORMAL = 1e-3  # by which R R^T may miss the identity


@dataclass(frozen=True)
class Rays:
    """Half-lines in the world."""

    origin: Tensor  # (R, 3) float32, scene units
    direction: Tensor  # (R, 3) float32, of unit length

    def __len__(self) -> int:
        return self.origin.shape[0]

    def __getitem__(self, which: slice | Tensor) -> Rays:
        return Rays(self.origin[which], self.direction[which])


@dataclass(frozen=True)
class Cameras:
    """F cameras with their lenses and the sizes of their pictures."""

    world_from_camera: Tensor  # (F, 3, 4) float32
    focal: Tensor  # (F, 2) float32, pixels (x, y)
    center: Tensor  # (F, 2) float32, the principal point, pixels
    width: int  # of the largest pictures, pixels
    height: int
    lens: Tensor = NOT_GIVEN  # (F, 12) float32, see `nerf.geometry.lenses`; pinholes if not given
    size: Tensor = NOT_GIVEN  # (F, 2) int64, width and height of each picture; the largest if not given
    origin: Origin = NO_ORIGIN  # what the poses are relative to, in the frame of the input

    def __post_init__(self) -> None:
        if self.world_from_camera.dim() != 3:
            raise InputError(f'cameras: "world_from_camera" has shape {tuple(self.world_from_camera.shape)}')
        if self.lens is NOT_GIVEN:
            object.__setattr__(self, "lens", torch.zeros(len(self), len(TERMS)))
        if self.size is NOT_GIVEN:
            object.__setattr__(self, "size", torch.tensor([[self.width, self.height]]).repeat(len(self), 1))
        _check(self)

    def __len__(self) -> int:
        return self.world_from_camera.shape[0]

    def __getitem__(self, which: slice | Tensor) -> Cameras:
        each = (self.world_from_camera, self.focal, self.center, self.lens, self.size)
        pose, focal, center, lens, size = (value[which] for value in each)
        return Cameras(pose, focal, center, self.width, self.height, lens, size, self.origin)

    def about(self, origin: Origin) -> Cameras:
        """Returns the same cameras with poses relative to another origin."""
        if origin == self.origin:
            return self
        pose = self.world_from_camera
        eye = relative(absolute_poses(pose, self.origin)[:, :, 3], origin)
        return replace(self, world_from_camera=torch.cat([pose[:, :, :3], eye[:, :, None]], dim=2), origin=origin)

    @property
    def pinhole(self) -> bool:
        """Whether no lens bends anything."""
        return not bool(self.lens.any())

    def rays(self, frame: Tensor | int, column: Tensor, row: Tensor) -> Rays:
        """Returns the rays through pixel centres; column, row: (R,) int64; frame: the same, or one for all."""
        pixel = torch.stack([column, row], dim=-1) + 0.5
        distorted = (pixel - self.center[frame]) / self.focal[frame]
        if self.pinhole:
            in_camera = torch.cat([distorted, torch.ones_like(distorted[:, :1])], dim=-1)
        else:
            lens = self.lens[frame]
            in_camera = ray_from_normalized(lens, undistort(lens, distorted))

        pose = self.world_from_camera[frame]
        turn = pose[..., :3]
        direction = in_camera @ turn.mT if turn.dim() == 2 else (turn @ in_camera[..., None]).squeeze(-1)
        origin = pose[..., 3].expand_as(direction).contiguous()
        return Rays(origin, torch.nn.functional.normalize(direction, dim=-1))

    def image_rays(self, frame: int, start: int = 0, stop: int | None = None) -> Rays:
        """Returns the rays of a picture's pixels from number `start` to `stop`, counted row by row; all by default."""
        width, height = self.size[frame].tolist()
        n_pixels = height * width
        pixel = torch.arange(start, n_pixels if stop is None else min(stop, n_pixels))
        return self.rays(frame, pixel % width, pixel // width)

    def project(self, frame: int, point: Tensor) -> tuple[Tensor, Tensor]:
        """Returns pixel positions (N, 2) and depths along the camera's z axis (N,) of world points (N, 3).

        A position means something only where the depth is positive or, for a fisheye, wherever the picture reaches.
        """
        pose = self.world_from_camera[frame]
        lens = self.lens[frame]
        in_camera = (point - pose[:, 3]) @ pose[:, :3]
        normalized = normalized_from_point(lens, in_camera)
        if lens.any():
            normalized = distort(lens, normalized)[0]
        return normalized * self.focal[frame] + self.center[frame], in_camera[:, 2]

    def shows(self, frame: int, pixel: Tensor, depth: Tensor) -> Tensor:
        """Returns whether projections, pixel (N, 2) and depth (N,), lie in front of a camera and in its picture."""
        return (depth > 0) & (pixel >= 0).all(dim=1) & (pixel < self.size[frame]).all(dim=1)

    def resized(self, width: int, height: int) -> Cameras:
        """Returns the same cameras with pictures of another size: the height is kept whole, the width cut or widened.

        Pixels stay square. The principal point keeps its offset from the middle of the picture, scaled.
        """
        factor = height / self.size[:, 1:]
        offset = self.center - self.size / 2
        center = offset * factor + torch.tensor([width / 2, height / 2])
        focal = self.focal * factor
        return Cameras(self.world_from_camera, focal, center, width, height, self.lens, origin=self.origin)


def _check(cameras: Cameras) -> None:
    """Refuses cameras that are none, wherever they come from.

    Raises:
        InputError: a tensor has another shape or type than it should, a number is not finite, a focal length is not
            positive, a picture too small or too large, or a pose no rotation.
    """
    count = len(cameras)
    shapes = {"world_from_camera": (3, 4), "focal": (2,), "center": (2,), "lens": (len(TERMS),), "size": (2,)}
    for name, shape in shapes.items():
        value: Tensor = getattr(cameras, name)
        whole = name == "size"
        typed = value.dtype == torch.int64 if whole else value.is_floating_point()
        if value.shape != (count, *shape) or not typed:
            raise InputError(
                f'cameras: "{name}" is {value.dtype} of shape {tuple(value.shape)}, expected '
                f"{'whole numbers' if whole else 'floats'} of shape {(count, *shape)}"
            )
        if not value.isfinite().all():
            frame = int((~value.isfinite().view(count, -1).all(dim=1)).nonzero()[0])
            raise InputError(f'camera {frame}: "{name}" has a number that is not finite')

    largest = (cameras.width, cameras.height)
    sides = torch.cat([cameras.size.flatten(), torch.tensor(largest)])
    if not 1 <= int(sides.min()) <= int(sides.max()) <= MOST_PIXELS or (cameras.size > torch.tensor(largest)).any():
        raise InputError(f"cameras: sizes of pictures are from 1 to {MOST_PIXELS} pixels, and {largest} is the largest")
    if not (cameras.focal > 0).all():
        frame = int((cameras.focal <= 0).any(dim=1).nonzero()[0])
        raise InputError(f"camera {frame}: focal length {cameras.focal[frame].tolist()} is not positive")

    reach = torch.maximum(cameras.center.abs(), (cameras.size - cameras.center).abs()) / cameras.focal
    reach = torch.maximum(reach.amax(dim=1), cameras.world_from_camera[:, :, 3].abs().amax(dim=1))
    if not (reach < LARGEST).all():
        frame = int((~(reach < LARGEST)).nonzero()[0])
        raise InputError(f"camera {frame}: its place or the slope of its rays is beyond {LARGEST:g}")

    _check_lenses(cameras)
    turn = cameras.world_from_camera[:, :, :3].detach()
    off = (turn @ turn.mT - torch.eye(3, dtype=turn.dtype)).abs().amax(dim=(1, 2))
    wrong = ~(off <= NOT_ORTHONORMAL) | (torch.linalg.det(turn) < 0)
    if wrong.any():
        raise InputError(f"camera {int(wrong.nonzero()[0])}: its pose is no rotation (orthonormal, right-handed)")


def _check_lenses(cameras: Cameras) -> None:
    """Refuses lenses whose terms are so large that rays of a picture are no numbers.

    Raises:
        InputError: a lens is such a one.
    """
    if cameras.pinhole or len(cameras) == 0:
        return
    part = torch.cartesian_prod(torch.linspace(0, 1, 5), torch.linspace(0, 1, 5))
    pixel = part * cameras.size[:, None]
    drawn = (pixel - cameras.center[:, None]) / cameras.focal[:, None]
    lens = cameras.lens.detach()[:, None].expand(-1, len(part), -1)
    rays = ray_from_normalized(lens, undistort(lens, drawn.detach()))
    bad = ~(rays.norm(dim=2) < LARGEST).all(dim=1)
    if bad.any():
        frame = int(bad.nonzero()[0])
        terms = ", ".join(f"{term} {value:g}" for term, value in zip(TERMS, lens[frame, 0].tolist()) if value)
        raise InputError(f"camera {frame}: its lens ({terms}) bends rays to what is no direction; correct its terms")


def look_at(eye: Tensor, target: Tensor, up: Tensor) -> Tensor:
    """Returns world_from_camera (3, 4) of a camera at `eye` (3,) that looks at `target` (3,) with `up` (3,) upwards."""
    forward = torch.nn.functional.normalize(target - eye, dim=0)
    right = torch.nn.functional.normalize(torch.linalg.cross(forward, up), dim=0)
    down = torch.linalg.cross(forward, right)
    return torch.stack([right, down, forward, eye], dim=1)
