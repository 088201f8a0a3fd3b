"""Surfaces of signed-distance fields: lattices for marching cubes, and sphere-traced pictures."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy
import torch
from torch import Tensor

from nerf.geometry.cameras import Cameras, look_at
from nerf.geometry.scene_box import SceneBox
from nerf.meshing.marching_cubes import block_planes, extract
from nerf.meshing.mesh import Mesh, vertex_normals
from nerf.meshing.volume import lattice_planes

Field = Callable[[Tensor], Tensor]
UNIT_CUBE = SceneBox(torch.zeros(3), 1.0)
CELLS_KEPT = 4.0  # distances are cut to so many cells: beyond, they decide nothing
MOST_STEPS = 96  # of a ray
CLOSE = 2e-4  # sides of the cube at which a ray has met the surface
CAUTION = 0.9  # of the distance that a ray steps: a learned distance may be too great
LEAST_SLOPE = 1e-9  # of a ray along an axis: in place of 0, by which nothing can be divided
NORMAL_STEP = 3e-3  # sides of the cube, of central differences: wider than a fine grid's cells, whose kinks are grain
LIGHT = (0.4, -0.5, 0.75)  # the direction from which it comes


class DistanceVolume:
    """The lattice of a field's distances, in cells, above 0 inside: what `marching_cubes.extract` takes."""

    box = UNIT_CUBE

    def __init__(self, field: Field, resolution: int) -> None:
        self.field = field
        self.resolution = resolution

    @torch.no_grad()
    def planes(self, first: int, last: int) -> Tensor:
        """Returns values (last - first + 1, N + 1, N + 1) float32 of the planes `first` to `last` along x."""
        return lattice_planes(self.box, self.resolution, (first, last), self._value)

    def _value(self, point: Tensor) -> Tensor:
        return (-self.field(point.clamp(0, 1)) * self.resolution).clamp(-CELLS_KEPT, CELLS_KEPT)


def surface_mesh(field: Field, resolution: int) -> Mesh:
    """Returns the mesh (unit cube) of where a field is 0.

    Raises:
        InputError: the field is nowhere below 0.
    """
    mesh = Mesh(*extract(DistanceVolume(field, resolution), None, block_planes(resolution)))
    return Mesh(mesh.vertices, mesh.faces, vertex_normals(mesh))


@torch.no_grad()
def sphere_traced(field: Field, origin: Tensor, direction: Tensor) -> tuple[Tensor, Tensor]:
    """Returns distances along rays (R,), and (R,) bool whether they meet the surface within the unit cube.

    Args:
        origin, direction: (R, 3), unit directions.

    Source: Hart 1996.
    """
    # Where rays enter the cube and leave it.
    inverse = 1 / torch.where(direction.abs() < LEAST_SLOPE, LEAST_SLOPE, direction)
    low = (0.0 - origin) * inverse
    high = (1.0 - origin) * inverse
    t = torch.minimum(low, high).amax(1).clamp(min=0)
    end = torch.maximum(low, high).amin(1)

    met = torch.zeros(len(t), dtype=torch.bool)
    active = (t < end).nonzero().squeeze(1)
    for _ in range(MOST_STEPS):
        if len(active) == 0:
            break
        position = origin[active] + t[active, None] * direction[active]
        distance = field(position.clamp(0, 1))
        met[active[distance < CLOSE]] = True
        t[active] += torch.where(distance < CLOSE, 0.0, CAUTION * distance)
        active = active[(distance >= CLOSE) & (t[active] < end[active])]

    return t, met


def shape_picture(
    field: Field, size: tuple[int, int], azimuth: float = 0.6, elevation: float = 0.4, zoom: float = 1.0
) -> numpy.ndarray:
    """Returns a picture (height, width, 3) uint8 of the surface from a direction (radians), shaded by its normals.

    y is up. size: (width, height), pixels.
    """
    # Directions are given with z up, and turned to y up.
    across = math.cos(elevation)
    towards = torch.tensor([across * math.cos(azimuth), across * math.sin(azimuth), math.sin(elevation)])[[1, 2, 0]]
    up = torch.tensor([0.0, 1.0, 0.0])
    light = torch.tensor(LIGHT)[[1, 2, 0]]

    # The camera, and what it meets.
    middle = torch.full((3,), 0.5)
    width, height = size
    focal = 2.4 * min(size) * zoom
    pose = look_at(middle + 3 * towards, middle, up)
    camera = Cameras(pose[None], torch.full((1, 2), focal), torch.tensor([size]) / 2, width, height)
    rays = camera.image_rays(0)
    t, met = sphere_traced(field, rays.origin, rays.direction)
    position = (rays.origin + t[:, None] * rays.direction)[met].clamp(0, 1)

    # Normals, by central differences.
    axes = torch.eye(3) * NORMAL_STEP
    slope = [field((position + axis).clamp(0, 1)) - field((position - axis).clamp(0, 1)) for axis in axes]
    normal = torch.nn.functional.normalize(torch.stack(slope, 1), dim=1)

    # Light from a side, from everywhere, and from where the camera is.
    lit = (normal @ torch.nn.functional.normalize(light, dim=0)).clamp(min=0)
    facing = (normal * -rays.direction[met]).sum(1).clamp(min=0)
    rgb = torch.ones(width * height, 3)
    rgb[met] = torch.tensor([0.93, 0.80, 0.64]) * (0.18 + 0.30 * facing + 0.55 * lit)[:, None]
    return (rgb.clamp(0, 1).sqrt() * 255 + 0.5).to(torch.uint8).view(height, width, 3).numpy()
