"""Computed tomography: rays of a scan, their line integrals through a field, photon noise.

Attenuation is relative to water (air 0, water 1), so that a line integral is in mm of water: mu = 1 + HU / 1000. The
scanner turns about the third axis of the volume through the voxel (X // 2, Y // 2, (Z - 1) / 2), as scikit-image has
it: at angle a rays run along (cos a, sin a, 0) and detectors are ordered along (-sin a, cos a, 0); lengths are in mm
from that axis. A parallel or fan beam measures each slice for itself, a cone beam has rows of detectors.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy
import torch
from torch import Tensor

from nerf.errors import InputError, nearest

BEAMS = ("parallel", "fan", "cone")
WATER = 0.0195  # attenuation of water at 70 keV, per mm (NIST XCOM)
SOURCE_DISTANCE = 3.0  # of a fan's or cone's source from the axis, in radii of what is scanned


def attenuation(hounsfield: Tensor) -> Tensor:
    """Returns attenuation relative to water, at least 0, of Hounsfield units."""
    return (1 + hounsfield / 1000).clamp(min=0)


def hounsfield(attenuation: Tensor) -> Tensor:
    """Returns Hounsfield units of attenuation relative to water."""
    return 1000 * (attenuation - 1)


@dataclass(frozen=True)
class Scan:
    """Which rays are measured."""

    beam: str  # of BEAMS
    angles: Tensor  # (V,) float32, radians
    shape: tuple[int, int, int]  # voxels (X, Y, Z) of what is scanned
    spacing: tuple[float, float, float]  # of voxels, mm
    detectors: int  # D, in a row, odd; one voxel apart, seen at the axis

    @property
    def radius(self) -> float:
        """The radius, mm, of the circle that all voxels of a slice lie in."""
        return (self.detectors // 2) * self.pitch

    @property
    def pitch(self) -> float:
        """The distance of detectors, mm, seen at the axis."""
        return min(self.spacing[:2])

    @property
    def rows(self) -> int:
        """How many rows of detectors a cone beam has, or slices."""
        return self.shape[2]

    def rays(self, views: Tensor) -> tuple[Tensor, Tensor]:
        """Returns origins and unit directions (N, D, K, 3) of the rays of N views, mm.

        K is 1 for parallel and fan beams, whose rays lie at height 0 and are the same for every slice. The origin is
        where a ray passes the axis nearest, or for fan and cone beams in the plane of the axis.
        """
        angle = self.angles[views]
        along = torch.stack([angle.cos(), angle.sin(), torch.zeros_like(angle)], -1)[:, None, None]
        across = torch.stack([-angle.sin(), angle.cos(), torch.zeros_like(angle)], -1)[:, None, None]

        position = (torch.arange(self.detectors) - self.detectors // 2) * self.pitch
        origin = across * position[:, None, None]
        if self.beam == "cone":
            height = (torch.arange(self.rows) - (self.rows - 1) / 2) * self.spacing[2]
            origin = origin + height[:, None] * torch.tensor([0.0, 0.0, 1.0])
        if self.beam == "parallel":
            return origin, along.expand_as(origin)

        direction = origin + along * SOURCE_DISTANCE * self.radius
        return origin, direction / direction.norm(dim=-1, keepdim=True)


def scan_of(shape: tuple[int, int, int], spacing: numpy.ndarray, beam: str, n_views: int) -> Scan:
    """Returns a scan of a volume by views spread evenly over half a turn (parallel) or a whole one."""
    x, y, z = (float(step) for step in spacing)
    corner = math.hypot((shape[0] - shape[0] // 2) * x, (shape[1] - shape[1] // 2) * y)
    half = math.ceil(corner / min(x, y))
    turn = math.pi if beam == "parallel" else 2 * math.pi
    return Scan(beam, torch.arange(n_views) * (turn / n_views), shape, (x, y, z), 2 * half + 1)


def line_integrals(scan: Scan, voxels: Tensor, views: Tensor, samples_per_voxel: float) -> Tensor:
    """Returns the line integrals (N, D, Z) through the multilinear interpolant of a field's values at the voxels.

    Args:
        voxels: (X, Y, Z), values of the field at the voxels' centres; 0 outside. Each voxel is crossed by many rays:
            asking the field there once is cheaper, by the number of views, than along every ray.
        views: (N,) which views.
        samples_per_voxel: along a ray.

    Differentiable in `voxels`. Unit: that of the voxels times mm.
    """
    index, step = _samples(scan, views, samples_per_voxel)
    normalised = index / (torch.tensor(scan.shape) - 1).clamp(min=1) * 2 - 1  # as grid_sample has it
    n_views = len(views)
    n_samples = index.shape[3]

    if scan.beam == "cone":
        grid = normalised.reshape(1, n_views, -1, n_samples, 3).flip(-1)
        values = torch.nn.functional.grid_sample(voxels[None, None], grid, align_corners=True)
        return values.sum(-1).view(n_views, scan.detectors, scan.rows) * step

    # The rays of all slices are the same: slices are the channels of one picture.
    grid = normalised[:, :, 0, :, :2].reshape(1, -1, n_samples, 2).flip(-1)
    values = torch.nn.functional.grid_sample(voxels.permute(2, 0, 1)[None], grid, align_corners=True)
    return values.sum(-1)[0].T.reshape(n_views, scan.detectors, scan.rows) * step


def _samples(scan: Scan, views: Tensor, samples_per_voxel: float) -> tuple[Tensor, float]:
    """Returns where rays are sampled (N, D, K, S, 3), in voxels' indices, and the distance of samples, mm."""
    origin, direction = scan.rays(views)
    depth = scan.radius
    if scan.beam == "cone":
        depth = math.hypot(depth, scan.rows * scan.spacing[2])

    step = scan.pitch / samples_per_voxel
    n_samples = 2 * math.ceil(depth / step)
    t = (torch.arange(n_samples) - (n_samples - 1) / 2) * step

    axis = torch.tensor([scan.shape[0] // 2, scan.shape[1] // 2, (scan.rows - 1) / 2])
    along = origin[..., None, :] + t[:, None] * direction[..., None, :]
    return along / torch.tensor(scan.spacing) + axis, step


class SystemMatrix:
    """The same line integrals of all parallel or fan views, as one sparse matrix: ten times faster, again and again.

    Called with voxels (X, Y, K), K slices, it returns (V, D, K); differentiable in the voxels.
    """

    def __init__(self, scan: Scan, samples_per_voxel: float) -> None:
        from scipy.sparse import csr_matrix, vstack

        self.scan = scan
        columns = scan.shape[0] * scan.shape[1]
        parts = []
        for view in torch.arange(len(scan.angles)).split(8):
            samples, step = _samples(scan, view, samples_per_voxel)
            index = samples[:, :, 0, :, :2].reshape(-1, samples.shape[3], 2)
            row = torch.arange(len(index))[:, None].expand(index.shape[:2])

            # Bilinear weights of the four voxels around each sample.
            lower = index.floor()
            for corner in ((0, 0), (0, 1), (1, 0), (1, 1)):
                vertex = lower + torch.tensor(corner)
                weight = (1 - (index - vertex).abs()).prod(-1) * step
                inside = ((vertex >= 0) & (vertex < torch.tensor(scan.shape[:2]))).all(-1)
                x, y = vertex[inside].long().unbind(-1)
                entries = (weight[inside].numpy(), (row[inside].numpy(), (x * scan.shape[1] + y).numpy()))
                parts.append(csr_matrix(entries, shape=(len(index), columns)))

        # The four corners of a block of rays add up; blocks follow each other.
        matrix = vstack([sum(parts[first : first + 4]) for first in range(0, len(parts), 4)]).tocsr()
        self._forth = matrix
        self._back = matrix.T.tocsr()

    def __call__(self, voxels: Tensor) -> Tensor:
        found = _Product.apply(voxels.reshape(-1, voxels.shape[2]), self._forth, self._back)
        return found.view(len(self.scan.angles), self.scan.detectors, voxels.shape[2])


class _Product(torch.autograd.Function):
    """A sparse matrix times (N, K), and the gradient by its transpose."""

    @staticmethod
    def forward(ctx: Any, value: Tensor, matrix: Any, transpose: Any) -> Tensor:
        ctx.transpose = transpose
        return torch.from_numpy(matrix @ value.numpy())

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(  # pyright: ignore[reportIncompatibleMethodOverride]  # the decorator's type loses the arguments' names
        ctx: Any, *grad_outputs: Tensor
    ) -> tuple[Tensor, None, None]:
        (grad,) = grad_outputs
        return torch.from_numpy(ctx.transpose @ grad.contiguous().numpy()), None, None


def with_photon_noise(sinogram: Tensor, photons: float, random: torch.Generator) -> Tensor:
    """Returns line integrals (mm of water) as measured by so many photons a ray: Poisson counts (Beer-Lambert).

    A ray that no photon came through counts as one, the largest integral that can be told.
    """
    counts = torch.poisson(photons * torch.exp(-WATER * sinogram.double()), generator=random)
    return (-(counts.clamp(min=1) / photons).log() / WATER).to(sinogram.dtype)


def ray_weights(sinogram: Tensor, photons: float) -> Tensor:
    """Returns the inverse variances of measured line integrals, largest 1; all 1 without noise.

    Source: Sauer and Bouman 1993, the quadratic approximation of the Poisson likelihood.
    """
    if photons == 0:
        return torch.ones_like(sinogram)
    weight = 1 / noise_variance(sinogram, photons)
    return weight / weight.max()


def noise_variance(sinogram: Tensor, photons: float) -> Tensor:
    """Returns the variances (mm of water)^2 of line integrals measured by so many photons a ray, to first order."""
    return torch.exp(WATER * sinogram) / (photons * WATER**2)


def check_beam(beam: str, n_views: int) -> None:
    """Raises InputError if a scan cannot be made so."""
    if beam not in BEAMS:
        raise InputError(f'"{beam}" is not a beam{nearest(beam, BEAMS)}')
    if not 2 <= n_views <= 4096:
        raise InputError(f"{n_views} views; expected 2 to 4096")
