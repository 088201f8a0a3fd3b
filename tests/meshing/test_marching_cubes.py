"""Marching cubes block by block."""

import numpy
import pytest
import torch
import trimesh

from nerf.errors import InputError
from nerf.geometry.scene_box import SceneBox, crop_box
from nerf.meshing.marching_cubes import block_planes, extract


class Blobs:
    """Two balls, one of which is cut by the border of the cube, and a wave between them."""

    def __init__(self, resolution):
        self.box, self.resolution = SceneBox(torch.tensor([-1.0, -1.0, -1.0]), 2.0), resolution

    def planes(self, first, last):
        axis = torch.linspace(-1, 1, self.resolution + 1)
        x, y, z = torch.meshgrid(axis[first : last + 1], axis, axis, indexing="ij")
        near = 0.5 - (x + 0.3).square() - y.square() - z.square()
        far = 0.1 - (x - 0.9).square() - (y - 0.2).square() - z.square()
        return torch.maximum(near, far) + 0.05 * torch.sin(9 * x) * torch.cos(7 * y)


def triangles(vertices, faces):
    """Returns the corners of all triangles in an order of their own, to a thousandth of a cell."""
    corner = numpy.round(vertices[faces].astype(numpy.float64) * 1e5).astype(numpy.int64)
    turned = numpy.stack([numpy.roll(corner, k, axis=1).reshape(len(faces), 9) for k in range(3)])
    least = numpy.lexsort(turned.transpose(2, 0, 1)[::-1], axis=0)[0]
    flat = turned[least, numpy.arange(len(faces))]
    return flat[numpy.lexsort(flat.T[::-1])]


@pytest.mark.parametrize("depth", [1, 3, 7, 39])
def test_blocks_give_the_same_mesh_as_one_piece(depth):
    whole, parts = extract(Blobs(40), None, 40), extract(Blobs(40), None, depth)
    assert len(whole[0]) == len(parts[0]) and len(whole[1]) == len(parts[1])
    assert numpy.abs(triangles(*whole) - triangles(*parts)).max() <= 1
    assert trimesh.Trimesh(*parts, process=False).is_watertight


def test_the_surface_is_closed_where_the_cube_cuts_it_and_faces_outwards():
    shape = trimesh.Trimesh(*extract(Blobs(40), None, 40), process=False)
    assert shape.is_watertight and shape.volume > 0


@pytest.mark.parametrize("depth", [16, 5])
def test_a_crop_box_cuts_where_its_faces_are(depth):
    crop = [-0.61, -0.33, -2, 0.02, 0.44, 2]
    vertices, faces = extract(Blobs(40), crop_box(crop), depth)
    assert trimesh.Trimesh(vertices, faces, process=False).is_watertight
    assert numpy.abs(vertices.min(0)[:2] - crop[:2]).max() < 1e-4
    assert numpy.abs(vertices.max(0)[:2] - crop[3:5]).max() < 1e-4


def test_nothing_inside_is_an_error():
    with pytest.raises(InputError, match="the model is empty"):
        extract(Blobs(20), crop_box([0.9, 0.9, 0.9, 1, 1, 1]), 20)


def test_a_block_is_bounded_in_memory():
    assert block_planes(1024) * 1025**2 * 4 <= 2**27 and block_planes(64) == 64
