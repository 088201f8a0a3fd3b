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
    smoothed,
    vertex_normals,
    with_holes_filled,
    without_small_pieces,
)
from nerf.meshing.texture import painted, sheet, unwrapped
from nerf.meshing.volume import EMPTY, DensityVolume, DepthViews, FusedVolume, render_depths
from nerf.rendering.model import RadianceModel

SEEN_CELLS = 2.0  # off what a camera sees, a vertex still is of it
MOST_LOOKED_AT = 2**26  # pixels of all views together, 256 MiB of distances
FUSED_RESOLUTION = 512  # above it, asking every camera about every place takes too long to be the default
TEXTURE_TRIANGLES = 200_000  # a textured mesh has at most so many, unless asked: the texture holds the detail
# Lattice cells along a side, and rounds of smoothing, unless asked. What is textured is to look right: on lego, finer
# and rougher gained 1.8 dB; what is not, is to be smooth.
PLAIN, TEXTURED = (256, 5), (384, 2)


@dataclass(frozen=True)
class SurfaceRequest:
    """How a mesh is made.

    method: of `words.METHODS`. resolution: lattice cells along a side of the cube. box: what is kept. triangles: at
    most so many, 0 = as found. smoothing: rounds, each about an edge wide. texture: texels a side, 0 = none.
    """

    resolution: int
    method: str = "auto"
    crop: CropBox | None = None
    triangles: int = 0
    smoothing: int = 5
    texture: int = 0


def make_surface(model: RadianceModel, cameras: Cameras, request: SurfaceRequest) -> tuple[Mesh, dict[str, object]]:
    """Returns the mesh of a model, in the frame of the input poses, and how it was made.

    Raises:
        InputError: there is no surface.
    """
    method = request.method
    if method == "auto":
        method = "fusion" if request.resolution <= FUSED_RESOLUTION else "density"
    views = render_depths(model, _bounded(cameras))
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
    mesh = smoothed(without_small_pieces(mesh), request.smoothing, cell)
    mesh = decimated(mesh, request.triangles or (TEXTURE_TRIANGLES if request.texture else 0))
    mesh = without_small_pieces(mesh)  # crumbs that decimation leaves of what only just hung together
    if not is_watertight(mesh):
        mesh = with_holes_filled(mesh)
    how.update(joints(mesh))
    mesh = replace(mesh, normals=vertex_normals(mesh))
    return _colored(mesh, model, views, request.texture), how


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


def _bounded(cameras: Cameras) -> Cameras:
    """Returns the cameras as pinholes with pictures of one size, which is not too great."""
    factor = min(1.0, (MOST_LOOKED_AT / (len(cameras) * cameras.width * cameras.height)) ** 0.5)
    width, height = max(1, int(cameras.width * factor)), max(1, int(cameras.height * factor))
    same = cameras.resized(width, height)
    return Cameras(same.world_from_camera, same.focal, same.center, width, height)


def _colored(mesh: Mesh, model: RadianceModel, views: DepthViews, texture: int) -> Mesh:
    """Returns the mesh with vertex colours and, if texture > 0, with a texture of so many texels a side."""
    point, normal = [mesh.vertices], [mesh.normals]
    if texture:
        mesh = unwrapped(mesh, texture)
        texels = sheet(mesh, texture)
        point, normal = [mesh.vertices, texels.point], [mesh.normals, texels.normal]
    place, outwards = (torch.from_numpy(numpy.concatenate(part)) for part in (point, normal))
    rgb = to_bytes(seen_color(model, views, place, outwards, BEHIND * model.step_length())).numpy()
    mesh = replace(mesh, rgb=rgb[: len(mesh.vertices)])
    return replace(mesh, texture=painted(texels, rgb[len(mesh.vertices) :])) if texture else mesh
