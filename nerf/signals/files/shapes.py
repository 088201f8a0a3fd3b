"""Shapes: closed meshes with their exact signed distances, or points with normals alone.

A shape is moved and scaled into the unit cube, its longest side 1 - 2 * MARGIN. Distances are in sides of that cube,
negative inside.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy
import torch
from torch import Tensor

from nerf.errors import InputError
from nerf.scenes.raytracing import RayTracer
from nerf.signals.files.pointclouds import read_point_cloud

MARGIN = 0.05  # of the cube's side, free on both sides of the shape
MOST_TRIANGLES = 20_000_000
MOST_BYTES = 2**31  # of a file
COARSEST = 1e-3  # of the size of a shape: the step of its coordinates
NEAR = (0.003, 0.02)  # standard deviations, sides of the cube, of what is drawn near the surface
VOTES = 3  # rays by which inside is told from outside
MESHES = (".obj", ".ply", ".stl", ".off", ".glb")
POINTS = (".ply", ".xyzn", ".pcd")
OPEN = (
    "{file}: the mesh has {holes}: no inside, so no signed distance; close it (Blender: Select Non Manifold, Fill; "
    "MeshLab: Close Holes), or give points with normals (.ply without faces), which need not be closed"
)


@dataclass(frozen=True)
class Shape:
    """A shape in the unit cube."""

    corners: numpy.ndarray  # (T, 3, 3) float32, of the triangles; none of a point cloud
    points: numpy.ndarray  # (N, 3) float32, of a point cloud
    normals: numpy.ndarray  # (N, 3) float32, of a point cloud
    side: float  # of the cube, in units of the file
    corner: numpy.ndarray  # (3,), of the cube, in units of the file

    @property
    def diagonal(self) -> float:
        """The diagonal of the bounding box, sides of the cube."""
        positions = self.corners.reshape(-1, 3) if len(self.corners) else self.points
        return float(numpy.linalg.norm(numpy.ptp(positions, axis=0)))


def read_shape(path: Path) -> Shape:
    """Returns the closed mesh, or the points with normals, in a file.

    Raises:
        InputError: it cannot be read, holds neither, or the mesh has holes.
    """
    suffix = path.suffix.lower()
    if not path.is_file():
        raise InputError(f"{path}: not found")
    if suffix not in MESHES + POINTS:
        raise InputError(f'{path}: "{suffix}" is not a shape; use {", ".join(sorted({*MESHES, *POINTS}))}')
    if path.stat().st_size > MOST_BYTES:
        raise InputError(f"{path}: more than {MOST_BYTES >> 30} GiB; decimate it first")

    # A .ply without faces is a point cloud.
    if suffix in MESHES:
        vertices, faces = _read_mesh(path)
        if len(faces):
            _check_steps(path, vertices)
            _check_closed(path, vertices, faces)
            return shape_of_mesh(vertices[faces])
    if suffix not in POINTS:
        raise InputError(f"{path}: no triangle in it")
    return _read_points(path)


def shape_of_mesh(corners: numpy.ndarray) -> Shape:
    """Returns a closed mesh, given the corners (T, 3, 3) of its triangles in any units, in the unit cube."""
    side, corner = _unit_cube(corners.reshape(-1, 3))
    nothing = numpy.empty((0, 3), numpy.float32)
    return Shape(((corners - corner) / side).astype(numpy.float32), nothing, nothing, side, corner)


def shape_of_points(points: numpy.ndarray, normals: numpy.ndarray) -> Shape:
    """Returns points (N, 3) in any units with unit normals (N, 3), in the unit cube."""
    side, corner = _unit_cube(points)
    inside = ((points - corner) / side).astype(numpy.float32)
    return Shape(numpy.empty((0, 3, 3), numpy.float32), inside, numpy.asarray(normals, numpy.float32), side, corner)


def _unit_cube(positions: numpy.ndarray) -> tuple[float, numpy.ndarray]:
    """Returns the side and the corner (3,) of the cube around positions (N, 3), with its margin."""
    low = positions.min(0).astype(numpy.float64)
    high = positions.max(0).astype(numpy.float64)
    side = float((high - low).max() / (1 - 2 * MARGIN))
    return side, (low + high - side) / 2


def _read_mesh(path: Path) -> tuple[numpy.ndarray, numpy.ndarray]:
    """Returns vertices (V, 3), those at one position joined, and faces (T, 3); no faces of a point cloud."""
    import trimesh

    try:
        mesh: Any = trimesh.load(path, force="mesh", process=False, skip_materials=True)
        mesh.merge_vertices(merge_tex=True, merge_norm=True)
        vertices = numpy.asarray(mesh.vertices, numpy.float64)
        faces = numpy.asarray(mesh.faces)
    except Exception as error:  # trimesh's readers raise whatever they stumble over
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise InputError(f"{path}: cannot be read, damaged or cut off ({reason})") from None

    if len(faces) > MOST_TRIANGLES:
        raise InputError(f"{path}: {len(faces)} triangles are more than {MOST_TRIANGLES}; decimate it first")
    if len(faces) and not (numpy.isfinite(vertices[faces]).all() and numpy.ptp(vertices, axis=0).max() > 0):
        raise InputError(f"{path}: vertices are not finite numbers, or all at one position")
    return vertices, faces


def _check_steps(path: Path, positions: numpy.ndarray) -> None:
    """Raises InputError if positions (N, 3) were rounded to single precision so far away that a shape became stairs."""
    size = float(numpy.ptp(positions, axis=0).max())
    step = float(numpy.spacing(numpy.float32(numpy.abs(positions).max())))
    if step > COARSEST * size and (positions == positions.astype(numpy.float32)).all():
        raise InputError(
            f"{path}: the shape is {size:g} large and so far from the origin that its numbers, in single precision, "
            f"have steps of {step:g}; move it to the origin where it was made, or save it in double precision (.obj)"
        )


def _check_closed(path: Path, vertices: numpy.ndarray, faces: numpy.ndarray) -> None:
    """Raises InputError if an edge has not as many triangles on one side as on the other."""
    from scipy.sparse import coo_matrix
    from scipy.sparse.csgraph import connected_components

    # An edge is closed where its opposite stands beside it. Sheets that meet along an edge, as many in one direction
    # as in the other, are closed all the same.
    a = faces.ravel().astype(numpy.int64)
    b = faces[:, [1, 2, 0]].ravel().astype(numpy.int64)
    size = len(vertices)
    unmatched = numpy.setdiff1d(a * size + b, b * size + a)
    if len(unmatched) == 0:
        return

    # Count the holes: open edges that hang together.
    start, end = numpy.divmod(unmatched, size)
    graph = coo_matrix((numpy.ones(len(start)), (start, end)), shape=(size, size))
    label = connected_components(graph, directed=False)[1]
    holes = len(numpy.unique(label[start]))
    found = f"{holes} {'hole' if holes == 1 else 'holes'} ({len(start)} open edges)"
    raise InputError(OPEN.format(file=path, holes=found))


def _read_points(path: Path) -> Shape:
    """Returns the points with normals in a file."""
    points, normals = read_point_cloud(path)
    if len(points) == 0:
        raise InputError(f"{path}: no triangles and no points could be read from it")
    if len(normals) != len(points):
        raise InputError(f"{path}: {len(points)} points without normals; estimate them first (MeshLab, CloudCompare)")
    if not (numpy.isfinite(points).all() and numpy.isfinite(normals).all() and numpy.ptp(points, axis=0).max() > 0):
        raise InputError(f"{path}: points or normals are not finite numbers, or all at one position")
    _check_steps(path, points)
    length = numpy.linalg.norm(normals, axis=1, keepdims=True)
    if length.min() < 1e-6:
        raise InputError(f"{path}: {int((length < 1e-6).sum())} normals are zero; estimate them again")
    return shape_of_points(points, normals / length)


class Surface:
    """A closed mesh in the unit cube: exact signed distances, and points spread over it."""

    def __init__(self, corners: numpy.ndarray) -> None:
        self.tracer = RayTracer(corners)
        self._corners = torch.from_numpy(corners)
        edge = self._corners[:, 1:] - self._corners[:, :1]
        area = torch.linalg.cross(edge[:, 0], edge[:, 1]).norm(dim=1).double()
        self._below = area.cumsum(0) / area.sum()  # the part of the area up to each triangle

    def distance(self, point: Tensor) -> Tensor:
        """Returns signed distances (N,) of points (N, 3), negative inside."""
        return torch.from_numpy(self.tracer.signed_distance(point.numpy(), VOTES))

    def overlap(self, point: Tensor) -> float:
        """Returns which part of those of points (N, 3) that are inside is inside more than once."""
        count = numpy.abs(self.tracer.winding(point.numpy(), VOTES))
        return float((count > 1).sum() / max(1, (count > 0).sum()))

    def points(self, number: int, random: torch.Generator) -> Tensor:
        """Returns points (N, 3) spread evenly by area."""
        index = torch.searchsorted(self._below, torch.rand(number, dtype=torch.float64, generator=random))
        corner = self._corners[index.clamp(max=len(self._corners) - 1)]

        # Barycentric coordinates, even over the triangle (Turk 1990).
        part = torch.rand(number, 2, generator=random)
        root = part[:, :1].sqrt()
        share = torch.cat([1 - root, root * (1 - part[:, 1:]), root * part[:, 1:]], dim=1)
        return (corner * share[..., None]).sum(1)

    def samples(self, number: int, random: torch.Generator, near: tuple[float, ...] = NEAR) -> Tensor:
        """Returns points (N, 3) in the cube: half of them even in it, half near the surface by normal offsets."""
        n_near = number // 2
        width = torch.tensor(near)[torch.arange(n_near) % len(near), None]
        close = self.points(n_near, random) + width * torch.randn(n_near, 3, generator=random)
        return torch.cat([close.clamp(0, 1), torch.rand(number - n_near, 3, generator=random)])


def intersection_over_union(inside: Tensor, truth: Tensor) -> float:
    """Returns the points (N,) bool inside both as a part of those inside either; 1 if none is inside."""
    either = (inside | truth).sum().item()
    return (inside & truth).sum().item() / either if either else 1.0
