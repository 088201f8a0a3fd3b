"""Cameras: rays, and points projected back to their pixels."""

import dataclasses
import math

import pytest
import torch

from nerf.errors import InputError
from nerf.geometry.cameras import Cameras, look_at


def camera(width=64, height=48):
    pose = look_at(torch.tensor([2.0, -1.0, 0.5]), torch.zeros(3), torch.tensor([0.0, 0.0, 1.0]))
    return Cameras(pose[None], torch.tensor([[70.0, 80.0]]), torch.tensor([[30.0, 25.0]]), width, height)


def test_the_ray_through_the_principal_point_is_the_optical_axis():
    centred = Cameras(camera().world_from_camera, torch.tensor([[70.0, 80.0]]), torch.tensor([[30.5, 25.5]]), 64, 48)
    rays = centred.rays(torch.tensor([0]), torch.tensor([30]), torch.tensor([25]))
    assert torch.allclose(rays.direction[0], centred.world_from_camera[0, :, 2], atol=1e-6)
    assert torch.equal(rays.origin[0], torch.tensor([2.0, -1.0, 0.5]))


def test_a_point_on_a_ray_projects_to_the_centre_of_its_pixel():
    cameras = camera()
    rays = cameras.image_rays(0)
    pixel, depth = cameras.project(0, rays.origin + 3 * rays.direction)
    row, column = torch.meshgrid(torch.arange(48), torch.arange(64), indexing="ij")
    expected = torch.stack([column.flatten(), row.flatten()], 1) + 0.5
    assert (pixel - expected).abs().max() < 1e-3
    assert (depth > 0).all()


def test_directions_have_unit_length_and_the_picture_is_upright():
    cameras = camera()
    rays = cameras.image_rays(0)
    assert torch.allclose(rays.direction.norm(dim=1), torch.ones(len(rays)), atol=1e-6)
    top, bottom = rays.direction[0], rays.direction[-1]
    assert top[2] > bottom[2]  # z is up in the world, row 0 is the top


def test_look_at_makes_a_right_handed_rotation():
    rotation = camera().world_from_camera[0, :, :3]
    assert torch.allclose(rotation.T @ rotation, torch.eye(3), atol=1e-6)
    assert torch.linalg.det(rotation) > 0


def test_another_picture_size_keeps_the_rays_of_the_same_points():
    cameras = camera()
    large = cameras.resized(128, 96)
    one = cameras.rays(torch.tensor([0]), torch.tensor([10]), torch.tensor([20])).direction
    four = large.rays(torch.zeros(4, dtype=torch.int64), torch.tensor([20, 21, 20, 21]), torch.tensor([40, 40, 41, 41]))
    assert torch.allclose(torch.nn.functional.normalize(four.direction.mean(0), dim=0), one[0], atol=1e-5)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"focal": torch.tensor([[70.0]])}, '"focal" is torch.float32 of shape .1, 1., expected'),
        ({"focal": torch.tensor([[70, 80]])}, '"focal" is torch.int64'),
        ({"focal": torch.tensor([[70.0, 0.0]])}, "camera 0: focal length .70.0, 0.0. is not positive"),
        ({"focal": torch.tensor([[70.0, math.nan]])}, 'camera 0: "focal" has a number that is not finite'),
        ({"center": torch.tensor([[math.inf, 2.0]])}, 'camera 0: "center" has a number that is not finite'),
        ({"lens": torch.zeros(1, 3)}, '"lens" is torch.float32 of shape .1, 3.'),
        ({"size": torch.tensor([[65, 40]])}, "sizes of pictures"),
        ({"focal": torch.tensor([[70.0, 1e-30]])}, "camera 0: its place or the slope of its rays"),
        ({"world_from_camera": torch.eye(3, 4)[None] + torch.tensor([0, 0, 0, 1e30])}, "its place or the slope"),
        ({"width": 2**30}, "sizes of pictures are from 1 to 16384"),
        ({"world_from_camera": 2 * torch.eye(3, 4)[None]}, "camera 0: its pose is no rotation"),
        ({"world_from_camera": torch.diag(torch.tensor([1.0, 1, -1, 1]))[None, :3]}, "its pose is no rotation"),
    ],
)
def test_cameras_that_are_none_are_refused_wherever_they_come_from(change, message):
    with pytest.raises(InputError, match=message):
        dataclasses.replace(camera(), **change)


def test_a_lens_whose_rays_are_no_numbers_is_refused():
    lens = torch.zeros(1, 12)
    lens[0, 1] = -0.1  # k1
    camera = Cameras(look_at(torch.tensor([0.0, -3, 0]), torch.zeros(3), torch.tensor([0.0, 0, 1]))[None],
                     torch.full((1, 2), 30.0), torch.tensor([[12.0, 8.0]]), 24, 16, lens)  # fmt: skip
    assert camera.image_rays(0).direction.isfinite().all()
    with pytest.raises(InputError, match=r"camera 0: its lens \(k1 1e\+25\) bends rays"):
        dataclasses.replace(camera, lens=lens * -1e26)
