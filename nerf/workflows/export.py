"""From a run to its mesh, points, depth maps and cameras."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import torch

from nerf.export.cameras import picture_names, write_colmap, write_depths, write_transforms
from nerf.export.pointcloud import sampled, write_points
from nerf.geometry.camera_rig import up_direction
from nerf.geometry.similarity import Placement, placement
from nerf.meshing.mesh import Mesh
from nerf.meshing.mesh_files import mesh_report, write_mesh, write_report
from nerf.meshing.surface import SurfaceRequest, make_surface
from nerf.rendering.crop import cropped
from nerf.workflows.trained import TrainedRun


def mesh(trained: TrainedRun, file: Path, request: SurfaceRequest) -> None:
    """Writes the mesh and its report, and says so."""
    export(trained, ExportRequest(surface=request, mesh=file))


@dataclass(frozen=True)
class ExportRequest:
    """What is to be written, where: files, or folders for depth maps and cameras; None = not.

    up, scale, unit: see `nerf.geometry.similarity`. points: how many of them. depth_format: of `views.DEPTH_FORMATS`.
    """

    surface: SurfaceRequest
    mesh: Path | None = None
    cloud: Path | None = None
    depth: Path | None = None
    cameras: Path | None = None
    up: str = ""
    scale: float = 1.0
    unit: str = ""
    points: int = 200_000
    depth_format: str = "png"


def export(trained: TrainedRun, request: ExportRequest) -> None:
    """Writes mesh, point cloud, depth maps and cameras of a run, all in one frame, and says so."""
    placed = placement(request.up, up_direction(trained.cameras), request.scale, request.unit)
    crop = request.surface.crop
    if request.mesh or request.cloud:
        cropped(trained.model, crop)  # says how much is cut
        surface, how = make_surface(trained.model, trained.cameras, request.surface)
        surface = replace(
            surface,
            vertices=placed.points(torch.from_numpy(surface.vertices)).numpy(),
            normals=placed.directions(torch.from_numpy(surface.normals)).numpy(),
        )
        if request.mesh:
            _write_mesh(request.mesh, surface, how, placed)
        if request.cloud:
            write_points(request.cloud, sampled(surface, request.points))
            print(f"point cloud: {request.cloud} ({request.points} points; {placed.words})")
    names = picture_names(trained.record["views"])
    if request.cameras:
        cameras = placed.cameras(trained.cameras)
        write_transforms(request.cameras / "transforms.json", cameras, names)
        write_colmap(request.cameras / "sparse" / "0", cameras, names)
        print(f"cameras: {request.cameras} (transforms.json and COLMAP text; {placed.words})")
    if request.depth:
        write_depths(
            request.depth, cropped(trained.model, crop), trained.cameras, names, placed.scale, request.depth_format
        )
        print(f"depth maps: {request.depth} ({len(names)} views; {request.unit or 'scene units'})")


def _write_mesh(file: Path, surface: Mesh, how: dict[str, object], placed: Placement) -> None:
    write_mesh(file, surface, placed.unit)
    report = mesh_report(surface, how, placed)
    beside = write_report(file, report)
    extent = " x ".join(f"{value:.4g}" for value in report["extent"])
    print(
        f"mesh: {file} ({how['method']}; {report['triangles']} triangles, {report['pieces']} pieces, "
        f"{'' if report['watertight'] else 'not '}watertight, {extent}; {placed.words}); report: {beside}"
    )
