"""Signed distances of a shape: a closed mesh, or points with normals -> a field that is negative inside.

From a mesh, the distances themselves are learned. From points alone, what is learned is a field that is 0 on them, has
their normals as gradients there, and gradients of length 1 everywhere (Gropp et al. 2020, implicit geometric
regularisation).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import numpy
import torch
from torch import Tensor

from nerf.errors import InputError
from nerf.fields.coordinate import CoordinateField
from nerf.files import replacing
from nerf.geometry.origin import FAR_AWAY, NO_ORIGIN
from nerf.geometry.similarity import NOWHERE
from nerf.meshing.mesh import Mesh, is_watertight
from nerf.meshing.mesh_files import FORMATS, check_mesh_file, write_mesh
from nerf.meshing.sphere_tracing import shape_picture, surface_mesh
from nerf.seeding import generator
from nerf.signals.files.shapes import Shape, Surface, intersection_over_union, read_shape
from nerf.signals.settings import FitSettings, SignalDefaults
from nerf.signals.signal import DecodeRequest, Signal, decibels

FIRST_RADIUS = 0.35  # of the ball that the field is at first: its sign is right far inside and far outside
NEAREST = 0.005  # distance, sides of the cube, below which errors no longer weigh more: there the sign is decided
POOL = 2**20  # points whose distances are found beforehand
OFF_POINTS = 0.02  # standard deviation, sides of the cube, of positions beside points without distances

# Weights of what is asked of points alone, beside the distance on them.
NORMALS = 0.03
EIKONAL = 0.01
ELSEWHERE = 0.02  # keeps zeros away from where no point is (Sitzmann et al. 2020), by exp(-SHARPNESS |distance|)
SHARPNESS = 50.0

OVERLAP_POINTS = 20_000  # that tell how much of a shape lies in two bodies
HELD_OUT = 1_000_000  # points that score inside and outside
NEAR = (0.01,)  # standard deviation, sides of the cube, of the half of them near the surface
SPREAD = 200_000  # points on either surface, at most, that score their distance
LEAST_ERROR = 1e-20  # keeps psnr finite

RESOLUTION = 192  # cells of the mesh's lattice, unless asked
PICTURE = (480, 480)  # pixels, unless asked
GREY = 200  # of 255: the colour of a mesh that has none


def distance(field: Callable[[Tensor], Tensor], position: Tensor) -> Tensor:
    """Returns signed distances (S,), sides of the cube, at positions (S, 3): a ball's, which the field corrects."""
    # The epsilon keeps the gradient finite in the middle.
    ball = ((position - 0.5).square().sum(1) + 1e-12).sqrt() - FIRST_RADIUS
    return ball + field(position)[:, 0]


def gradient(field: CoordinateField, position: Tensor) -> tuple[Tensor, Tensor]:
    """Returns distances (S,) and their gradients (S, 3) by positions (S, 3), to be differentiated again."""
    position = position.detach().requires_grad_(True)
    value = distance(field, position)
    (slope,) = torch.autograd.grad(value.sum(), position, create_graph=True)
    return value, slope


class SignedDistance(Signal):
    """A shape whose signed distances a field learns."""

    defaults: ClassVar[SignalDefaults] = {
        "hash": {
            "field": {"levels": 8, "log2_table_size": 19, "finest_resolution": 512},
            "optimizer": {"learning_rate": 5e-3, "final_factor": 0.02, "horizon": 2000},
            "train": {"steps": 2000, "samples": 2**15},
        }
    }
    options = ("resolution", "size")
    suffix = ".ply"
    inputs = 3
    outputs = 1

    shape: Shape  # absent of a recalled shape
    points: Tensor  # (N, 3), to learn from: those of the cloud, or those drawn around a closed mesh
    normals: Tensor  # (N, 3), of a cloud alone
    surface: Surface  # of a closed mesh alone
    truth: Tensor  # (N,), signed distances of the points, of a closed mesh alone

    def __init__(
        self, side: float, corner: list[float], shape: Shape | None = None, seed: int = 0, pool: int = 0
    ) -> None:
        """side, corner: of the cube, in units of the file. pool: points drawn beforehand around a closed mesh."""
        self.side = side
        self.corner = numpy.array(corner, numpy.float64)
        self.samples = 0
        self.closed = False
        if shape is None:
            return

        self.shape = shape
        self.closed = len(shape.corners) > 0
        if self.closed:
            self.surface = Surface(shape.corners)
            self.samples = pool or POOL
            self.points = self.surface.samples(self.samples, generator(seed, "pool"))
            self.truth = self.surface.distance(self.points)
        else:
            self.points = torch.from_numpy(shape.points)
            self.normals = torch.from_numpy(shape.normals)
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
            twice = self.surface.overlap(self.points[:OVERLAP_POINTS])
            more = f"; {twice:.0%} of its inside lies in two bodies, taken as one" if twice else ""
            return (
                f"{len(self.shape.corners)} triangles, closed; {self.samples} points with exact signed distances{more}"
            )
        return f"{self.samples} points with normals, no distances: their surface is found (eikonal loss)"

    def loss(self, field: CoordinateField, n_samples: int, random: torch.Generator) -> tuple[Tensor, float]:
        """Returns the mean relative error (Müller et al. 2022, section 5.2) and the mean squared one."""
        if not self.closed:
            return self._loss_of_points(field, max(1, n_samples // 8), random)
        index = torch.randint(self.samples, (n_samples,), generator=random)
        truth = self.truth[index]
        error = distance(field, self.points[index]) - truth
        relative = error.abs() / (truth.abs() + NEAREST)
        return relative.mean(), error.detach().square().mean().item()

    def _loss_of_points(self, field: CoordinateField, number: int, random: torch.Generator) -> tuple[Tensor, float]:
        """Returns the loss of points without distances, and the mean squared distance on them."""
        # Draw points of the cloud, others beside them, and others anywhere in the cube.
        index = torch.randint(self.samples, (number,), generator=random)
        beside = self.points[index] + OFF_POINTS * torch.randn(number, 3, generator=random)
        anywhere = torch.rand(number, 3, generator=random)

        # On the cloud: no distance, and the normals as gradients.
        value, slope = gradient(field, self.points[index])
        # The epsilon keeps the gradient finite where they agree.
        turned = ((slope - self.normals[index]).square().sum(1) + 1e-12).sqrt().mean()

        # Off it: gradients of length 1, and no zero.
        away, away_slope = gradient(field, torch.cat([beside.clamp(0, 1), anywhere]))
        eikonal = (away_slope.norm(dim=1) - 1).square().mean()
        elsewhere = torch.exp(-SHARPNESS * away[number:].abs()).mean()

        loss = value.abs().mean() + NORMALS * turned + EIKONAL * eikonal + ELSEWHERE * elsewhere
        return loss, value.detach().square().mean().item()

    def evaluate(self, field: CoordinateField, held_out: int = 0, resolution: int = 0) -> dict[str, Any]:
        """Returns iou of points not trained on, half of them near the surface; chamfer_percent, of the diagonal.

        psnr is of the distances near the surface, against the cube's side. Points alone have no inside: their
        chamfer is from them to the mesh.
        """
        mesh = self.mesh(field, resolution or RESOLUTION)
        ours = Surface(mesh.vertices[mesh.faces])
        if self.closed:
            figures = self._scores_of_mesh(field, ours, held_out or HELD_OUT)
        else:
            figures = self._scores_of_points(field, ours)
        return {**figures, "watertight": is_watertight(mesh)}

    def _scores_of_mesh(self, field: CoordinateField, ours: Surface, held_out: int) -> dict[str, float]:
        """Returns the figures of a closed mesh by so many points."""
        random = generator(0, "held out")
        half = held_out // 2  # the first of them are near the surface
        point = self.surface.samples(held_out, random, NEAR)
        found = distance(field.values, point)
        truth = self.surface.distance(point)

        # Chamfer: the mean of the two mean distances between the surfaces.
        spread = min(SPREAD, held_out)
        to_truth = self.surface.distance(ours.points(spread, random))
        to_ours = ours.distance(self.surface.points(spread, random))
        chamfer = (to_truth.abs().mean().item() + to_ours.abs().mean().item()) / 2

        return {
            "psnr": decibels(max((found - truth)[:half].square().mean().item(), LEAST_ERROR)),
            "iou": intersection_over_union(found < 0, truth < 0),
            "iou_near": intersection_over_union(found[:half] < 0, truth[:half] < 0),
            "chamfer_percent": 100 * chamfer / self.shape.diagonal,
        }

    def _scores_of_points(self, field: CoordinateField, ours: Surface) -> dict[str, float]:
        """Returns the figures of a cloud of points."""
        error = distance(field.values, self.points).square().mean().item()
        apart = ours.distance(self.points).abs().mean().item()
        return {
            "psnr": decibels(max(error, LEAST_ERROR)),
            "chamfer_percent": 100 * apart / self.shape.diagonal,
        }

    def mesh(self, field: CoordinateField, resolution: int) -> Mesh:
        """Returns the surface of the field in the unit cube."""
        return surface_mesh(lambda point: distance(field.values, point), resolution)

    def export(self, field: CoordinateField, file: Path, request: DecodeRequest) -> str:
        """Writes the mesh in the frame of the shape's file, or a sphere-traced picture (.png)."""
        if file.suffix.lower() == ".png":
            return self._export_picture(field, file, request.size or PICTURE)
        if file.suffix.lower() not in FORMATS:
            raise InputError(f'{file}: "{file.suffix}" is not a mesh or a picture; use .png, {", ".join(FORMATS)}')
        check_mesh_file(file)

        mesh = self.mesh(field, request.resolution or RESOLUTION)
        x, y, z = self.corner.tolist()
        origin = (x, y, z) if numpy.abs(self.corner).max() > FAR_AWAY * self.side else NO_ORIGIN
        moved = mesh.vertices.astype(numpy.float64) * self.side + (self.corner - origin)
        vertices = moved.astype(numpy.float32)
        mesh = replace(mesh, vertices=vertices, rgb=numpy.full(vertices.shape, GREY, numpy.uint8))
        write_mesh(file, mesh, replace(NOWHERE, origin=origin))
        return f"{file}: {len(mesh.faces)} triangles, watertight: {is_watertight(mesh)}"

    def _export_picture(self, field: CoordinateField, file: Path, size: tuple[int, int]) -> str:
        from PIL import Image

        picture = shape_picture(lambda point: distance(field.values, point), size)
        with replacing(file) as partial:
            Image.fromarray(picture).save(partial)
        return f"{file}: {size[0]} x {size[1]} pixels, sphere-traced"
