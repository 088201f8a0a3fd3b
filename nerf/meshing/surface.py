"""From a model to the mesh that is handed on."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy
import torch

from nerf.capture.subject import MOST_POINTS, Subject, find_subject
from nerf.color import to_bytes
from nerf.errors import InputError
from nerf.geometry.camera_rig import forward_facing, widest_gap
from nerf.geometry.cameras import Cameras
from nerf.geometry.scene_box import CropBox, SceneBox
from nerf.geometry.up import find_up
from nerf.meshing.appearance import BEHIND, seen_color
from nerf.meshing.marching_cubes import block_planes, extract
from nerf.meshing.mesh import (
    SMALLEST_PIECE,
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
from nerf.rendering.witnesses import thumbnails
from nerf.report import say

HALF_ROUND = 150.0  # degrees round the scene without a camera, from which its back is unknown
GLANCE = 192  # pixels of the longer side of the pictures in which the thing is looked for
PIXEL_CELLS = 0.75  # of a lattice cell is as wide as a pixel of the distances need be at the most
SEEN_CELLS = 2.0  # off what a camera sees, a vertex still is of it
# Of an unbounded capture: pictures that must show a vertex, as one alone makes clouds of what it does not know, and the
# part of the largest piece that another must have.
ENOUGH = 3
THING_PIECE = 0.03
FLOOR = 1.5  # thicknesses of the floor that go with it when it is cut away
FUSED_RESOLUTION = 512  # above it, asking every camera about every point takes long
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
    whole: bool = False  # of an unbounded capture, all within the cameras' distance, not only the thing they look at
    floor: str = "keep"  # of `nerf.exporters.choices.FLOORS`: what the thing stands on, within its box
    triangles: int = 0  # at most so many; 0 = as found
    smoothing: int = 5  # rounds, each about an edge wide
    texture: int = 0  # texels a side; 0 = none
    fade_unseen: bool = False  # what no camera sees is grey


def make_surface(
    model: RadianceModel, cameras: Cameras, request: SurfaceRequest, views: DepthViews | None = None
) -> tuple[Mesh, dict[str, object]]:
    """Returns the mesh of a model, in the frame of the input poses, and how it was made.

    Args:
        model: what is meshed.
        cameras: those it learned from.
        request: how.
        views: what `pinhole_cameras` of the cameras see of the whole model, if that has been rendered already.

    Raises:
        InputError: there is no surface.
    """
    method = request.method
    if method == "auto":
        method = "fusion" if request.resolution <= FUSED_RESOLUTION else "density"

    # What of the scene it is of, and what cameras see of that.
    thing = chosen_part(model, cameras, request)
    crop = thing.box if thing else request.crop
    part = None if model.box.contraction is None or crop is None else _cube(crop)
    box = part or model.box.core
    cell = box.side / request.resolution
    if views is None:
        size = 1.0 if request.texture else enough_pixels(cameras, box, cell)
        views = render_depths(model, pinhole_cameras(cameras, size), part)

    # The surface, as finely as the lattice holds it.
    how: dict[str, object] = {"method": method, "resolution": request.resolution, "cell": cell, "part": "all"}
    if thing:
        how["part"] = thing.words
        how["part_box"] = [thing.box.low.tolist(), thing.box.high.tolist()]
    elif request.crop is not None:
        how["part"] = "the crop box"
    if method == "density":
        volume = DensityVolume(model, views, request.resolution, box)
        how["log_density_level"] = volume.level
    else:
        volume = FusedVolume(model, views, request.resolution, box)
    mesh = Mesh(*extract(volume, crop, block_planes(request.resolution)))
    if not model.carved or one_sided(cameras):
        mesh = _seen_part(mesh, views, SEEN_CELLS * cell, min(ENOUGH, len(views)) if thing else 1)
    if thing and thing.floor and request.floor == "cut":
        mesh = _above(mesh, *thing.floor, FLOOR * thing.thick)

    # Cleaned, and with as many triangles as asked for.
    least = THING_PIECE if thing else SMALLEST_PIECE
    mesh = smoothed(without_small_pieces(mesh, least), request.smoothing, cell)
    mesh = decimated(mesh, request.triangles or (TEXTURE_TRIANGLES if request.texture else 0))
    mesh = without_small_pieces(mesh)  # crumbs that decimation leaves of what only just hung together
    if not is_watertight(mesh):
        mesh = with_holes_filled(mesh)

    if request.triangles and len(mesh.faces) > request.triangles:
        say("mesh", f"mesh: decimation ended at {len(mesh.faces)} triangles, not {request.triangles}")

    how.update(joints(mesh))
    mesh = replace(mesh, normals=vertex_normals(mesh))
    return _colored(mesh, model, views, request), how


def chosen_part(model: RadianceModel, cameras: Cameras, request: SurfaceRequest) -> Subject | None:
    """Returns the thing that an unbounded capture is of, and says so; None where bounds or the user decide."""
    if model.box.contraction is None or request.crop is not None or request.whole:
        if request.floor == "cut":
            say("mesh", "mesh: --floor cut does nothing here: a floor is only told from the thing that is found")
        return None

    views = render_depths(model, thumbnails(cameras, GLANCE))
    points = views.points(MOST_POINTS)
    thing = find_subject(views.cameras, points)
    ends = torch.quantile(points, torch.tensor([0.01, 0.99]), dim=0)
    size, around = (
        " x ".join(f"{side:.3g}" for side in sides.tolist())
        for sides in (thing.box.high - thing.box.low, ends[1] - ends[0])
    )
    middle = ", ".join(f"{value:.3g}" for value in ((thing.box.high + thing.box.low) / 2).tolist())
    floor = f"what it stands on is {'cut away' if request.floor == 'cut' else 'kept'}"
    say(
        "mesh",
        f"mesh: {thing.words}: {size} scene units about ({middle}), of surroundings {around}; "
        f"{floor if thing.floor else 'nothing tells what it stands on'}; --crop or --whole for another",
    )
    return thing


def enough_pixels(cameras: Cameras, box: SceneBox, cell: float) -> float:
    """Returns the factor, at most 1, by which pictures may be shrunk and still tell the cells of a box apart."""
    away = (cameras.world_from_camera[:, :, 3] - (box.corner + box.side / 2)).norm(dim=1)
    pixel = (away / cameras.focal.mean(dim=1)).median().item()
    return min(1.0, pixel / (PIXEL_CELLS * cell))


def _cube(box: CropBox) -> SceneBox:
    """Returns the cube about a box: the lattice is as fine as can be for what is in it."""
    side = (box.high - box.low).max().item() * 1.02  # so that the faces are inside of the lattice
    return SceneBox(((box.low + box.high) / 2 - side / 2).float(), side)


def one_sided(cameras: Cameras) -> bool:
    """Returns whether cameras stand to one side only: what silhouettes leave behind the scene is then no thing's."""
    return forward_facing(cameras) or widest_gap(cameras, find_up(cameras).direction)[1] > HALF_ROUND


def _seen_part(mesh: Mesh, views: DepthViews, slack: float, enough: int) -> Mesh:
    """Returns the triangles that enough cameras see: nothing tells what is behind them.

    slack: scene units that a vertex may lie off the surface that a camera sees.
    """
    point = torch.from_numpy(mesh.vertices)
    off = torch.full((len(point),), slack)
    seen = views.witnessed(point, off, off, torch.full((len(point),), enough, dtype=torch.int32), slack)
    return _kept(mesh, seen.numpy())


def _above(mesh: Mesh, normal: torch.Tensor, offset: float, height: float) -> Mesh:
    """Returns the triangles that are higher than a height above the plane normal . x = offset."""
    return _kept(mesh, mesh.vertices @ normal.numpy() > offset + height)


def _kept(mesh: Mesh, vertex: numpy.ndarray) -> Mesh:
    """Returns the triangles all of whose vertices are kept, by (V,) bool.

    Raises:
        InputError: there are none.
    """
    faces = mesh.faces[vertex[mesh.faces].all(axis=1)]
    if not len(faces):
        raise InputError(EMPTY)
    return replace(mesh, faces=faces)


def _colored(mesh: Mesh, model: RadianceModel, views: DepthViews, request: SurfaceRequest) -> Mesh:
    """Returns the mesh with vertex colours and, if one is asked for, with a texture."""

    def seen(point: numpy.ndarray, normal: numpy.ndarray) -> numpy.ndarray:
        slack = BEHIND * model.step_length()
        where = torch.from_numpy(point), torch.from_numpy(normal)
        return to_bytes(seen_color(model, views, *where, slack, request.fade_unseen)).numpy()

    if not request.texture:
        return replace(mesh, rgb=seen(mesh.vertices, present(mesh.normals)))

    mesh = unwrapped(mesh, request.texture)
    texels = sheet(mesh, request.texture)
    point = numpy.concatenate([mesh.vertices, texels.point])
    normal = numpy.concatenate([present(mesh.normals), texels.normal])
    rgb = seen(point, normal)

    count = len(mesh.vertices)
    return replace(mesh, rgb=rgb[:count], texture=painted(texels, rgb[count:]))
