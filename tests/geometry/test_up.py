"""Which way is up: floors, horizons and the cameras' mean, and pictures that lie on their side."""

import math

import pytest
import torch

from nerf.errors import InputError
from nerf.geometry.cameras import Cameras, look_at
from nerf.geometry.up import checked_direction, direction_of, find_up, floor_normal, leveled, upright

UP = torch.nn.functional.normalize(torch.tensor([0.3, -0.5, 0.8]), dim=0)


def cameras_round(up, count=24, tilt=0.0, quarter=0, part=1.0):
    """Returns cameras round the origin, above it, tilted at random by so many radians and turned by quarters."""
    generator = torch.Generator().manual_seed(3)
    side = torch.nn.functional.normalize(torch.linalg.cross(up, torch.tensor([1.0, 0, 0])), dim=0)
    ahead = torch.linalg.cross(side, up)
    poses = []
    for k in range(count):
        turn = 2 * math.pi * part * k / count
        eye = 3 * (math.cos(turn) * ahead + math.sin(turn) * side) + (1 + (k % 5) / 2) * up
        pose = look_at(eye, torch.zeros(3), up)
        roll = tilt * torch.randn(1, generator=generator).item() + quarter * math.pi / 2
        right = math.cos(roll) * pose[:, 0] + math.sin(roll) * pose[:, 1]
        down = math.cos(roll) * pose[:, 1] - math.sin(roll) * pose[:, 0]
        poses.append(torch.stack([right, down, pose[:, 2], pose[:, 3]], dim=1))
    size = torch.tensor([[40, 30]]).repeat(count, 1)
    return Cameras(torch.stack(poses), torch.full((count, 2), 35.0), size / 2, 40, 30)


def degrees(one, other):
    return math.degrees(math.acos(min(1.0, (one @ other).item())))


def floor_points(up, count=600):
    """Returns points on a plane across `up` below the cameras, and as many about a thing that stands on it."""
    generator = torch.Generator().manual_seed(1)
    side = torch.nn.functional.normalize(torch.linalg.cross(up, torch.tensor([1.0, 0, 0])), dim=0)
    ahead = torch.linalg.cross(side, up)
    flat = 2 * torch.rand(count, 2, generator=generator) - 1
    thing = 0.4 * torch.randn(count, 3, generator=generator)
    return torch.cat([flat[:, :1] * side + flat[:, 1:] * ahead - 0.6 * up, thing])


def test_level_pictures_tell_the_horizon_whatever_part_of_a_circle_they_are_taken_from():
    for part in (1.0, 0.3):
        up = find_up(cameras_round(UP, tilt=0.02, part=part))
        assert "horizon" in up.reason and degrees(up.direction, UP) < 1 and not up.sideways


@pytest.mark.parametrize("quarter", [1, -1])
def test_pictures_on_their_side_are_noticed_and_turned_upright(quarter):
    cameras = cameras_round(UP, tilt=0.02, quarter=quarter)
    up = find_up(cameras)
    assert up.sideways and degrees(up.direction, UP) < 1
    turned = upright(cameras, up)
    assert (turned.width, turned.height) == (30, 40) and (-turned.world_from_camera[:, :, 1] @ UP > 0.5).all()

    # A pixel of the turned picture is the same ray.
    column, row = torch.tensor([7]), torch.tensor([11])
    there = cameras.rays(2, column, row)
    far = there.origin + 5 * there.direction
    pixel = turned.project(2, far)[0][0] - 0.5
    expected = (29 - 11, 7) if quarter > 0 else (11, 39 - 7)
    either = [torch.tensor(each, dtype=torch.float32) for each in ((29 - 11, 7), (11, 39 - 7))]
    assert min((pixel - each).abs().max() for each in either) < 1e-3
    assert (pixel - torch.tensor(expected, dtype=torch.float32)).abs().max() < 1e-3


def test_a_floor_overrules_pictures_that_were_held_askew():
    crooked = torch.nn.functional.normalize(UP + torch.tensor([0.1, 0.05, 0]), dim=0)
    cameras = cameras_round(crooked)
    floor = floor_normal(cameras, floor_points(UP))
    assert floor is not None and degrees(floor.float(), UP) < 0.5
    assert "floor" in find_up(cameras, floor).reason


def test_a_wall_and_a_cloud_of_points_are_no_floor():
    cameras = cameras_round(UP)
    wall = floor_points(torch.nn.functional.normalize(torch.linalg.cross(UP, torch.tensor([0.0, 1, 0])), dim=0))
    assert floor_normal(cameras, wall) is None
    cloud = torch.randn(3000, 3, generator=torch.Generator().manual_seed(0))
    for few in (cloud, cloud[:2], cloud[:0]):
        assert floor_normal(cameras, few) is None


def test_pictures_held_anyhow_tell_their_mean_and_what_is_nearly_an_axis_is_one():
    anyhow = find_up(cameras_round(UP, tilt=0.5))
    assert "mean" in anyhow.reason
    z = torch.tensor([0.0, 0, 1])
    assert torch.equal(find_up(cameras_round(torch.nn.functional.normalize(z + 0.02, dim=0))).direction, z)


def test_a_user_names_an_axis_or_three_numbers():
    assert direction_of("-y", "--up").tolist() == [0, -1, 0] and direction_of("0,2,0.5", "--up").tolist() == [0, 2, 0.5]
    for wrong in ("up", "0,0,0", "1,2", "nan,0,1", ""):
        with pytest.raises(InputError, match="direction"):
            direction_of(wrong, "--up")
    with pytest.raises(InputError, match="floor"):
        checked_direction({"x": 1}, "floor")


def test_leveled_poses_look_the_same_way_without_a_tilt_and_steep_ones_are_kept():
    poses = cameras_round(UP, tilt=0.4).world_from_camera
    straight = leveled(poses, UP)
    assert torch.allclose(straight[:, :, 2:], poses[:, :, 2:], atol=1e-5)
    assert (straight[:, :, 0] @ UP).abs().max() < 1e-5
    above = look_at(3 * UP, torch.zeros(3), torch.tensor([1.0, 0, 0]))[None]
    assert torch.equal(leveled(above, UP), above)
