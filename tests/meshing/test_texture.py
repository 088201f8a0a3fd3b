"""Textures: every place of the surface finds its colour in them."""

import numpy
import pytest
import torch

from nerf.color import to_bytes
from nerf.meshing.appearance import CAMERAS, seen_color
from nerf.meshing.mesh import Mesh, vertex_normals
from nerf.meshing.texture import painted, sheet, unwrapped
from nerf.ops.composite import Rendering
from nerf.rendering.depth_views import render_depths
from tests.ball import ball_model, cameras_round
from tests.conftest import RADIUS, ball_color
from tests.meshing.test_mesh import icosphere


@pytest.fixture(scope="module")
def unwrapped_ball():
    pytest.importorskip("xatlas")
    shape = icosphere(3)
    return unwrapped(Mesh(shape.vertices, shape.faces, vertex_normals(shape)), 256)


def test_what_no_camera_sees_is_grey_on_request():
    model = ball_model()
    cameras = cameras_round(size=96)
    views = render_depths(model, cameras[cameras.world_from_camera[:, 2, 3] > 0.8])
    normal = torch.tensor([[0.0, 0.0, 1.0], [0.0, 0.0, -1.0]])
    kept, faded = (seen_color(model, views, RADIUS * normal, normal, 0.02, fade) for fade in (False, True))
    assert torch.equal(kept[0], faded[0]) and (faded[1] == 0.5).all() and not torch.equal(kept[1], faded[1])


def test_unwrapping_keeps_the_triangles(unwrapped_ball):
    shape = icosphere(3)
    assert len(unwrapped_ball.faces) == len(shape.faces)
    assert (unwrapped_ball.uv >= 0).all() and (unwrapped_ball.uv <= 1).all()
    ours, theirs = (numpy.sort(m.vertices[m.faces].mean(1), axis=0) for m in (unwrapped_ball, shape))
    assert numpy.allclose(ours, theirs, atol=1e-6)


def test_the_texture_holds_the_colour_of_every_place(unwrapped_ball):
    texels = sheet(unwrapped_ball, 256)
    assert numpy.abs(numpy.linalg.norm(texels.normal, axis=1) - 1).max() < 1e-5
    assert (texels.normal * texels.point).sum(1).min() > 0.95
    texture = painted(texels, to_bytes(torch.from_numpy(texels.point) * 0.4 + 0.5).numpy())
    faces = unwrapped_ball.faces
    weight = numpy.random.default_rng(0).dirichlet([1, 1, 1], len(faces)).astype(numpy.float32)[..., None]
    point = (unwrapped_ball.vertices[faces] * weight).sum(1)
    uv = (unwrapped_ball.uv[faces] * weight).sum(1)
    texel = (uv * 256).astype(int).clip(0, 255)
    found = texture[255 - texel[:, 1], texel[:, 0]] / 255
    assert numpy.abs(found - (point * 0.4 + 0.5)).max() < 0.05  # a texel is a hundredth of the ball wide


def directions(count):
    return torch.nn.functional.normalize(torch.randn(count, 3, generator=torch.Generator().manual_seed(0)), dim=1)


@pytest.mark.parametrize("radius", [RADIUS, RADIUS - 0.008, RADIUS + 0.005])
def test_the_colour_of_a_place_is_that_of_the_ball_even_from_a_little_off_it(radius):
    model, normal = ball_model(), directions(500)
    rgb = seen_color(model, render_depths(model, cameras_round(size=96)), radius * normal, normal, 0.02)
    assert numpy.abs(rgb.numpy() - ball_color(normal.numpy())).mean() < 0.02


def painting(model, cameras, paint):
    """Makes a model show every camera a colour of its own, paint (F, 3)."""
    eye = cameras.world_from_camera[:, :, 3]

    def render(rays):
        frame = torch.cdist(rays.origin, eye).argmin(dim=1)
        shown = torch.ones(len(rays))
        return Rendering(paint[frame], shown, shown)

    model.render = render


def test_only_cameras_that_see_a_place_tell_its_colour():
    """One camera is shown red things, another green ones: each place has the colour of its own camera."""
    model, cameras = ball_model(), cameras_round(40)
    height = cameras.world_from_camera[:, 2, 3]
    two = cameras[torch.stack([height.argmin(), height.argmax()])]
    views = render_depths(model, two)
    paint = torch.tensor([[1.0, 0, 0], [0, 1.0, 0]])
    painting(model, two, paint)
    normal = torch.nn.functional.normalize(two.world_from_camera[:, :, 3], dim=1)
    normal = torch.cat([normal, torch.linalg.cross(normal[:1], normal.new_tensor([[1.0, 0, 0]]))])
    rgb = seen_color(model, views, RADIUS * normal, normal, 0.02)
    assert torch.allclose(rgb[:2], paint, atol=1e-5)
    assert numpy.allclose(rgb[2], ball_color(normal[2].numpy()), atol=1e-5)  # seen by none: the field is asked


def test_the_camera_that_faces_a_place_counts_most():
    model, cameras = ball_model(), cameras_round(40)
    eye = cameras.world_from_camera[:, :, 3]
    near = (eye[0] - eye).norm(dim=1).argsort()[[0, 5]]
    views = render_depths(model, cameras[near])
    painting(model, cameras[near], torch.tensor([[1.0], [0.0]]).expand(2, 3))
    normal = torch.nn.functional.normalize(eye[0], dim=0)[None]
    assert seen_color(model, views, RADIUS * normal, normal, 0.02).min() > 0.55


def test_rays_that_mostly_pass_a_place_tell_no_colour():
    model, cameras = ball_model(), cameras_round(6)
    views, normal = render_depths(model, cameras), directions(500)
    real = model.render

    def haloed(rays):  # what thin rays hold is not the ball's
        seen = real(rays)
        thin = torch.arange(len(rays)) % 3 == 0
        return Rendering(torch.where(thin[:, None], 9, seen.rgb), torch.where(thin, 0.4, seen.opacity), seen.depth)

    expected = seen_color(model, views, RADIUS * normal, normal, 0.02)
    model.render = haloed
    found = seen_color(model, views, RADIUS * normal, normal, 0.02)
    assert (found - expected).abs().mean() < 0.02


def test_only_the_rays_of_the_best_cameras_are_followed():
    model, normal = ball_model(), directions(20)
    views = render_depths(model, cameras_round(40))
    real, asked = model.render, []
    model.render = lambda rays: asked.append(len(rays)) or real(rays)
    rgb = seen_color(model, views, RADIUS * normal, normal, 0.02)
    assert numpy.abs(rgb.numpy() - ball_color(normal.numpy())).mean() < 0.02
    assert len(asked) == 1 and 3 * len(normal) < asked[0] <= CAMERAS * len(normal)
