"""Shapes: closed meshes with their exact signed distances, or points with normals alone.

A shape is placed in the unit cube, its longest side 1 - 2 * MARGIN. Distances are in sides of that
cube, negative inside.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy
import torch
from torch import Tensor

from nerf.errors import InputError
from nerf.scenes.raytracing import RayTracer, load_open3d

MARGIN = 0.05  # of the cube's side, free on both sides of the shape
MOST_TRIANGLES, MOST_BYTES = 20_000_000, 2**31
NEAR = (0.003, 0.02)  # standard deviations, sides of the cube, of what is drawn near the surface
VOTES = 3  # rays by which inside is told from outside
MESHES, POINTS = (".obj", ".ply", ".stl", ".off", ".glb"), (".ply", ".xyzn", ".pcd")
OPEN = (
    "{file}: the mesh has {holes}: no inside, so no signed distance; close it (Blender: Select Non Manifold, Fill; "
    "MeshLab: Close Holes), or give points with normals (.ply without faces), which need not be closed"
)


@dataclass(frozen=True)
class Shape:
    """A shape in the unit cube.

    corners: (T, 3, 3) float32, of its triangles; none of a point cloud. points, normals: (N, 3) float32, of a point
    cloud. side: of the cube, and corner: (3,) of it, in units of the file.
    """

    corners: numpy.ndarray
    points: numpy.ndarray
    normals: numpy.ndarray
    side: float
    corner: numpy.ndarray

    @property
    def diagonal(self) -> float:
        """Of the bounding box, sides of the cube."""
        return float(numpy.linalg.norm(numpy.ptp(self.places, axis=0)))

    @property
    def places(self) -> numpy.ndarray:
        """All corners or points (N, 3)."""
        return self.corners.reshape(-1, 3) if len(self.corners) else self.points


def read_shape(path: Path) -> Shape:
    """Returns the closed mesh, or the points with normals, in a file.

    Raises:
        InputError: it cannot be read, holds neither, or the mesh has holes.
    """
    kind = path.suffix.lower()
    if not path.is_file():
        raise InputError(f"{path}: not found")
    if kind not in MESHES + POINTS:
        raise InputError(f'{path}: "{kind}" is not a shape; use {", ".join(sorted({*MESHES, *POINTS}))}')
    if path.stat().st_size > MOST_BYTES:
        raise InputError(f"{path}: more than {MOST_BYTES >> 30} GiB; decimate it first")
    vertices, faces = _read_mesh(path) if kind in MESHES else (None, ())
    if len(faces):
        _check_closed(path, vertices, faces)
        return placed(vertices[faces])
    if kind not in POINTS:
        raise InputError(f"{path}: no triangle in it")
    return _read_points(path)


def placed(corners: numpy.ndarray, points: numpy.ndarray = (), normals: numpy.ndarray = ()) -> Shape:
    """Returns a mesh's corners (T, 3, 3), or points (N, 3) and normals, moved and scaled into the unit cube."""
    places = corners.reshape(-1, 3) if len(corners) else points
    low, high = places.min(0).astype(numpy.float64), places.max(0).astype(numpy.float64)
    side = float((high - low).max() / (1 - 2 * MARGIN))
    corner = (low + high - side) / 2
    unit = [((value - corner) / side).astype(numpy.float32) if len(value) else numpy.empty((0, 3), numpy.float32)
            for value in (corners, points)]  # fmt: skip
    return Shape(unit[0], unit[1], numpy.asarray(normals, numpy.float32).reshape(-1, 3), side, corner)


def _read_mesh(path: Path) -> tuple[numpy.ndarray, numpy.ndarray]:
    """Returns vertices (V, 3), those on one place joined, and faces (T, 3); no faces of a point cloud."""
    import trimesh

    try:
        mesh = trimesh.load(path, force="mesh", process=False, skip_materials=True)
        mesh.merge_vertices(merge_tex=True, merge_norm=True)
        vertices, faces = numpy.asarray(mesh.vertices, numpy.float64), numpy.asarray(mesh.faces)
    except Exception as error:  # trimesh's readers raise whatever they stumble over
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise InputError(f"{path}: cannot be read, damaged or cut off ({reason})") from None
    if len(faces) > MOST_TRIANGLES:
        raise InputError(f"{path}: {len(faces)} triangles are more than {MOST_TRIANGLES}; decimate it first")
    if len(faces) and not (numpy.isfinite(vertices[faces]).all() and numpy.ptp(vertices, axis=0).max() > 0):
        raise InputError(f"{path}: vertices are not finite numbers, or all on one place")
    return vertices, faces


def _check_closed(path: Path, vertices: numpy.ndarray, faces: numpy.ndarray) -> None:
    """Raises InputError if an edge has not as many triangles on one side as on the other."""
    from scipy.sparse import coo_matrix
    from scipy.sparse.csgraph import connected_components

    a, b = faces.ravel().astype(numpy.int64), faces[:, [1, 2, 0]].ravel().astype(numpy.int64)
    size = len(vertices)
    # Sheets that meet along an edge, as many one way as the other, are closed all the same.
    unmatched = numpy.setdiff1d(a * size + b, b * size + a)
    if len(unmatched) == 0:
        return
    start, end = numpy.divmod(unmatched, size)
    graph = coo_matrix((numpy.ones(len(start)), (start, end)), shape=(size, size))
    label = connected_components(graph, directed=False)[1]
    holes = len(numpy.unique(label[start]))
    words = f"{holes} {'hole' if holes == 1 else 'holes'} ({len(start)} open edges)"
    raise InputError(OPEN.format(file=path, holes=words))


def _read_points(path: Path) -> Shape:
    open3d = load_open3d()
    with open3d.utility.VerbosityContextManager(open3d.utility.VerbosityLevel.Error):
        cloud = open3d.io.read_point_cloud(str(path))
    points, normals = numpy.asarray(cloud.points), numpy.asarray(cloud.normals)
    if len(points) == 0:
        raise InputError(f"{path}: no triangles and no points could be read from it")
    if len(normals) != len(points):
        raise InputError(f"{path}: {len(points)} points without normals; estimate them first (MeshLab, CloudCompare)")
    if not (numpy.isfinite(points).all() and numpy.isfinite(normals).all() and numpy.ptp(points, axis=0).max() > 0):
        raise InputError(f"{path}: points or normals are not finite numbers, or all on one place")
    length = numpy.linalg.norm(normals, axis=1, keepdims=True)
    if length.min() < 1e-6:
        raise InputError(f"{path}: {int((length < 1e-6).sum())} normals are zero; estimate them again")
    return placed(numpy.empty((0, 3, 3)), points, normals / length)


class Surface:
    """A closed mesh in the unit cube: exact signed distances, and points spread over it."""

    def __init__(self, corners: numpy.ndarray) -> None:
        self.tracer = RayTracer(corners)
        self._corners = torch.from_numpy(corners)
        edge = self._corners[:, 1:] - self._corners[:, :1]
        area = torch.linalg.cross(edge[:, 0], edge[:, 1]).norm(dim=1).double()
        self._below = area.cumsum(0) / area.sum()

    def distance(self, point: Tensor) -> Tensor:
        """Returns signed distances (N,) of points (N, 3), negative inside."""
        return torch.from_numpy(self.tracer.signed_distance(point.numpy(), VOTES))

    def points(self, number: int, random: torch.Generator) -> Tensor:
        """Returns points (N, 3) spread evenly by area."""
        row = torch.searchsorted(self._below, torch.rand(number, dtype=torch.float64, generator=random))
        corner = self._corners[row.clamp(max=len(self._corners) - 1)]
        part = torch.rand(number, 2, generator=random)
        root = part[:, :1].sqrt()  # Turk 1990
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
