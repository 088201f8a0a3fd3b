"""The thing that a capture is of is found among a floor, walls and clutter, however the cameras are held."""

import math

import pytest
import torch

from nerf.capture.subject import find_subject
from nerf.geometry.cameras import Cameras, look_at

UP = torch.tensor([0.0, 0.0, 1.0])


def sheet(low, high, count=4000):
    """Returns points (count, 3) spread evenly in a box, which may be flat."""
    low, high = torch.tensor(low), torch.tensor(high)
    return low + (high - low) * torch.rand(count, 3, generator=torch.Generator().manual_seed(count))


def room():
    """Returns points of a can on a floor, 0.3 x 0.3 x 0.6, with clutter beside it and walls about it."""
    can = sheet([-0.15, -0.15, 0.0], [0.15, 0.15, 0.6], 5000)
    shell = (can[:, :2].norm(dim=1) - 0.15).abs() < 0.03
    clutter = sheet([1.2, 0.3, 0.0], [1.4, 0.5, 0.4], 800)
    walls = [sheet([-4.0, 3.0, 0.0], [4.0, 3.0, 2.0]), sheet([-4.0, -4.0, 0.0], [-4.0, 4.0, 2.0])]
    return torch.cat([can[shell], clutter, sheet([-4.0, -4.0, 0.0], [4.0, 4.0, 0.0], 20000), *walls])


def cameras_about(degrees, rolled=False, count=24):
    """Returns cameras on an arc about the can, 2 away from it."""
    turn = torch.linspace(-0.5, 0.5, count) * math.radians(degrees) - math.pi / 2
    eyes = torch.stack([2 * turn.cos(), 2 * turn.sin(), 1.0 + 0.3 * (3 * turn).sin()], dim=1)
    poses = torch.stack([look_at(eye, torch.tensor([0.0, 0.0, 0.3]), UP) for eye in eyes])
    if rolled:
        poses = torch.stack([-poses[:, :, 1], poses[:, :, 0], poses[:, :, 2], poses[:, :, 3]], dim=2)
    return Cameras(poses, torch.full((count, 2), 60.0), torch.full((count, 2), 40.0), 80, 80)


@pytest.mark.parametrize("degrees", [150, 180, 350])
@pytest.mark.parametrize("rolled", [False, True], ids=["upright", "on their side"])
def test_the_thing_is_what_stands_where_the_cameras_look(degrees, rolled):
    subject = find_subject(cameras_about(degrees, rolled), room())
    assert torch.allclose(subject.box.low, torch.tensor([-0.18, -0.18, 0.0]), atol=0.08)
    assert torch.allclose(subject.box.high, torch.tensor([0.18, 0.18, 0.6]), atol=0.08)
    normal, offset = subject.floor
    assert normal @ UP > 0.999 and abs(offset) < 0.01


def test_what_hangs_on_a_wall_is_told_from_it():
    head = sheet([-0.3, -0.5, 0.0], [0.3, 0.0, 0.6], 4000)
    subject = find_subject(cameras_about(100), torch.cat([head, sheet([-3.0, 0.0, -3.0], [3.0, 0.0, 3.0], 20000)]))
    assert torch.allclose(subject.box.high[[0, 2]], torch.tensor([0.3, 0.6]), atol=0.08)
    assert subject.floor[0][1] < -0.999


def test_cameras_that_face_one_way_get_what_they_see_in_common():
    eyes = [torch.tensor([x, -4.0, 0.3]) for x in (-0.5, -0.2, 0.1, 0.5)]
    poses = torch.stack([look_at(eye, eye + torch.tensor([0.0, 1.0, 0.0]), UP) for eye in eyes])
    cameras = Cameras(poses, torch.full((4, 2), 60.0), torch.full((4, 2), 40.0), 80, 80)
    far = sheet([-30.0, 40.0, -30.0], [30.0, 40.0, 30.0], 1000)
    subject = find_subject(cameras, torch.cat([sheet([-6.0, 0.0, -2.0], [6.0, 1.0, 2.0]), far]))
    assert subject.floor is None and subject.box.high[1] < 2
    assert subject.box.low[0] > -4 and subject.box.high[0] < 4


def test_points_are_needed():
    with pytest.raises(ValueError, match="points"):
        find_subject(cameras_about(180), torch.zeros(0, 3))
