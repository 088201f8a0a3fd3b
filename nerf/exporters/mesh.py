"""The output `--mesh`: the surface as a mesh file, and a report beside it."""

from __future__ import annotations

from pathlib import Path

from nerf.exporters.context import ExportContext, ExportRequest
from nerf.geometry.origin import NO_ORIGIN
from nerf.meshing.mesh_files import check_mesh_file, mesh_report, write_mesh, write_report


def check(path: Path, request: ExportRequest) -> None:
    """Raises InputError now if a mesh, textured if it is to be, cannot be written under this name."""
    check_mesh_file(path, request.surface.texture > 0)


def write(context: ExportContext, path: Path) -> str:
    """Writes the mesh and its report; returns the sentence that says so."""
    mesh, how = context.surface()
    write_mesh(path, mesh, context.placement)
    report = mesh_report(mesh, how, context.placement)
    beside = write_report(path, report)

    where = context.placement.words
    if context.placement.origin != NO_ORIGIN and path.suffix.lower() == ".stl":
        where += f", relative to {context.placement.origin}, which .stl cannot hold"
    if context.placement.up is not None and path.suffix.lower() == ".glb":
        where += "; its node turns y up"
    extent = " x ".join(f"{value:.4g}" for value in mesh.extent.tolist())
    return (
        f"mesh: {path} ({how['method']}; {report['triangles']} triangles, {report['pieces']} pieces, "
        f"{'' if report['watertight'] else 'not '}watertight, {extent}; {where}); report: {beside}"
    )
