"""A mesh file as the program wrote it, for the benchmarks that measure meshes."""

from __future__ import annotations

from pathlib import Path

import numpy
import trimesh


def read_mesh(file: Path) -> trimesh.Trimesh:
    """Returns the mesh of a file in the frame of the input, with display colours.

    The node of a .glb file turns it to y up and to metres, and the colours of its vertices are linear.
    """
    found = trimesh.load(file, process=False)
    mesh = next(iter(found.geometry.values())) if isinstance(found, trimesh.Scene) else found
    if file.suffix == ".glb" and mesh.visual.kind == "vertex":
        linear = numpy.asarray(mesh.visual.vertex_colors)[:, :3] / 255
        shown = numpy.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)
        mesh.visual.vertex_colors = (shown * 255 + 0.5).astype(numpy.uint8)
    return mesh
