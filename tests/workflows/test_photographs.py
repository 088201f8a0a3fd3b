"""The whole road from photographs of an unbounded scene to scores, a film and a mesh."""

import json
from dataclasses import replace

import numpy
import pytest
import torch
import trimesh
from PIL import Image

from nerf.backends.reference import ReferenceEngine
from nerf.cli.main import main
from nerf.config import PLACE, Settings, default_settings, read_settings, settings_from_dict
from nerf.errors import InputError
from nerf.geometry.scene_box import SceneBox
from nerf.rendering.model import new_model
from nerf.training.radiance import resolved_settings
from tests.backends.small_scene import ball_views
from tests.conftest import ANGLE, DISTANCE, SMALL, write_ball_scene
from tests.scenes import photo_folder as made

# A sky of one colour, seen by few pictures, has no depth to find: fog alone gets it right between them, and a rate that
# stays fits the pictures (38 dB) at the cost of all that lies between (17 dB).
FINER = [
    "train.distortion=0", "render.minimum_weight=0", "render.minimum_transmittance=1e-3", "optimizer.final_factor=0.1",
    "field.levels=6", "field.log2_table_size=14", "field.finest_resolution=256", "render.steps=256",
    "render.occupancy_every=4", "train.samples=16384", "optimizer.horizon=600", "output.mesh_resolution=64",
]  # fmt: skip


@pytest.fixture
def ball_photographs(tmp_path):
    """Photographs of the ball before a grey sky, with poses as nerfstudio writes them."""
    folder = write_ball_scene(tmp_path / "ball", splits=("train",), views=24)
    tree = json.loads((folder / "transforms_train.json").read_text())
    (folder / "transforms_train.json").unlink()
    for frame in tree["frames"]:
        frame["file_path"] += ".png"
        image = Image.open(folder / frame["file_path"])
        sky = Image.new("RGBA", image.size, (110, 120, 130, 255))
        Image.alpha_composite(sky, image).convert("RGB").save(folder / frame["file_path"])
    (folder / "transforms.json").write_text(json.dumps({"camera_angle_x": ANGLE, **tree}))
    return folder


def test_photographs_become_scores_a_film_and_a_mesh_in_the_input_frame(ball_photographs, tmp_path, capsys):
    run = tmp_path / "run"
    words = ["train", "--scene", str(ball_photographs), "--out", str(run), "--steps", "600", *SMALL]
    assert main([*words, *FINER]) == 0
    said = capsys.readouterr().out
    assert "format: transforms.json (24 frames)" in said and "held out for testing: every 8th of 24" in said
    assert "bounds: none; space is contracted about" in said and "orbit, 3 frames" in said
    assert main(["evaluate", str(run)]) == 0 and main(["evaluate", str(run), "--split", "train"]) == 0
    metrics = json.loads((run / "metrics.json").read_text())
    assert [score["view"] for score in metrics["views"]] == ["train_r_0", "train_r_16", "train_r_23"]
    # Measured: 26.5 and 34.2 dB. Pictures of one colour would score 21; few views leave much of a plain sky open.
    assert metrics["psnr"] > 23.5
    assert json.loads((run / "metrics_train.json").read_text())["psnr"] > 30
    mesh = trimesh.load(run / "mesh.glb", force="mesh")
    assert len(mesh.faces) > 1000 and numpy.abs(mesh.vertices).max() < 1.1 * DISTANCE


def test_photographs_have_defaults_of_their_own_that_the_user_overrules():
    assert default_settings(PLACE) != Settings()
    settings = read_settings(None, ["field.levels=3"], default_settings(PLACE))
    assert settings.field.levels == 3 and settings.train == default_settings(PLACE).train


@pytest.mark.parametrize(("given", "around", "one_way"), [(0, 512, 320), (100, 100, 100)])
def test_what_faces_one_way_is_marched_coarsely_unless_told(given, around, one_way):
    settings = settings_from_dict({"render": {"steps": given}}, "test", default_settings(PLACE))
    views = ball_views()
    assert resolved_settings(settings, views).render.steps == around
    poses = torch.eye(3, 4).repeat(len(views), 1, 1)
    views = replace(views, cameras=replace(views.cameras, world_from_camera=poses))
    assert resolved_settings(settings, views).render.steps == one_way


def test_a_run_keeps_how_its_capture_is_marched(ball_photographs, tmp_path, capsys):
    words = ["train", "--scene", str(ball_photographs), "--out", str(tmp_path / "run"), "render.steps=0"]
    words += ["field.log2_table_size=10", "output.video=", "output.mesh="]
    assert main([*words, "--steps", "1"]) == 0
    assert "march: 512 steps along the diagonal" in capsys.readouterr().out
    for name in ("settings.yaml", "repeat.yaml"):
        assert " steps: 512" in (tmp_path / "run" / name).read_text()
    assert main([*words, "--steps", "2", "--resume"]) == 0
    assert "resumed at step 1" in capsys.readouterr().out


def test_a_model_that_no_capture_has_decided_on_is_refused():
    with pytest.raises(InputError, match="render.steps is 0"):
        new_model(default_settings(PLACE), SceneBox(torch.zeros(3), 1.0), make_engine=ReferenceEngine)


def test_pictures_too_small_to_be_scored_are_refused_before_training(tmp_path, capsys):
    made.write_pictures(tmp_path / "images")
    made.write_transforms(tmp_path)
    for words in (["train", "--out", str(tmp_path / "run")], ["check", "--out", str(tmp_path / "page.html")]):
        scene = ["--scene", str(tmp_path)] if words[0] == "train" else [str(tmp_path)]
        assert main([*words[:1], *scene, *words[1:], "--downscale", "3"]) == 2
        said = capsys.readouterr().err.strip().splitlines()[-1]
        assert "has 10 x 8 pixels, after --downscale; at least 11 a side are needed" in said
    assert not (tmp_path / "run").exists() and not (tmp_path / "page.html").exists()
