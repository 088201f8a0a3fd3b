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
CELLS_KEPT = 4.0  # distances are told to so many cells: beyond, they decide nothing
TRACED, CLOSE = 96, 2e-4  # steps of a ray at most; sides of the cube at which it has met the surface
CAUTION = 0.9  # of the distance that a ray steps: a learned distance may be too great
NORMAL_STEP = 3e-3  # sides of the cube, of central differences: wider than a fine grid's cells, whose kinks are grain
LIGHT = (0.4, -0.5, 0.75)  # whence it comes


class DistanceVolume:
    """The lattice of a field's distances, in cells, above 0 inside: what `marching.extract` takes."""

    box = UNIT_CUBE

    def __init__(self, field: Field, resolution: int) -> None:
        self.field, self.resolution = field, resolution

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
    inverse = 1 / torch.where(direction.abs() < 1e-9, 1e-9, direction)
    near, far = ((side - origin) * inverse for side in (0.0, 1.0))
    t, end = torch.minimum(near, far).amax(1).clamp(min=0), torch.maximum(near, far).amin(1)
    met, active = torch.zeros(len(t), dtype=torch.bool), (t < end).nonzero().squeeze(1)
    for _ in range(TRACED):
        if len(active) == 0:
            break
        place = origin[active] + t[active, None] * direction[active]
        distance = field(place.clamp(0, 1))
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
    ring = [math.cos(elevation) * math.cos(azimuth), math.cos(elevation) * math.sin(azimuth)]
    towards = torch.tensor([*ring, math.sin(elevation)])
    towards, pole, light = (value[[1, 2, 0]] for value in (towards, torch.tensor([0.0, 0.0, 1.0]), torch.tensor(LIGHT)))
    middle = torch.full((3,), 0.5)
    pose = look_at(middle + 3 * towards, middle, pole)
    (width, height), focal = size, 2.4 * min(size) * zoom
    camera = Cameras(pose[None], torch.full((1, 2), focal), torch.tensor([size]) / 2, width, height)
    rays = camera.image_rays(0)
    t, met = sphere_traced(field, rays.origin, rays.direction)
    place = (rays.origin + t[:, None] * rays.direction)[met].clamp(0, 1)
    axes = torch.eye(3) * NORMAL_STEP
    slope = torch.stack([field((place + axis).clamp(0, 1)) - field((place - axis).clamp(0, 1)) for axis in axes], 1)
    normal = torch.nn.functional.normalize(slope, dim=1)
    lit = (normal @ torch.nn.functional.normalize(light, dim=0)).clamp(min=0)
    facing = (normal * -rays.direction[met]).sum(1).clamp(min=0)
    rgb = torch.ones(width * height, 3)
    rgb[met] = torch.tensor([0.93, 0.80, 0.64]) * (0.18 + 0.30 * facing + 0.55 * lit)[:, None]
    return (rgb.clamp(0, 1).sqrt() * 255 + 0.5).to(torch.uint8).view(height, width, 3).numpy()
