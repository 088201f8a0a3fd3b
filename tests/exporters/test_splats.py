"""Splats of a field: they look like it from where nobody stood, and land where the user wants them."""

import re

import pytest
import torch

from nerf.backends.choice import choose_backend
from nerf.cli.main import main
from nerf.config import read_settings
from nerf.errors import InputError
from nerf.geometry.contraction import Contraction
from nerf.geometry.scene_box import SceneBox
from nerf.rendering.metrics import psnr
from nerf.splatting import fitting
from nerf.splatting.fitting import field_picture, fit_splats, surface_splats, viewpoints
from tests.ball import ball_model, cameras_round
from tests.splatting.clouds import read_ply

CAMERAS = cameras_round(24, 48)


@pytest.fixture(scope="module")
def fit():
    return fit_splats(ball_model(), CAMERAS, count=1500, steps=60)


def test_there_is_a_splat_for_each_cell_of_the_surface_and_flat_upon_it():
    splats, cell = surface_splats(ball_model(), CAMERAS, 1500)
    assert 1400 <= len(splats) <= 1500
    assert (splats.mean.norm(dim=1) - 0.5).abs().max() < 0.03
    w, x, y, z = splats.turn.unbind(1)
    axis = torch.stack([2 * (x * z + w * y), 2 * (y * z - w * x), 1 - 2 * (x * x + y * y)], dim=1)
    outwards = torch.nn.functional.normalize(splats.mean, dim=1)
    assert ((axis * outwards).sum(1) > 0.95).float().mean() > 0.95
    assert torch.allclose(splats.log_scale[:, 2].exp(), fitting.ACROSS * cell)


def test_they_look_like_the_field_from_other_places_in_both_ways(fit):
    start = surface_splats(ball_model(), CAMERAS, 1500)[0]
    view = cameras_round(7, 48)[3:4]
    field = field_picture(ball_model(), view)
    before, *after = (
        psnr(splats.seen(view, 0, 0.01, antialiased), field)
        for splats, antialiased in ((start, False), (fit.splats, False), (fit.splats, True))
    )
    assert min(after) > 24 and min(after) > before + 2
    assert min(fit.psnr) > 24


def test_the_same_run_gives_the_same_splats():
    few = [fit_splats(ball_model(), CAMERAS, count=300, steps=3).splats for _ in range(2)]
    assert all(torch.equal(one, other) for one, other in zip(few[0].tensors(), few[1].tensors()))


def test_colours_stay_within_what_files_hold(fit):
    flat = 0.5 + 0.28209479 * fit.splats.harmonics[:, 0]
    assert flat.min() > -1e-6 and flat.max() < 1 + 1e-6


def test_views_are_between_the_cameras_and_some_look_closely():
    views = viewpoints(CAMERAS, 2.0, 1)
    drawn = [next(views) for _ in range(40)]
    eye = torch.cat([view.world_from_camera[:, :, 3] for view in drawn])
    assert (eye.norm(dim=1) <= 2.01).all() and (eye.norm(dim=1) > 1.4).all()
    close = [view for view in drawn if view.focal[0, 0] > CAMERAS.focal[0, 0]]
    assert 4 <= len(close) <= 25
    for view in close:  # a part of the picture at twice its size
        assert (view.center[0] >= torch.tensor([0.0, 0.0])).all() and (view.center[0] <= 48).all()


def test_unbounded_scenes_have_larger_splats_far_away():
    ball = Contraction(torch.zeros(3), 0.4, 0.05)
    settings = read_settings(None, ["field.levels=2", "field.log2_table_size=10", "render.steps=160"])
    box = SceneBox(torch.full((3,), -0.8), 1.6, ball)
    model = choose_backend("native").model(settings, box, torch.ones(16, 16, 16, dtype=torch.bool))
    with torch.no_grad():  # a constant density everywhere: a fog whose surface is near every camera
        for parameter in model.field.parameters():
            parameter.fill_(0.3)
    splats, cell = surface_splats(model, cameras_round(8, 16, distance=1.0), 200)
    assert len(splats) <= 200
    far = splats.mean.norm(dim=1).argsort()
    assert cell[far[-20:]].mean() > cell[far[:20]].mean()


def test_the_command_writes_them_in_the_frame_that_is_asked_for(ball_run, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(fitting, "STEPS_BOUNDED", 2)
    words = ["export", str(ball_run), "--splats", str(tmp_path / "ball.ply"), "--count", "400", "--scale", "100"]
    assert main([*words, "--unit", "mm"]) == 0
    said = capsys.readouterr().out
    assert re.search(r"splats: .*ball\.ply \(\d+ splats, 0\.\d MiB; against the field, .*dB, antialiased .* mm", said)
    splats = read_ply(tmp_path / "ball.ply")
    assert 200 < len(splats) <= 400
    assert splats.mean.norm(dim=1).median().item() == pytest.approx(50, abs=3)


def test_an_empty_model_and_a_wrong_name_are_refused(tmp_path, ball_run):
    model = ball_model()
    model.occupancy.occupied.zero_()
    with pytest.raises(InputError, match="the model is empty"):
        fit_splats(model, CAMERAS)
    assert main(["export", str(ball_run), "--splats", str(tmp_path / "ball.usdz")]) == 2
