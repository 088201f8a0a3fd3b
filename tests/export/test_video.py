"""Films: exact size, number of frames and rate; and the orbit that is filmed."""

import imageio.v3
import pytest
import torch

from nerf.cameras import Cameras, look_at
from nerf.cli import main
from nerf.errors import InputError
from nerf.export.paths import camera_path, orbit, up_direction
from nerf.export.video import check_video_file
from nerf.trained import open_run
from tests.conftest import DISTANCE


@pytest.mark.parametrize(("width", "height"), [(48, 48), (50, 38), (37, 23)])
def test_a_film_has_exactly_the_size_frames_and_rate_asked_for(ball_run, tmp_path, width, height):
    file = tmp_path / "film.mp4"
    assert (
        main(
            ["render", str(ball_run), "--out", str(file), "--frames", "5", "--size", f"{width}x{height}", "--fps", "12"]
        )
        == 0
    )
    frames = imageio.v3.imread(file, plugin="FFMPEG")
    assert frames.shape == (5, height, width, 3)
    assert imageio.v3.immeta(file, plugin="FFMPEG")["fps"] == 12
    # The ball in the middle on a white ground, with what compression leaves of white.
    assert frames[:, 0, 0].min() > 240 and frames[:, height // 2, width // 2].min() < 240


def test_the_orbit_goes_once_round_at_the_cameras_distance_and_looks_at_the_ball(ball_run):
    path = orbit(open_run(ball_run).cameras, torch.zeros(3), 12, 40, 40)
    eye, forward = path.world_from_camera[:, :, 3], path.world_from_camera[:, :, 2]
    assert torch.allclose(eye.norm(dim=1), torch.full((12,), DISTANCE), atol=0.05)
    assert torch.allclose(eye[:, 2], eye[:1, 2].expand(12), atol=1e-4)
    nearest = eye - (eye * forward).sum(1, keepdim=True) * forward
    assert nearest.norm(dim=1).max() < 1e-3
    turn = torch.atan2(eye[:, 1], eye[:, 0]).diff().remainder(2 * torch.pi)
    assert torch.allclose(turn, turn[:1].expand(11), atol=1e-3) and turn.sum() + turn[0] == pytest.approx(
        2 * torch.pi, abs=1e-3
    )


def test_cameras_that_stand_to_one_side_are_not_left_for_an_orbit():
    poses = [
        look_at(torch.tensor([x, -4.0, z]), torch.zeros(3), torch.tensor([0.0, 0, 1]))
        for x in (-1, 0, 1)
        for z in (-0.5, 0.5)
    ]
    cameras = Cameras(torch.stack(poses), torch.full((6, 2), 30.0), torch.full((6, 2), 16.0), 32, 32)
    name, path = camera_path(cameras, torch.zeros(3), 20, 32, 32)
    eye, forward = path.world_from_camera[:, :, 3], path.world_from_camera[:, :, 2]
    assert name == "sway" and path.pinhole and len(path) == 20
    assert (eye[:, 0].abs() <= 1).all() and (eye[:, 2].abs() <= 0.5).all() and (eye[:, 1] + 4).abs().max() < 0.1
    assert eye[:, 0].amax() - eye[:, 0].amin() > 1 and eye[:, 2].amax() - eye[:, 2].amin() > 0.5
    assert (eye - (eye * forward).sum(1, keepdim=True) * forward).norm(dim=1).max() < 1e-4
    ring = orbit(cameras, torch.zeros(3), 9, 32, 32)
    assert camera_path(ring, None, 5, 32, 32)[0] == "orbit"


def test_up_is_the_axis_that_the_cameras_hold_upwards(ball_run):
    assert torch.equal(up_direction(open_run(ball_run).cameras), torch.tensor([0.0, 0.0, 1.0]))


def test_other_formats_are_refused_before_rendering(tmp_path):
    with pytest.raises(InputError, match=".webm"):
        check_video_file(tmp_path / "film.webm")
