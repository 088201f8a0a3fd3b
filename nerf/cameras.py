"""Cameras: pixel -> ray and back.

Axes of a camera: x to the right, y down, z forward (OpenCV). Pixel (column, row) covers [column, column + 1) x
[row, row + 1), so its centre is at +0.5. ``world_from_camera`` is a (3, 4) matrix [R | c]: rotation, centre.
The world is the frame of the input poses; lengths are scene units.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Rays:
    """Half-lines in the world.

    origin: (R, 3) float32, scene units. direction: (R, 3) float32, of unit length.
    """

    origin: Tensor
    direction: Tensor

    def __len__(self) -> int:
        return self.origin.shape[0]

    def __getitem__(self, which: slice | Tensor) -> Rays:
        return Rays(self.origin[which], self.direction[which])


@dataclass(frozen=True)
class Cameras:
    """Pinhole cameras that share one picture size.

    world_from_camera: (F, 3, 4) float32. focal: (F, 2) float32, pixels (x, y). center: (F, 2) float32, the
    principal point, pixels. width, height: pixels.
    """

    world_from_camera: Tensor
    focal: Tensor
    center: Tensor
    width: int
    height: int

    def __len__(self) -> int:
        return self.world_from_camera.shape[0]

    def __getitem__(self, which: slice) -> Cameras:
        return Cameras(self.world_from_camera[which], self.focal[which], self.center[which], self.width, self.height)

    def rays(self, frame: Tensor, column: Tensor, row: Tensor) -> Rays:
        """Returns the rays through pixel centres; frame, column, row: (R,) int64."""
        pixel = torch.stack([column, row], dim=-1) + 0.5
        slope = (pixel - self.center[frame]) / self.focal[frame]
        in_camera = torch.cat([slope, torch.ones_like(slope[:, :1])], dim=-1)
        pose = self.world_from_camera[frame]
        direction = torch.einsum("rij,rj->ri", pose[:, :, :3], in_camera)
        return Rays(pose[:, :, 3].contiguous(), torch.nn.functional.normalize(direction, dim=-1))

    def image_rays(self, frame: int, start: int = 0, stop: int | None = None) -> Rays:
        """Returns the rays of a picture's pixels from number `start` to `stop`, counted row by row; all by default."""
        n_pixels = self.height * self.width
        pixel = torch.arange(start, n_pixels if stop is None else min(stop, n_pixels))
        return self.rays(torch.full_like(pixel, frame), pixel % self.width, pixel // self.width)

    def project(self, frame: int, point: Tensor) -> tuple[Tensor, Tensor]:
        """Returns pixel positions (N, 2) and depths along the camera's z axis (N,) of world points (N, 3).

        A position means something only where the depth is positive.
        """
        pose = self.world_from_camera[frame]
        in_camera = (point - pose[:, 3]) @ pose[:, :3]
        depth = in_camera[:, 2]
        return in_camera[:, :2] / depth[:, None] * self.focal[frame] + self.center[frame], depth

    def resized(self, width: int, height: int) -> Cameras:
        """Returns the same cameras with pictures of another size: the height is kept whole, the width cut or widened.

        Pixels stay square; the principal point keeps its place relative to the middle of the picture.
        """
        factor = height / self.height
        offset = self.center - torch.tensor([self.width / 2, self.height / 2])
        center = offset * factor + torch.tensor([width / 2, height / 2])
        return Cameras(self.world_from_camera, self.focal * factor, center, width, height)


def look_at(eye: Tensor, target: Tensor, up: Tensor) -> Tensor:
    """Returns world_from_camera (3, 4) of a camera at `eye` (3,) that looks at `target` (3,) with `up` (3,) upwards."""
    forward = torch.nn.functional.normalize(target - eye, dim=0)
    right = torch.nn.functional.normalize(torch.linalg.cross(forward, up), dim=0)
    down = torch.linalg.cross(forward, right)
    return torch.stack([right, down, forward, eye], dim=1)
