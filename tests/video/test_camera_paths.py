"""Camera paths: where they go, which way they look, and that nothing jumps."""

import math

import pytest
import torch

from nerf.geometry.camera_rig import forward_facing, looks_inwards, mean_camera
from nerf.geometry.cameras import Cameras, look_at
from nerf.video.camera_paths import CameraRig, Framing, arc, figure_eight, orbit, spiral, times
from nerf.workflows.trained import open_run
from tests.conftest import DISTANCE

UP = torch.tensor([0.0, 0.0, 1.0])


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
    poses = orbit(CameraRig.of(ball_cameras, UP), times(12, True, "linear"), Framing())
    eye, forward = poses[:, :, 3], poses[:, :, 2]
    assert torch.allclose(eye.norm(dim=1), torch.full((12,), DISTANCE), atol=0.05)
    assert torch.allclose(eye[:, 2], eye[:1, 2].expand(12), atol=1e-4)
    nearest = eye - (eye * forward).sum(1, keepdim=True) * forward
    assert nearest.norm(dim=1).max() < 1e-3
    turn = torch.atan2(eye[:, 1], eye[:, 0]).diff().remainder(2 * torch.pi)
    assert torch.allclose(turn, turn[:1].expand(11), atol=1e-3)
    assert turn.sum() + turn[0] == pytest.approx(2 * torch.pi, abs=1e-3)


def test_cameras_round_a_thing_and_cameras_before_a_wall_are_told_apart(ball_cameras):
    assert not forward_facing(ball_cameras) and forward_facing(facing_cameras())


def on_an_arc(half, above=0):
    """Returns cameras on an arc about the origin, half as wide as said, radians, and some that look from far above."""
    angle = torch.linspace(-half, half, 12)
    eyes = [torch.stack([3 * a.cos(), 3 * a.sin(), 0.1 * a]) for a in angle]
    eyes += [torch.tensor([-0.3 * k, 0.1 * k, 3.0]) for k in range(1, above + 1)]
    poses = torch.stack([look_at(eye, torch.zeros(3), UP) for eye in eyes])
    return Cameras(poses, torch.full((len(eyes), 2), 30.0), torch.full((len(eyes), 2), 16.0), 32, 32)


def test_cameras_stand_all_round_unless_they_leave_a_wide_gap(ball_cameras):
    assert CameraRig.of(ball_cameras, UP).all_round
    assert CameraRig.of(on_an_arc(2.7), UP).all_round  # a gap of 51 degrees
    assert not CameraRig.of(on_an_arc(2.5), UP).all_round  # of 74


def test_cameras_that_look_from_far_above_close_no_gap():
    assert not CameraRig.of(on_an_arc(1.2, above=4), UP).all_round


def test_an_arc_swings_to_and_fro_where_the_cameras_stand():
    rig = CameraRig.of(on_an_arc(1.0), UP)
    eye = arc(rig, times(60, True, "linear"), Framing())[:, :, 3]
    turn = torch.atan2(eye[:, 1], eye[:, 0])
    assert turn.max() == pytest.approx(1.0, abs=0.02) and turn.min() == pytest.approx(-1.0, abs=0.02)
    narrow = arc(rig, times(60, True, "linear"), Framing(swing=0.5))[:, :, 3]
    assert torch.atan2(narrow[:, 1], narrow[:, 0]).max() == pytest.approx(0.5, abs=0.02)


def test_a_path_follows_the_height_of_the_cameras_nearby():
    poses = [look_at(torch.tensor([3 * math.cos(a), 3 * math.sin(a), 1.5 * (a > 0)]), torch.zeros(3), UP)
             for a in torch.linspace(-3.1, 3.1, 40).tolist()]  # fmt: skip
    cameras = Cameras(torch.stack(poses), torch.full((40, 2), 30.0), torch.full((40, 2), 16.0), 32, 32)
    rig = CameraRig.of(cameras, UP)
    level = orbit(rig, times(40, True, "linear"), Framing())[:, :, 3]
    eye = orbit(rig, times(40, True, "linear"), Framing(follow=True))[:, :, 3]
    assert (level[:, 2] - level[0, 2]).abs().max() < 1e-4
    side = torch.atan2(eye[:, 1], eye[:, 0])
    low, high = (eye[(side - at).abs() < 0.4, 2].mean() for at in (-1.5, 1.5))
    assert low < 0.3 and high > 1.2


def test_cameras_that_look_outwards_are_told_from_those_round_a_thing(ball_cameras):
    assert looks_inwards(ball_cameras)
    pose = ball_cameras.world_from_camera
    outwards = torch.stack([-pose[:, :, 0], pose[:, :, 1], -pose[:, :, 2], pose[:, :, 3]], dim=2)
    assert not looks_inwards(Cameras(outwards, ball_cameras.focal, ball_cameras.center, 32, 32))


def test_times_of_a_loop_leave_out_the_end_and_eased_ones_start_at_rest():
    assert times(4, True, "linear").tolist() == [0, 0.25, 0.5, 0.75]
    assert times(3, False, "linear").tolist() == [0, 0.5, 1]
    eased = times(101, False, "smooth")
    assert eased[0] == 0 and eased[-1] == 1 and eased[50] == 0.5
    assert eased.diff().max() / eased.diff()[0] > 40


def test_a_spiral_stays_among_the_cameras_and_looks_at_one_point():
    cameras = facing_cameras()
    mean = mean_camera(cameras, torch.tensor([0.0, 1, 0]))
    poses = spiral(cameras, mean, times(40, True, "linear"), focus=8.0)
    target = mean[:, 3] + 8 * mean[:, 2]
    to_target = torch.nn.functional.normalize(target - poses[:, :, 3], dim=1)
    assert (to_target * poses[:, :, 2]).sum(1).min() > 1 - 1e-5
    low, high = (getattr(cameras.world_from_camera[:, :, 3], name)(0).values for name in ("min", "max"))
    assert (poses[:, :, 3] > low - 0.1).all() and (poses[:, :, 3] < high + 0.1).all()


@pytest.mark.parametrize("name", ["orbit", "arc", "figure_eight", "spiral"])
def test_a_path_closes_and_nothing_jumps(ball_cameras, name):
    u = torch.linspace(0, 1, 241, dtype=torch.float64)
    facing = facing_cameras()
    rig = CameraRig.of(ball_cameras, UP)
    poses = {
        "orbit": lambda: orbit(rig, u, Framing(follow=True)),
        "arc": lambda: arc(CameraRig.of(on_an_arc(1.0), UP), u, Framing(follow=True)),
        "figure_eight": lambda: figure_eight(rig, u, Framing()),
        "spiral": lambda: spiral(facing, mean_camera(facing, torch.tensor([0.0, 1, 0])), u, 8.0),
    }[name]()
    assert torch.allclose(poses[0], poses[-1], atol=1e-4)
    step = poses.diff(dim=0)
    assert step.flatten(1).norm(dim=1).max() < 4 * step.flatten(1).norm(dim=1).mean()
    assert step.diff(dim=0).flatten(1).norm(dim=1).max() < 0.2 * step.flatten(1).norm(dim=1).max()


def test_a_figure_eight_swings_to_both_sides_and_crosses_itself(ball_cameras):
    eye = figure_eight(CameraRig.of(ball_cameras, UP), times(240, True, "linear"), Framing())[:, :, 3]
    assert torch.allclose(eye[0], eye[120], atol=1e-4)
    across = eye / eye.norm(dim=1, keepdim=True)
    assert math.degrees(torch.acos((across[60] * across[0]).sum()).item()) > 40
    assert eye[30, 2] > eye[0, 2] > eye[90, 2]
