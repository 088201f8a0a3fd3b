"""Signed distances of a shape: a closed mesh, or points with normals -> a field that is negative inside.

From a mesh, the distances themselves are learned. From points alone: 0 on them, their normals as gradients, and
gradients of length 1 everywhere (Gropp et al. 2020, implicit geometric regularisation).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy
import torch
from torch import Tensor

from nerf.errors import InputError
from nerf.fields.coordinate import SignalField
from nerf.files import replacing
from nerf.meshing.mesh import Mesh, is_watertight
from nerf.meshing.mesh_files import FORMATS, check_mesh_file, write_mesh
from nerf.meshing.sphere_tracing import shape_picture, surface_mesh
from nerf.seeding import generator
from nerf.signals.files.shapes import Shape, Surface, intersection_over_union, read_shape
from nerf.signals.settings import FitSettings
from nerf.signals.signal import DecodeRequest, Signal

FIRST_RADIUS = 0.35  # of the ball that the field is at first: its sign is right far inside and far outside
NEAREST = 0.005  # distance, sides of the cube, below which errors no longer weigh more: there the sign is decided
POOL = 2**20  # points whose distances are found beforehand
OFF_POINTS = 0.02  # standard deviation, sides of the cube, of places beside points without distances
# Weights of what is asked of points alone; the last keeps zeros away from where no point is (Sitzmann et al. 2020).
NORMALS, EIKONAL, ELSEWHERE, SHARPNESS = 0.03, 0.01, 0.02, 50.0
HELD_OUT, SPREAD = 1_000_000, 200_000  # points that score inside and outside, and surfaces
NEAR = (0.01,)  # standard deviation, sides of the cube, of the half of them near the surface
RESOLUTION, PICTURE = 192, (480, 480)  # cells of the mesh's lattice and pixels, unless asked


def distance(field: Callable[[Tensor], Tensor], position: Tensor) -> Tensor:
    """Returns signed distances (S,), sides of the cube, at positions (S, 3): a ball's, which the field corrects."""
    # The epsilon keeps the gradient finite in the middle.
    ball = ((position - 0.5).square().sum(1) + 1e-12).sqrt() - FIRST_RADIUS
    return ball + field(position)[:, 0]


def gradient(field: SignalField, position: Tensor) -> tuple[Tensor, Tensor]:
    """Returns distances (S,) and their gradients (S, 3) by positions (S, 3), to be differentiated again."""
    position = position.detach().requires_grad_(True)
    value = distance(field, position)
    (slope,) = torch.autograd.grad(value.sum(), position, create_graph=True)
    return value, slope


class SignedDistance(Signal):
    """A shape whose signed distances a field learns."""

    suffix, options = ".ply", ("resolution", "size")
    inputs, outputs = 3, 1

    def __init__(self, side: float, corner: list[float], shape: Shape | None = None, seed: int = 0, pool: int = 0):
        """side, corner: of the cube, in units of the file. pool: points drawn beforehand near a closed mesh."""
        self.side, self.corner, self.shape = side, numpy.array(corner, numpy.float64), shape
        self.closed = shape is not None and len(shape.corners) > 0
        self.samples = 0
        if self.closed:
            self.surface = Surface(shape.corners)
            self.samples = pool or POOL
            self.points = self.surface.samples(self.samples, generator(seed, "pool"))
            self.truth = self.surface.distance(self.points)
        elif shape is not None:
            self.points, self.normals = torch.from_numpy(shape.points), torch.from_numpy(shape.normals)
            self.samples = len(self.points)

    @classmethod
    def read(cls, file: Path, settings: FitSettings) -> SignedDistance:
        """Returns the shape in a file, see `nerf.signals.files.shapes.read_shape`."""
        shape = read_shape(file)
        return cls(shape.side, shape.corner.tolist(), shape, settings.train.seed)

    @classmethod
    def recall(cls, record: dict[str, Any], settings: FitSettings) -> SignedDistance:
        """Returns where a fitted shape lies."""
        return cls(float(record["side"]), [float(number) for number in record["corner"]])

    def record(self) -> dict[str, Any]:
        """Returns where the shape lies."""
        return {"side": self.side, "corner": self.corner.tolist()}

    def describe(self) -> str:
        """Returns what was read, in words."""
        if self.closed:
            return f"{len(self.shape.corners)} triangles, closed; {self.samples} points with exact signed distances"
        return f"{self.samples} points with normals, no distances: their surface is found (eikonal loss)"

    def loss(self, field: SignalField, n_samples: int, random: torch.Generator) -> tuple[Tensor, float]:
        """Returns the mean relative error (Müller et al. 2022, section 5.2) and the mean squared one."""
        if not self.closed:
            return self._loss_of_points(field, max(1, n_samples // 8), random)
        row = torch.randint(self.samples, (n_samples,), generator=random)
        truth = self.truth[row]
        error = distance(field, self.points[row]) - truth
        relative = error.abs() / (truth.abs() + NEAREST)
        return relative.mean(), error.detach().square().mean().item()

    def _loss_of_points(self, field: SignalField, number: int, random: torch.Generator) -> tuple[Tensor, float]:
        row = torch.randint(self.samples, (number,), generator=random)
        beside = self.points[row] + OFF_POINTS * torch.randn(number, 3, generator=random)
        anywhere = torch.rand(number, 3, generator=random)
        value, slope = gradient(field, self.points[row])
        away, away_slope = gradient(field, torch.cat([beside.clamp(0, 1), anywhere]))
        turned = ((slope - self.normals[row]).square().sum(1) + 1e-12).sqrt().mean()
        unit = (away_slope.norm(dim=1) - 1).square().mean()
        elsewhere = torch.exp(-SHARPNESS * away[number:].abs()).mean()
        loss = value.abs().mean() + NORMALS * turned + EIKONAL * unit + ELSEWHERE * elsewhere
        return loss, value.detach().square().mean().item()

    def evaluate(self, field: SignalField, held_out: int = 0, resolution: int = 0) -> dict[str, Any]:
        """Returns iou of points not trained on, half of them near the surface; chamfer_percent, of the diagonal.

        psnr is of the distances near the surface, against the cube's side. Points alone have no inside: their
        chamfer is from them to the mesh.
        """
        held_out, random = held_out or HELD_OUT, generator(0, "held out")
        mesh = self.mesh(field, resolution or RESOLUTION)
        ours = Surface(mesh.vertices[mesh.faces])
        if not self.closed:
            apart = ours.distance(self.points).abs()
            error = distance(field.values, self.points).square().mean().item()
            figures = {"chamfer_percent": 100 * apart.mean().item() / self.shape.diagonal}
        else:
            point, half = self.surface.samples(held_out, random, NEAR), held_out // 2
            found, truth = distance(field.values, point), self.surface.distance(point)
            error = (found - truth)[:half].square().mean().item()
            spread = min(SPREAD, held_out)
            apart = (
                self.surface.distance(ours.points(spread, random)),
                ours.distance(self.surface.points(spread, random)),
            )
            chamfer = sum(part.abs().mean().item() for part in apart) / 2
            figures = {
                "iou": intersection_over_union(found < 0, truth < 0),
                "iou_near": intersection_over_union(found[:half] < 0, truth[:half] < 0),
                "chamfer_percent": 100 * chamfer / self.shape.diagonal,
            }
        decibels = -10 * torch.tensor(max(error, 1e-20), dtype=torch.float64).log10().item()
        return {"psnr": decibels, **figures, "watertight": is_watertight(mesh)}

    def mesh(self, field: SignalField, resolution: int) -> Mesh:
        """Returns the surface of the field in the unit cube."""
        return surface_mesh(lambda point: distance(field.values, point), resolution)

    def export(self, field: SignalField, file: Path, request: DecodeRequest) -> str:
        """Writes the mesh in the frame of the shape's file, or a sphere-traced picture (.png)."""
        if file.suffix.lower() == ".png":
            return self._export_picture(field, file, request.size or PICTURE)
        if file.suffix.lower() not in FORMATS:
            raise InputError(f'{file}: "{file.suffix}" is not a mesh or a picture; use .png, {", ".join(FORMATS)}')
        check_mesh_file(file)
        mesh = self.mesh(field, request.resolution or RESOLUTION)
        places = (mesh.vertices.astype(numpy.float64) * self.side + self.corner).astype(numpy.float32)
        write_mesh(file, replace(mesh, vertices=places, rgb=numpy.full(places.shape, 200, numpy.uint8)))
        return f"{file}: {len(mesh.faces)} triangles, watertight: {is_watertight(mesh)}"

    def _export_picture(self, field: SignalField, file: Path, size: tuple[int, int]) -> str:
        from PIL import Image

        picture = shape_picture(lambda point: distance(field.values, point), size)
        with replacing(file) as partial:
            Image.fromarray(picture).save(partial)
        return f"{file}: {size[0]} x {size[1]} pixels, sphere-traced"
