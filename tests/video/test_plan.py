"""From words to cameras: which path is taken, and that it keeps clear of the surface."""

import pytest
import torch

from nerf.errors import InputError
from nerf.geometry.scene_box import SceneBox
from nerf.video.frames import depth_range, normals_seen, turbo
from nerf.video.plan import CLEARANCE, FilmRequest, keeps_clear, plan
from nerf.workflows.trained import open_run
from tests.ball import ball_model
from tests.video.test_camera_paths import facing_cameras


@pytest.fixture(scope="module")
def ball_cameras(ball_run):
    return open_run(ball_run).cameras


def no_test_split():
    raise AssertionError


def request(**words):
    return FilmRequest(frames=24, size=(32, 32), fps=8, **words)


def test_auto_is_an_orbit_round_things_and_a_spiral_before_walls(ball_cameras):
    assert plan(ball_model(1.2), ball_cameras, request(), no_test_split).name == "orbit"
    facing = facing_cameras()
    big = ball_model(4.8)
    big.box = SceneBox(torch.tensor([-2.4, -2.4, 5.6]), 4.8)  # the ball, of radius 2, around (0, 0, 8)
    way = plan(big, facing, request(), no_test_split)
    assert way.name == "spiral" and keeps_clear(big, way.cameras).all()


def test_an_orbit_that_would_run_through_the_thing_is_made_wider(ball_cameras, capsys):
    big = ball_model(4.7)  # the ball's radius is 1.96, the cameras stand at 2
    near = plan(ball_model(1.2), ball_cameras, request(path="orbit"), no_test_split).cameras
    assert not keeps_clear(big, near).all()
    way = plan(big, ball_cameras, request(path="orbit"), no_test_split)
    assert keeps_clear(big, way.cameras).all()
    assert way.cameras.world_from_camera[:, :, 3].norm(dim=1).min() > 1.96 + CLEARANCE * 4.7
    assert "keep clear" in capsys.readouterr().out


def test_every_frame_of_an_orbit_round_the_ball_was_seen(ball_cameras):
    assert plan(ball_model(1.2), ball_cameras, request(), no_test_split).seen.min() > 0.98


def test_cameras_on_one_side_are_filmed_from_that_side(ball_cameras, capsys):
    side = ball_cameras[ball_cameras.world_from_camera[:, 0, 3] > 0.3]
    way = plan(ball_model(1.2), side, request(), no_test_split)
    assert way.name == "arc" and way.cameras.world_from_camera[:, 0, 3].min() > 0
    assert "widest gap" in capsys.readouterr().out


def test_what_holds_of_the_frames_judged_first_must_hold_of_all(ball_cameras, monkeypatch):
    side = ball_cameras[ball_cameras.world_from_camera[:, 0, 3] > 0.7]
    monkeypatch.setattr("nerf.video.plan.JUDGED_FRAMES", 1)  # in the middle of the arc, where all is seen
    way = plan(ball_model(1.2), side, request(path="arc"), no_test_split)
    monkeypatch.setattr("nerf.video.plan.SWINGS", (1.0,))
    monkeypatch.setattr("nerf.video.plan.SEEN", 0.0)
    whole = plan(ball_model(1.2), side, request(path="arc"), no_test_split)
    assert whole.seen[0] > 0.97 > whole.seen.min()
    assert way.seen.min() >= 0.97


def test_which_way_is_up_may_be_said_and_is_refused_if_it_is_no_direction(ball_cameras, capsys):
    down = plan(ball_model(1.2), ball_cameras, request(up="-z"), no_test_split).cameras
    assert (down.world_from_camera[:, 2, 1] > 0.3).all()  # the pictures' y axis goes down, which here is +z
    assert "as asked" in capsys.readouterr().out
    with pytest.raises(InputError, match='--up: "up" is no direction'):
        plan(ball_model(1.2), ball_cameras, request(up="up"), no_test_split)


def test_a_tour_that_comes_too_near_is_reported(ball_cameras, capsys):
    plan(ball_model(4.7), ball_cameras, request(path="tour"), no_test_split)
    assert "nearer to a surface" in capsys.readouterr().out


def test_the_angle_of_view_and_the_size_are_as_asked(ball_cameras):
    cameras = plan(ball_model(1.2), ball_cameras, request(view=90.0), no_test_split).cameras
    assert (cameras.width, cameras.height) == (32, 32)
    assert torch.allclose(cameras.focal, torch.tensor(16.0), atol=1e-3)


def test_keys_and_their_file_go_together(ball_cameras):
    with pytest.raises(InputError, match="go together"):
        plan(ball_model(1.2), ball_cameras, request(path="keys"), no_test_split)


def test_the_test_path_is_the_test_cameras(ball_cameras):
    way = plan(ball_model(1.2), ball_cameras, request(path="test"), lambda: ball_cameras[:3])
    assert torch.equal(way.cameras.world_from_camera, ball_cameras.world_from_camera[:3]) and not way.loop


def test_normals_of_the_ball_point_away_from_its_middle(ball_cameras):
    model = ball_model(1.2)
    cameras = ball_cameras.resized(64, 64)
    distance = model.distances(cameras, 0)
    rays = cameras.image_rays(0)
    point = rays.origin + distance.flatten()[:, None] * rays.direction
    met = distance.flatten().isfinite()
    normal = normals_seen(cameras, 0, distance).view(-1, 3)
    facing = (torch.nn.functional.normalize(point[met], dim=1) * rays.direction[met]).sum(1) < -0.5
    agree = (normal[met] * torch.nn.functional.normalize(point[met], dim=1)).sum(1)[facing]
    assert agree.median() > 0.95 and (normal[~met] == 0).all()


def test_the_depth_scale_spans_the_ball(ball_cameras):
    near, far = depth_range(ball_model(1.2), ball_cameras)
    assert near == pytest.approx(1.5, abs=0.03) and 1.7 < far < 2.0


def test_turbo_runs_from_blue_over_green_to_red():
    low, middle, high = turbo(torch.tensor([0.05, 0.5, 0.95]))
    assert low.argmax() == 2 and middle.argmax() == 1 and high.argmax() == 0
