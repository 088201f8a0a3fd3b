"""Held-out pictures fitted to a model: what is found is where they were taken and how they were exposed."""

import dataclasses
import json
import math

import pytest
import torch

from nerf.cli.main import main
from nerf.config import SceneSettings
from nerf.ops.composite import Rendering
from nerf.scenes import SceneFolder, load_scene
from nerf.training.camera_optimizer import rotations
from nerf.workflows.align import aligned_camera, aligned_colors, color_map
from nerf.workflows.trained import open_run
from tests.conftest import SMALL, write_ball_scene


def test_gain_and_offset_are_found_by_channel_over_any_background():
    generator = torch.Generator().manual_seed(2)
    opacity = torch.rand(500, generator=generator)
    seen = Rendering(torch.rand(500, 3, generator=generator) * opacity[:, None], opacity, torch.zeros(500))
    gain, offset = torch.tensor([0.7, 0.8, 0.6]), torch.tensor([0.02, 0.0, 0.03])
    target = gain * seen.rgb + offset * opacity[:, None] + (1 - opacity[:, None]) * 0.5
    assert torch.allclose(color_map(seen, target, 0.5), torch.cat([gain, offset]), atol=1e-4)


def test_saturated_pixels_do_not_say_how_bright_the_scene_is():
    rgb = torch.linspace(0, 1, 100)[:, None].expand(100, 3)
    seen = Rendering(rgb, torch.ones(100), torch.zeros(100))
    assert torch.allclose(color_map(seen, (1.5 * rgb).clamp(0, 1), 1.0)[:3], torch.full((3,), 1.5), atol=1e-3)


@pytest.fixture(scope="module")
def ball_test_views(ball_run):
    place = SceneFolder("ball", ball_run.parent / "ball", "")
    return load_scene(place, ("test",), SceneSettings()).splits["test"]


def test_a_camera_that_stands_wrongly_is_brought_back(ball_run, ball_test_views):
    run, views = open_run(ball_run), ball_test_views
    pose = views.cameras.world_from_camera.clone()
    turn = torch.tensor([[0.02, -0.015, 0.02]])
    pose[0] = torch.cat([rotations(turn)[0] @ pose[0, :, :3], pose[0, :, 3:] + 0.03], 1)
    wrong = dataclasses.replace(views, cameras=dataclasses.replace(views.cameras, world_from_camera=pose))
    found = aligned_camera(run.model, wrong, 0, "white", exposure=True)

    def pixels_off(cameras):
        surface = 0.5 * torch.nn.functional.normalize(torch.randn(50, 3, generator=torch.Generator().manual_seed(0)))
        surface = surface[(surface * views.cameras.world_from_camera[0, :, 3]).sum(1) > 0.1]
        return (cameras.project(0, surface)[0] - views.cameras.project(0, surface)[0]).norm(dim=1).mean()

    assert pixels_off(wrong.cameras) > 1 and pixels_off(found) < 0.3 * pixels_off(wrong.cameras)


def test_a_darker_picture_is_scored_as_if_exposed_alike(ball_run, ball_test_views):
    run, views = open_run(ball_run), ball_test_views
    images = views.images.clone()
    images[..., :3] = (images[..., :3] * 0.5).to(torch.uint8)
    dark = dataclasses.replace(views, images=images)
    picture = run.model.picture(views.cameras, 0)
    before = (picture.over(1.0) - dark.picture(0, "white")).square().mean()
    after = (aligned_colors(picture, dark, 0, "white").over(1.0) - dark.picture(0, "white")).square().mean()
    assert after < 0.2 * before


def test_a_run_that_learns_its_pictures_says_so_and_hands_on_what_it_found(tmp_path, capsys):
    scene = write_ball_scene(tmp_path / "ball")
    words = ["train", "--scene", str(scene), "--out", str(tmp_path / "run"), "--steps", "40", *SMALL]
    words += ["capture.poses=refine", "capture.exposure=learn", "output.video=", "output.mesh="]
    assert main(words) == 0
    said = capsys.readouterr().out
    assert "learned with the scene: the pictures' poses and exposures" in said
    assert "poses: turned by" in said and "exposure: pictures differ from" in said
    run = open_run(tmp_path / "run")
    given = json.loads((tmp_path / "run" / "scene.json").read_text())["cameras"]["world_from_camera"]
    assert not torch.allclose(run.cameras.world_from_camera, torch.tensor(given), atol=1e-4)
    assert main(["export", str(tmp_path / "run"), "--cameras", str(tmp_path / "cameras")]) == 0
    handed = json.loads((tmp_path / "cameras" / "transforms.json").read_text())["frames"][3]["transform_matrix"]
    expected = run.cameras.world_from_camera[3] * torch.tensor([1.0, -1.0, -1.0, 1.0])
    assert torch.allclose(torch.tensor(handed[:3]), expected, atol=1e-5)
    for split in ("test", "train"):
        assert main(["evaluate", str(tmp_path / "run"), "--split", split]) == 0
    metrics = json.loads((tmp_path / "run" / "metrics.json").read_text())
    assert metrics["alignment"].startswith("pose: 6 numbers") and "gain and offset" in metrics["alignment"]
    assert all(math.isfinite(score["psnr"]) for score in metrics["views"])
