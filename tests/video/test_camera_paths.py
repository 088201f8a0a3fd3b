"""Camera paths: where they go, which way they look, and that nothing jumps."""

import math

import pytest
import torch

from nerf.geometry.camera_rig import forward_facing, mean_camera, surrounded, up_direction
from nerf.geometry.cameras import Cameras, look_at
from nerf.video.camera_paths import figure_eight, orbit, spiral, times
from nerf.workflows.trained import open_run
from tests.conftest import DISTANCE


def facing_cameras(count=20):
    """Returns cameras that look one way from a small patch, as handheld ones before a wall do."""
    generator = torch.Generator().manual_seed(0)
    offset = torch.rand(count, 3, generator=generator) - 0.5
    poses = [look_at(eye * torch.tensor([1.0, 0.6, 0.2]), torch.tensor([0.0, 0, 8]) + eye, torch.tensor([0.0, 1, 0]))
             for eye in offset]  # fmt: skip
    return Cameras(torch.stack(poses), torch.full((count, 2), 60.0), torch.full((count, 2), 32.0), 64, 64)


@pytest.fixture(scope="module")
def ball_cameras(ball_run):
    return open_run(ball_run).cameras


def test_an_orbit_goes_once_round_at_the_cameras_distance_and_looks_at_the_ball(ball_cameras):
    poses = orbit(ball_cameras, times(12, True, "linear"))
    eye, forward = poses[:, :, 3], poses[:, :, 2]
    assert torch.allclose(eye.norm(dim=1), torch.full((12,), DISTANCE), atol=0.05)
    assert torch.allclose(eye[:, 2], eye[:1, 2].expand(12), atol=1e-4)
    nearest = eye - (eye * forward).sum(1, keepdim=True) * forward
    assert nearest.norm(dim=1).max() < 1e-3
    turn = torch.atan2(eye[:, 1], eye[:, 0]).diff().remainder(2 * torch.pi)
    assert torch.allclose(turn, turn[:1].expand(11), atol=1e-3)
    assert turn.sum() + turn[0] == pytest.approx(2 * torch.pi, abs=1e-3)


def test_up_is_the_axis_that_the_cameras_hold_upwards(ball_cameras):
    assert torch.equal(up_direction(ball_cameras), torch.tensor([0.0, 0.0, 1.0]))


def test_cameras_round_a_thing_and_cameras_before_a_wall_are_told_apart(ball_cameras):
    assert not forward_facing(ball_cameras) and forward_facing(facing_cameras())


def test_cameras_on_an_arc_do_not_surround_what_they_look_at(ball_cameras):
    assert surrounded(ball_cameras) and not surrounded(facing_cameras())
    up = torch.tensor([0.0, 0.0, 1.0])
    angle = torch.linspace(-0.9, 0.9, 12)
    poses = [look_at(torch.stack([3 * a.cos(), 3 * a.sin(), 0.1 * a]), torch.zeros(3), up) for a in angle]
    arc = Cameras(torch.stack(poses), torch.full((12, 2), 30.0), torch.full((12, 2), 16.0), 32, 32)
    assert not forward_facing(arc) and not surrounded(arc)


def test_times_of_a_loop_leave_out_the_end_and_eased_ones_start_at_rest():
    assert times(4, True, "linear").tolist() == [0, 0.25, 0.5, 0.75]
    assert times(3, False, "linear").tolist() == [0, 0.5, 1]
    eased = times(101, False, "smooth")
    assert eased[0] == 0 and eased[-1] == 1 and eased[50] == 0.5
    assert eased.diff().max() / eased.diff()[0] > 40


def test_a_spiral_stays_among_the_cameras_and_looks_at_one_point():
    cameras = facing_cameras()
    poses = spiral(cameras, times(40, True, "linear"), focus=8.0)
    mean = mean_camera(cameras)
    target = mean[:, 3] + 8 * mean[:, 2]
    to_target = torch.nn.functional.normalize(target - poses[:, :, 3], dim=1)
    assert (to_target * poses[:, :, 2]).sum(1).min() > 1 - 1e-5
    low, high = (getattr(cameras.world_from_camera[:, :, 3], name)(0).values for name in ("min", "max"))
    assert (poses[:, :, 3] > low - 0.1).all() and (poses[:, :, 3] < high + 0.1).all()


@pytest.mark.parametrize("name", ["orbit", "figure_eight", "spiral"])
def test_a_path_closes_and_nothing_jumps(ball_cameras, name):
    u = torch.linspace(0, 1, 241, dtype=torch.float64)
    poses = {
        "orbit": lambda: orbit(ball_cameras, u),
        "figure_eight": lambda: figure_eight(ball_cameras, u),
        "spiral": lambda: spiral(facing_cameras(), u, 8.0),
    }[name]()
    assert torch.allclose(poses[0], poses[-1], atol=1e-4)
    step = poses.diff(dim=0)
    assert step.flatten(1).norm(dim=1).max() < 4 * step.flatten(1).norm(dim=1).mean()
    assert step.diff(dim=0).flatten(1).norm(dim=1).max() < 0.2 * step.flatten(1).norm(dim=1).max()


def test_a_figure_eight_swings_to_both_sides_and_crosses_itself(ball_cameras):
    eye = figure_eight(ball_cameras, times(240, True, "linear"))[:, :, 3]
    assert torch.allclose(eye[0], eye[120], atol=1e-4)
    across = eye / eye.norm(dim=1, keepdim=True)
    assert math.degrees(torch.acos((across[60] * across[0]).sum()).item()) > 40
    assert eye[30, 2] > eye[0, 2] > eye[90, 2]
