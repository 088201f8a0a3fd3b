"""Point clouds: uniform on the surface, with normals and colours, as .ply."""

from __future__ import annotations

from pathlib import Path

import numpy

from nerf.errors import InputError
from nerf.files import check_writable, replacing
from nerf.meshing.mesh import Mesh

POINTS_SEED = 0
FIELDS = [("x", "f4"), ("y", "f4"), ("z", "f4"), ("nx", "f4"), ("ny", "f4"), ("nz", "f4")]
COLORS = [("red", "u1"), ("green", "u1"), ("blue", "u1")]


def check_points_file(file: Path) -> None:
    """Raises InputError now if a point cloud cannot be written under this name."""
    if file.suffix.lower() != ".ply":
        raise InputError(f'{file}: "{file.suffix}" is not a point cloud format; use .ply')
    check_writable(file)


def sampled(mesh: Mesh, count: int) -> Mesh:
    """Returns so many points, uniform by area, as a mesh without faces."""
    corner = mesh.vertices[mesh.faces].astype(numpy.float64)
    area = numpy.linalg.norm(numpy.cross(corner[:, 1] - corner[:, 0], corner[:, 2] - corner[:, 0]), axis=1)
    generator = numpy.random.default_rng(POINTS_SEED)
    triangle = generator.choice(len(area), count, p=area / area.sum())
    # The square root makes the points uniform in the triangle (Osada et al. 2002).
    across, along = numpy.sqrt(generator.random(count)), generator.random(count)
    weight = numpy.stack([1 - across, across * (1 - along), across * along], axis=1)[:, :, None]
    index = mesh.faces[triangle]
    normal = (mesh.normals[index] * weight).sum(1)
    return Mesh(
        vertices=(corner[triangle] * weight).sum(1).astype(numpy.float32),
        faces=numpy.empty((0, 3), numpy.int32),
        normals=(normal / numpy.maximum(numpy.linalg.norm(normal, axis=1, keepdims=True), 1e-12)).astype(numpy.float32),
        rgb=((mesh.rgb[index] * weight).sum(1) + 0.5).astype(numpy.uint8),
    )


def write_points(file: Path, points: Mesh) -> None:
    """Writes positions, normals and colours as binary .ply, atomically."""
    table = numpy.empty(len(points.vertices), dtype=FIELDS + COLORS)
    columns = numpy.concatenate([points.vertices, points.normals, points.rgb], axis=1).T
    for (name, kind), column in zip(FIELDS + COLORS, columns):
        table[name] = column.astype(kind)
    kinds = {"f4": "float", "u1": "uchar"}
    head = ["ply", "format binary_little_endian 1.0", f"element vertex {len(table)}"]
    head += [f"property {kinds[kind]} {name}" for name, kind in FIELDS + COLORS]
    with replacing(file) as partial:
        partial.write_bytes("\n".join([*head, "end_header", ""]).encode("ascii") + table.tobytes())
