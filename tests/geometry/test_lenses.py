"""Lenses: COLMAP's formulas, and rays that project back onto their pixels."""

import numpy
import pytest
import torch

from nerf.geometry.cameras import Cameras, look_at
from nerf.geometry.lenses import COLMAP_MODELS, TERMS, distort, lens_terms
from nerf.scenes.colmap_model import camera_of

WIDTH, HEIGHT = 160, 120
VALUES = {
    "f": 110.0, "fx": 110.0, "fy": 118.0, "cx": 77.0, "cy": 63.5, "k1": -0.11, "k2": 0.04, "k3": 0.012, "k4": -0.006,
    "d1": 0.05, "d2": 0.01, "d3": -0.004, "p1": 0.004, "p2": -0.003, "s1": 0.002, "s2": -0.001,
}  # fmt: skip


def cameras_of(model):
    camera = camera_of(model, (WIDTH, HEIGHT), tuple(VALUES[name] for name in COLMAP_MODELS[model][1]), "test")
    pose = look_at(torch.tensor([2.0, -1.0, 0.5]), torch.zeros(3), torch.tensor([0.0, 0.0, 1.0]))
    lens = torch.tensor([camera.lens])
    return Cameras(pose[None], torch.tensor([camera.focal]), torch.tensor([camera.center]), WIDTH, HEIGHT, lens)


@pytest.mark.parametrize("model", COLMAP_MODELS)
def test_every_ray_projects_back_onto_its_pixel(model):
    cameras = cameras_of(model)
    rays = cameras.image_rays(0)
    pixel, _ = cameras.project(0, rays.origin + 3 * rays.direction)
    row, column = torch.meshgrid(torch.arange(HEIGHT), torch.arange(WIDTH), indexing="ij")
    expected = torch.stack([column.flatten(), row.flatten()], 1) + 0.5
    assert (pixel - expected).abs().max() < 1e-3
    assert torch.allclose(rays.direction.norm(dim=1), torch.ones(len(rays)), atol=1e-6)


@pytest.mark.parametrize("model", COLMAP_MODELS)
def test_points_are_drawn_where_colmap_draws_them(model):
    pycolmap = pytest.importorskip("pycolmap")
    parameters = [VALUES[name] for name in COLMAP_MODELS[model][1]]
    theirs = pycolmap.Camera(model=model, width=WIDTH, height=HEIGHT, params=parameters)

    generator = torch.Generator().manual_seed(1)
    in_camera = torch.randn(200, 3, generator=generator, dtype=torch.float64) * torch.tensor([0.5, 0.4, 0.0])
    in_camera[:, 2] = 1 + torch.rand(200, generator=generator, dtype=torch.float64)

    cameras = cameras_of(model)
    pose = cameras.world_from_camera[0].double()
    world = (in_camera @ pose[:, :3].T + pose[:, 3]).float()
    expected = numpy.array(theirs.img_from_cam(in_camera.numpy()))
    assert numpy.abs(cameras.project(0, world)[0].numpy() - expected).max() < 1e-3
    assert int(theirs.model.value) == COLMAP_MODELS[model][0]


def test_a_fisheye_sees_at_a_right_angle_to_its_axis():
    lens = torch.tensor([lens_terms(True, {})])
    one = torch.tensor([[100.0, 100.0]])
    fisheye = Cameras(torch.eye(3, 4)[None], one, torch.tensor([[157.5797, 20.5]]), 320, 40, lens)
    # Equidistant: pi / 2 of angle is 157.08 pixels from the middle.
    ray = fisheye.rays(torch.tensor([0]), torch.tensor([0]), torch.tensor([20]))
    assert torch.allclose(ray.direction[0], torch.tensor([-1.0, 0.0, 0.0]), atol=1e-4)


def test_the_derivative_of_a_lens_is_its_derivative():
    generator = torch.Generator().manual_seed(2)
    lens = torch.tensor([[0.0, *(VALUES[name] for name in TERMS[1:])]], dtype=torch.float64)
    normalized = torch.randn(20, 2, generator=generator, dtype=torch.float64) * 0.4
    expected = torch.func.vmap(torch.func.jacrev(lambda at: distort(lens, at[None])[0][0]))(normalized)
    assert torch.allclose(distort(lens, normalized)[1], expected, atol=1e-12)


def test_pictures_of_several_sizes_keep_their_own_pixels():
    size = torch.tensor([[8, 6], [6, 8]])
    cameras = Cameras(
        torch.eye(3, 4).repeat(2, 1, 1), torch.full((2, 2), 10.0), size / 2, 8, 8, torch.zeros(2, len(TERMS)), size
    )
    assert len(cameras.image_rays(0)) == len(cameras.image_rays(1)) == 48
    assert torch.allclose(cameras.image_rays(1).direction[0, :2] * 1.0, -cameras.image_rays(1).direction[-1, :2])

    pixel, depth = cameras.project(0, torch.tensor([[0.0, 0.35, 1.0], [0.35, 0.0, 1.0], [0.0, 0.0, -1.0]]))
    assert cameras.shows(0, pixel, depth).tolist() == [False, True, False]
    assert cameras[1:].size.tolist() == [[6, 8]]
