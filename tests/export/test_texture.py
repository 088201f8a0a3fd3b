"""Textures: every place of the surface finds its colour in them."""

import numpy
import pytest
import torch

from nerf.export.appearance import diffuse_color, facing_directions
from nerf.export.mesh import Mesh, vertex_normals
from nerf.export.texture import baked, unwrapped
from nerf.export.volume import look
from tests.conftest import RADIUS, ball_color
from tests.export.ball import ball_model, cameras_round
from tests.export.test_mesh import icosphere


@pytest.fixture(scope="module")
def baked_ball():
    pytest.importorskip("xatlas")
    shape = icosphere(3)
    mesh = Mesh(shape.vertices, shape.faces, vertex_normals(shape), numpy.zeros((len(shape.vertices), 3), numpy.uint8))
    made = unwrapped(mesh, 256)
    return baked(made, 256, torch.from_numpy(made.normals), lambda point, _: point * 0.4 + 0.5)


def test_unwrapping_keeps_the_triangles(baked_ball):
    shape = icosphere(3)
    assert len(baked_ball.faces) == len(shape.faces)
    assert (baked_ball.uv >= 0).all() and (baked_ball.uv <= 1).all()
    ours, theirs = (numpy.sort(m.vertices[m.faces].mean(1), axis=0) for m in (baked_ball, shape))
    assert numpy.allclose(ours, theirs, atol=1e-6)


def test_the_texture_holds_the_colour_of_every_place(baked_ball):
    weight = numpy.random.default_rng(0).dirichlet([1, 1, 1], len(baked_ball.faces)).astype(numpy.float32)[..., None]
    point = (baked_ball.vertices[baked_ball.faces] * weight).sum(1)
    uv = (baked_ball.uv[baked_ball.faces] * weight).sum(1)
    texel = (uv * 256).astype(int).clip(0, 255)
    found = baked_ball.texture[255 - texel[:, 1], texel[:, 0]] / 255
    assert numpy.abs(found - (point * 0.4 + 0.5)).max() < 0.05  # a texel is a hundredth of the ball wide


def test_a_surface_is_looked_at_from_where_cameras_see_it():
    model, cameras = ball_model(), cameras_round()
    below = cameras[cameras.world_from_camera[:, 2, 3] < -0.5]
    normal = torch.nn.functional.normalize(torch.tensor([[0.0, 0, 1], [0.2, 0.3, -1], [1.0, 0, -1]]), dim=1)
    facing = facing_directions(look(model, below), RADIUS * normal, normal, 0.02)
    assert torch.equal(facing[0], normal[0])  # no camera sees the top
    assert ((facing * normal).sum(1)[1:] > 0.8).all() and (facing[1:] != normal[1:]).any()


def test_the_colour_of_a_place_is_that_of_the_ball_even_from_a_little_off_it():
    normal = torch.nn.functional.normalize(torch.randn(200, 3, generator=torch.Generator().manual_seed(0)), dim=1)
    for radius in (RADIUS, RADIUS - 0.01, RADIUS + 0.005):
        rgb = diffuse_color(ball_model(), radius * normal, normal)
        # Looks from 25 degrees aside meet the ball a little aside.
        assert numpy.abs(rgb.numpy() - ball_color(normal.numpy())).mean() < 0.03
