"""Binary .ply files of our own making: what trimesh writes holds positions in single precision alone."""

from __future__ import annotations

from pathlib import Path

import numpy

from nerf.files import replacing
from nerf.geometry.origin import NO_ORIGIN, Origin
from nerf.meshing.mesh import Mesh, present

TYPES = {"f4": "float", "f8": "double", "u1": "uchar"}
CORNERS = [("count", "u1"), ("corner", "<i4", 3)]  # of a triangle


def write_ply(file: Path, mesh: Mesh, origin: Origin = NO_ORIGIN) -> None:
    """Writes positions, normals, colours and, if there are any, triangles, atomically.

    origin: what is added to the positions, which are then written as doubles, and said in a comment.
    """
    real = "f4" if origin == NO_ORIGIN else "f8"
    fields = [(name, real) for name in "xyz"] + [(name, "f4") for name in ("nx", "ny", "nz")]
    fields += [(name, "u1") for name in ("red", "green", "blue")]

    table = numpy.empty(len(mesh.vertices), dtype=[(name, f"<{kind}") for name, kind in fields])
    position = mesh.vertices if origin == NO_ORIGIN else mesh.vertices.astype(numpy.float64) + origin
    columns = [*position.T, *present(mesh.normals).T, *present(mesh.rgb).T]
    for (name, _), column in zip(fields, columns):
        table[name] = column

    head = ["ply", "format binary_little_endian 1.0"]
    if origin != NO_ORIGIN:
        head.append(f"comment origin {' '.join(map(repr, origin))}")
    head += [f"element vertex {len(table)}", *(f"property {TYPES[kind]} {name}" for name, kind in fields)]

    faces = numpy.empty(len(mesh.faces), dtype=CORNERS)
    faces["count"] = 3
    faces["corner"] = mesh.faces
    if len(faces):
        head += [f"element face {len(faces)}", "property list uchar int vertex_indices"]
    with replacing(file) as partial:
        partial.write_bytes("\n".join([*head, "end_header", ""]).encode("ascii") + table.tobytes() + faces.tobytes())
