"""Gaussian splats: a cloud of them, what a camera sees of it, and how it is moved."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields

import torch
from torch import Tensor

from nerf.geometry.cameras import Cameras
from nerf.ops import splats as ops
from nerf.ops.autograd import fastest
from nerf.ops.spherical_harmonics import spherical_harmonics

FLAT_DC = 0.28209479177387814  # the harmonic of degree 0


@dataclass(frozen=True)
class Splats:
    """N Gaussians, as `nerf.ops.splats` takes them: the names and the forms of Kerbl et al. 2023."""

    mean: Tensor  # (N, 3) float32, scene units
    log_scale: Tensor  # (N, 3), of the standard deviations along the splat's own axes
    turn: Tensor  # (N, 4), from its axes to the world's: quaternions w, x, y, z of any length
    logit: Tensor  # (N,), of the opacity in the middle
    harmonics: Tensor  # (N, D^2, 3), of the colour less 0.5, by the direction from the camera

    def __len__(self) -> int:
        return len(self.mean)

    def __getitem__(self, which: Tensor) -> Splats:
        return Splats(*(tensor[which] for tensor in self.tensors()))

    def tensors(self) -> tuple[Tensor, ...]:
        """Returns the fields in their order."""
        return tuple(getattr(self, field.name) for field in fields(self))

    @property
    def degree(self) -> int:
        """Of the harmonics: D, one more than the highest l."""
        return math.isqrt(self.harmonics.shape[1])

    @property
    def opacity(self) -> Tensor:
        """(N,), in the middle."""
        return self.logit.sigmoid()

    @property
    def rgb(self) -> Tensor:
        """(N, 3), the colour in the mean over all directions, in [0, 1]."""
        return (0.5 + FLAT_DC * self.harmonics[:, 0]).clamp(0, 1)

    def seen(self, cameras: Cameras, frame: int, near: float, antialiased: bool = False) -> Tensor:
        """Returns what a camera, as a pinhole, sees: (H, W, 4), colour over black and opacity.

        near: scene units along its axis, before which it sees nothing. antialiased: see `nerf.ops.splats`.
        """
        return ops.splats(self.tensors(), cameras, frame, near, antialiased, fastest())

    def moved(self, turn: Tensor, scale: float = 1.0) -> Splats:
        """Returns the splats turned by a rotation (3, 3) and scaled about the origin; so are what cameras see of them.

        Harmonics of a turned direction are sums of those of the direction, within a degree.
        """
        from scipy.spatial.transform import Rotation

        turn = turn.double()
        direction = torch.nn.functional.normalize(
            torch.randn(64, 3, generator=torch.Generator().manual_seed(0)).double()
        )
        before = spherical_harmonics(direction, self.degree)
        after = spherical_harmonics(direction @ turn.T, self.degree)
        mixed = torch.linalg.lstsq(after, before).solution.float()
        turned = Rotation.from_matrix(turn.numpy()) * Rotation.from_quat(self.turn[:, [1, 2, 3, 0]].numpy())
        return Splats(
            scale * self.mean @ turn.float().T,
            self.log_scale + math.log(scale),
            torch.from_numpy(turned.as_quat()[:, [3, 0, 1, 2]]).float(),
            self.logit,
            torch.einsum("ij,njc->nic", mixed, self.harmonics),
        )
