"""The output `--points`: a point cloud, uniform on the surface, with normals and colours, as .ply."""

from __future__ import annotations

from pathlib import Path

import numpy

from nerf.errors import InputError
from nerf.exporters.context import ExportContext, ExportRequest
from nerf.files import check_writable
from nerf.meshing.mesh import Mesh, present
from nerf.meshing.ply import write_ply

POINTS = 200_000  # unless asked
POINTS_SEED = 0
SHORTEST_NORMAL = 1e-12  # between normals that cancel out any direction is as good


def check(path: Path, request: ExportRequest) -> None:
    """Raises InputError now if a point cloud cannot be written under this name."""
    check_points_file(path)


def write(context: ExportContext, path: Path) -> str:
    """Writes points of the surface; returns the sentence that says so."""
    count = context.request.count or POINTS
    write_ply(path, sampled(context.surface()[0], count), context.placement.origin)
    return f"point cloud: {path} ({count} points; {context.placement.words})"


def check_points_file(file: Path) -> None:
    """Raises InputError now if a point cloud cannot be written under this name."""
    if file.suffix.lower() != ".ply":
        raise InputError(f'{file}: "{file.suffix}" is not a point cloud format; use .ply')
    check_writable(file)


def sampled(mesh: Mesh, count: int) -> Mesh:
    """Returns so many points, uniform by area, as a mesh without faces."""
    # Triangles by their area.
    corner = mesh.vertices[mesh.faces].astype(numpy.float64)
    area = numpy.linalg.norm(numpy.cross(corner[:, 1] - corner[:, 0], corner[:, 2] - corner[:, 0]), axis=1)
    generator = numpy.random.default_rng(POINTS_SEED)
    triangle = generator.choice(len(area), count, p=area / area.sum())

    # Points in them: the square root makes these uniform (Osada et al. 2002).
    across = numpy.sqrt(generator.random(count))
    along = generator.random(count)
    weight = numpy.stack([1 - across, across * (1 - along), across * along], axis=1)[:, :, None]

    index = mesh.faces[triangle]
    normal = (present(mesh.normals)[index] * weight).sum(1)
    length = numpy.maximum(numpy.linalg.norm(normal, axis=1, keepdims=True), SHORTEST_NORMAL)
    return Mesh(
        vertices=(corner[triangle] * weight).sum(1).astype(numpy.float32),
        faces=numpy.empty((0, 3), numpy.int32),
        normals=(normal / length).astype(numpy.float32),
        rgb=((present(mesh.rgb)[index] * weight).sum(1) + 0.5).astype(numpy.uint8),
    )
