"""From a model to the mesh that is handed on."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy
import torch

from nerf.color import to_bytes
from nerf.errors import InputError
from nerf.geometry.cameras import Cameras
from nerf.geometry.scene_box import CropBox
from nerf.meshing.appearance import BEHIND, seen_color
from nerf.meshing.marching_cubes import block_planes, extract
from nerf.meshing.mesh import (
    Mesh,
    decimated,
    is_watertight,
    joints,
    present,
    smoothed,
    vertex_normals,
    with_holes_filled,
    without_small_pieces,
)
from nerf.meshing.texture import painted, sheet, unwrapped
from nerf.meshing.volume import DensityVolume, FusedVolume
from nerf.rendering.depth_views import EMPTY, DepthViews, pinhole_cameras, render_depths
from nerf.rendering.model import RadianceModel
from nerf.report import say

SEEN_CELLS = 2.0  # off what a camera sees, a vertex still is of it
ABOUT = 1.05  # of the triangles that are asked for: with more, it is said
FUSED_RESOLUTION = 512  # above it, asking every camera about every point takes too long to be the default
TEXTURE_TRIANGLES = 200_000  # a textured mesh has at most so many, unless asked: the texture holds the detail
# Lattice cells along a side, and rounds of smoothing, unless asked. What is textured is to look right: on lego, finer
# and rougher gained 1.8 dB; what is not, is to be smooth.
PLAIN = (256, 5)
TEXTURED = (384, 2)


@dataclass(frozen=True)
class SurfaceRequest:
    """How a mesh is made."""

    resolution: int  # lattice cells along a side of the box
    method: str = "auto"  # of `nerf.exporters.choices.METHODS`
    crop: CropBox | None = None  # what is kept
    triangles: int = 0  # at most so many; 0 = as found
    smoothing: int = 5  # rounds, each about an edge wide
    texture: int = 0  # texels a side; 0 = none


def make_surface(
    model: RadianceModel, cameras: Cameras, request: SurfaceRequest, views: DepthViews | None = None
) -> tuple[Mesh, dict[str, object]]:
    """Returns the mesh of a model, in the frame of the input poses, and how it was made.

    Args:
        model: what is meshed.
        cameras: those it learned from.
        request: how.
        views: what `pinhole_cameras` of the cameras see of the model, if that has been rendered already.

    Raises:
        InputError: there is no surface.
    """
    method = request.method
    if method == "auto":
        method = "fusion" if request.resolution <= FUSED_RESOLUTION else "density"
    if views is None:
        views = render_depths(model, pinhole_cameras(cameras))

    # The surface, as finely as the lattice holds it.
    cell = model.box.core.side / request.resolution
    how: dict[str, object] = {"method": method, "resolution": request.resolution, "cell": cell}
    if method == "density":
        volume = DensityVolume(model, views, request.resolution)
        how["log_density_level"] = volume.level
    else:
        volume = FusedVolume(model, views, request.resolution)
    mesh = Mesh(*extract(volume, request.crop, block_planes(request.resolution)))
    if not model.carved:
        mesh = _seen_part(mesh, views, SEEN_CELLS * cell)

    # Cleaned, and with as many triangles as asked for.
    mesh = smoothed(without_small_pieces(mesh), request.smoothing, cell)
    mesh = decimated(mesh, request.triangles or (TEXTURE_TRIANGLES if request.texture else 0))
    mesh = without_small_pieces(mesh)  # crumbs that decimation leaves of what only just hung together
    if not is_watertight(mesh):
        mesh = with_holes_filled(mesh)
    _say_if_more(len(mesh.faces), request.triangles)

    how.update(joints(mesh))
    mesh = replace(mesh, normals=vertex_normals(mesh))
    return _colored(mesh, model, views, request.texture), how


def _say_if_more(found: int, asked: int) -> None:
    """Says so if a mesh has clearly more triangles than were asked for; 0 = all were."""
    if asked and found > ABOUT * asked:
        say("mesh", f"warning: the mesh has {found} triangles, not {asked}: keeping it whole takes so many")


def _seen_part(mesh: Mesh, views: DepthViews, slack: float) -> Mesh:
    """Returns the triangles that some camera sees: without silhouettes nothing tells what is behind them.

    slack: scene units that a vertex may lie off the surface that a camera sees.
    """
    point = torch.from_numpy(mesh.vertices)
    seen = torch.zeros(len(point), dtype=torch.bool)
    for frame in range(len(views)):
        seen |= views.gaps(frame, point, slack).abs() < slack  # out of the picture, nan, is not seen
    if not seen.any():
        raise InputError(EMPTY)
    return replace(mesh, faces=mesh.faces[seen.numpy()[mesh.faces].all(axis=1)])


def _colored(mesh: Mesh, model: RadianceModel, views: DepthViews, texture: int) -> Mesh:
    """Returns the mesh with vertex colours and, if texture > 0, with a texture of so many texels a side."""
    slack = BEHIND * model.step_length()
    if not texture:
        return replace(mesh, rgb=_seen_bytes(model, views, mesh.vertices, present(mesh.normals), slack))

    # Vertices and texels are asked about together, so that each camera's picture is rendered once.
    mesh = unwrapped(mesh, texture)
    texels = sheet(mesh, texture)
    point = numpy.concatenate([mesh.vertices, texels.point])
    normal = numpy.concatenate([present(mesh.normals), texels.normal])
    rgb = _seen_bytes(model, views, point, normal, slack)

    count = len(mesh.vertices)
    return replace(mesh, rgb=rgb[:count], texture=painted(texels, rgb[count:]))


def _seen_bytes(
    model: RadianceModel, views: DepthViews, point: numpy.ndarray, normal: numpy.ndarray, slack: float
) -> numpy.ndarray:
    """Returns the colours (N, 3) uint8 of surface points, see `seen_color`."""
    return to_bytes(seen_color(model, views, torch.from_numpy(point), torch.from_numpy(normal), slack)).numpy()
