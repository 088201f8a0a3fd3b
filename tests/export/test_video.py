"""Films: exact size, number of frames and rate; and the orbit that is filmed."""

import imageio.v3
import pytest
import torch

from nerf.cli import main
from nerf.errors import InputError
from nerf.export.paths import orbit, up_direction
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
    path = orbit(open_run(ball_run).cameras, 12, 40, 40)
    eye, forward = path.world_from_camera[:, :, 3], path.world_from_camera[:, :, 2]
    assert torch.allclose(eye.norm(dim=1), torch.full((12,), DISTANCE), atol=0.05)
    assert torch.allclose(eye[:, 2], eye[:1, 2].expand(12), atol=1e-4)
    nearest = eye - (eye * forward).sum(1, keepdim=True) * forward
    assert nearest.norm(dim=1).max() < 1e-3
    turn = torch.atan2(eye[:, 1], eye[:, 0]).diff().remainder(2 * torch.pi)
    assert torch.allclose(turn, turn[:1].expand(11), atol=1e-3) and turn.sum() + turn[0] == pytest.approx(
        2 * torch.pi, abs=1e-3
    )


def test_up_is_the_axis_that_the_cameras_hold_upwards(ball_run):
    assert torch.equal(up_direction(open_run(ball_run).cameras), torch.tensor([0.0, 0.0, 1.0]))


def test_other_formats_are_refused_before_rendering(tmp_path):
    with pytest.raises(InputError, match=".webm"):
        check_video_file(tmp_path / "film.webm")
