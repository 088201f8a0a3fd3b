"""Meshes: the surface where the density crosses a level, by marching cubes (Lorensen and Cline 1987).

The density is sampled on a lattice of the scene's cube, in the frame of the input poses; of unbounded scenes, on one
round what the cameras look at, as wide as they stand away from it. A radiance field says nothing
about places that no camera sees; inside the visual hull such places are taken as solid, so that the mesh has no inner
walls. Small floating pieces are dropped.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

import numpy
import torch
from torch import Tensor

from nerf.cameras import Cameras
from nerf.errors import InputError
from nerf.files import check_writable, replacing
from nerf.rendering import RadianceModel

FORMATS = (".ply", ".obj", ".glb")
POINTS_AT_ONCE = 2**18
LOG_RANGE = 4.0  # natural logs of density kept either side of the level: more would only skew the interpolation
SMALLEST_PIECE = 0.01  # of the largest piece's triangles: smaller ones float and are dropped
SEEING_CAMERAS, SEEING_SIDE = 32, 256  # cameras, and pixels of the longer side, that tell where the surface is
EMPTY = "the model is empty: no ray meets a surface; train longer"


@dataclass(frozen=True)
class Mesh:
    """A triangle mesh in the input frame.

    vertices: (V, 3) float32, scene units. faces: (T, 3) int, counter-clockwise from outside. rgb: (V, 3) uint8, sRGB.
    """

    vertices: numpy.ndarray
    faces: numpy.ndarray
    rgb: numpy.ndarray


def check_mesh_file(file: Path) -> None:
    """Raises InputError now, not after the extraction, if a mesh cannot be written under this name."""
    if file.suffix.lower() not in FORMATS:
        raise InputError(f'{file}: "{file.suffix}" is not a mesh format; use one of {", ".join(FORMATS)}')
    check_writable(file)


@dataclass(frozen=True)
class DepthView:
    """What one camera sees: depth (H, W) along the ray, scene units; infinite where light goes through."""

    camera: Cameras
    depth: Tensor


def extract_mesh(model: RadianceModel, cameras: Cameras, resolution: int) -> Mesh:
    """Returns the surface of a model, coloured as seen along its normals.

    Args:
        model: the trained model.
        cameras: the training cameras, which tell what was seen.
        resolution: cells of the lattice along a side of the cube.

    Raises:
        InputError: nothing is solid.
    """
    from skimage.measure import marching_cubes

    views = look(model, cameras)
    level = surface_level(model, views)
    volume = log_density(model, resolution).clamp_(level - LOG_RANGE, level + LOG_RANGE)
    volume[unseen(model, views, resolution)] = level + LOG_RANGE
    # A solid lattice point on the border would leave the surface open there.
    for axis in range(3):
        volume.select(axis, 0).fill_(level - LOG_RANGE)
        volume.select(axis, resolution).fill_(level - LOG_RANGE)
    if not (volume > level).any():
        raise InputError(EMPTY)
    core = model.cube.core
    cell = core.side / resolution
    vertices, faces, normals, _ = marching_cubes(
        volume.numpy(), level, spacing=(cell,) * 3, gradient_direction="ascent"
    )
    vertices, faces, normals = _without_small_pieces(vertices, faces, normals)
    point = torch.from_numpy(vertices.astype(numpy.float32)) + core.corner
    inward = torch.nn.functional.normalize(torch.from_numpy(normals.astype(numpy.float32)), dim=1)
    return Mesh(point.numpy(), faces, _colors(model, point, inward))


@torch.no_grad()
def look(model: RadianceModel, cameras: Cameras) -> list[DepthView]:
    """Returns what evenly chosen cameras see of the surface, in small pictures."""
    from tqdm import tqdm

    chosen = torch.linspace(0, len(cameras) - 1, min(len(cameras), SEEING_CAMERAS)).round().long().tolist()
    factor = min(1.0, SEEING_SIDE / max(cameras.width, cameras.height))
    small = cameras.resized(round(cameras.width * factor), round(cameras.height * factor))
    views = []
    for frame in tqdm(chosen, desc="looking from the cameras", unit="view"):
        picture = model.picture(small, frame)
        depth = torch.where(picture.opacity > 0.5, picture.depth / picture.opacity.clamp(min=0.5), math.inf)
        views.append(DepthView(small[frame : frame + 1], depth))
    return views


@torch.no_grad()
def surface_level(model: RadianceModel, views: list[DepthView]) -> float:
    """Returns the log density, per scene unit, at which rays meet the surface: the median over the pixels of the views.

    Half of the rendered surface then lies inside the mesh and half outside, however sharp the field has become.

    Raises:
        InputError: no ray meets anything.
    """
    values = []
    for view in views:
        hit = torch.isfinite(view.depth.flatten())
        rays = view.camera.image_rays(0)[hit]
        density = model.density(rays.origin + view.depth.flatten()[hit, None] * rays.direction)
        values.append(density[density > 0].log())
    values = torch.cat(values)
    if len(values) == 0:
        raise InputError(EMPTY)
    return values.median().item()


def _lattice_points(model: RadianceModel, row: Tensor, resolution: int) -> Tensor:
    """Returns world points (N, 3) of flat lattice indices (N,)."""
    size = resolution + 1
    index = torch.stack([row // size**2, row // size % size, row % size], dim=1)
    return model.cube.core.corner + index * (model.cube.core.side / resolution)


@torch.no_grad()
def log_density(model: RadianceModel, resolution: int) -> Tensor:
    """Returns log density per scene unit on the lattice, (N + 1, N + 1, N + 1) float32; -inf where cells are empty."""
    from tqdm import tqdm

    n_points = (resolution + 1) ** 3
    volume = torch.empty(n_points)
    for start in tqdm(range(0, n_points, POINTS_AT_ONCE), desc="sampling the density", unit="block"):
        row = torch.arange(start, min(start + POINTS_AT_ONCE, n_points))
        volume[row] = model.density(_lattice_points(model, row, resolution)).log()
    return volume.view((resolution + 1,) * 3)


@torch.no_grad()
def unseen(model: RadianceModel, views: list[DepthView], resolution: int) -> Tensor:
    """Returns which lattice points (N + 1, N + 1, N + 1) lie in the visual hull and behind what every camera sees.

    Without a hull of silhouettes (no alpha) nothing counts as unseen.
    """
    behind = torch.zeros((resolution + 1) ** 3, dtype=torch.bool)
    if model.cube.contraction is None and not model.occupancy.hull.all():
        row = _hull_rows(model, resolution)
        for view in views:
            row = row[~_visible(_lattice_points(model, row, resolution), view, model.cube.side / resolution)]
        behind[row] = True
    return behind.view((resolution + 1,) * 3)


def _visible(point: Tensor, view: DepthView, slack: float) -> Tensor:
    """Returns whether points (N, 3) are in the picture and not farther than the surface plus `slack`."""
    lens = view.camera
    pixel, along = lens.project(0, point)
    column, row = pixel.floor().long().unbind(1)
    inside = lens.shows(0, pixel, along)
    surface = view.depth[row.clamp(0, lens.height - 1), column.clamp(0, lens.width - 1)]
    return inside & ((point - lens.world_from_camera[0, :, 3]).norm(dim=1) < surface + slack)


def _hull_rows(model: RadianceModel, resolution: int) -> Tensor:
    """Returns flat indices of the lattice points whose cell is in the hull."""
    hull, n_points = model.occupancy.hull.flatten(), (resolution + 1) ** 3
    rows = []
    for start in range(0, n_points, POINTS_AT_ONCE):
        row = torch.arange(start, min(start + POINTS_AT_ONCE, n_points))
        unit = model.cube.unit_from_world(_lattice_points(model, row, resolution))
        rows.append(row[hull[model.occupancy.cell_rows(unit)]])
    return torch.cat(rows)


def _without_small_pieces(vertices: numpy.ndarray, faces: numpy.ndarray, normals: numpy.ndarray):
    """Returns vertices, faces and normals without the connected pieces that are small beside the largest."""
    from scipy.sparse import coo_matrix
    from scipy.sparse.csgraph import connected_components

    edge = numpy.concatenate([faces[:, [0, 1]], faces[:, [1, 2]]])
    graph = coo_matrix((numpy.ones(len(edge), bool), (edge[:, 0], edge[:, 1])), shape=(len(vertices),) * 2)
    piece = connected_components(graph, directed=False)[1]
    size = numpy.bincount(piece[faces[:, 0]])
    faces = faces[size[piece[faces[:, 0]]] >= SMALLEST_PIECE * size.max()]
    kept, faces = numpy.unique(faces, return_inverse=True)
    return vertices[kept], faces.reshape(-1, 3), normals[kept]


@torch.no_grad()
def _colors(model: RadianceModel, point: Tensor, direction: Tensor) -> numpy.ndarray:
    parts = [
        model.color(point[start : start + POINTS_AT_ONCE], direction[start : start + POINTS_AT_ONCE])
        for start in range(0, len(point), POINTS_AT_ONCE)
    ]
    return (torch.cat(parts) * 255 + 0.5).to(torch.uint8).numpy()


def write_mesh(file: Path, mesh: Mesh) -> None:
    """Writes .ply, .obj or .glb with vertex colours, atomically.

    glTF wants linear colours where the other two want display colours (sRGB).

    Raises:
        InputError: the file cannot be written.
    """
    import trimesh

    rgb = mesh.rgb
    if file.suffix.lower() == ".glb":
        value = rgb / 255.0
        linear = numpy.where(value <= 0.04045, value / 12.92, ((value + 0.055) / 1.055) ** 2.4)
        rgb = (linear * 255 + 0.5).astype(numpy.uint8)
    shape = trimesh.Trimesh(mesh.vertices, mesh.faces, vertex_colors=rgb, process=False)
    with replacing(file) as partial:
        shape.export(partial)
