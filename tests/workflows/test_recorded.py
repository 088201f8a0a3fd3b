"""A folder that a run's record names is opened only if it is the run's scene, and never written into."""

from __future__ import annotations

import json
import shutil

import pytest

from nerf.cli.main import main
from tests.scenes import photo_folder


def record_names(run, folder) -> None:
    record = json.loads((run / "scene.json").read_text())
    record["folder"] = str(folder)
    (run / "scene.json").write_text(json.dumps(record))


def listing(folder):
    return sorted((path.relative_to(folder), path.stat().st_mtime_ns) for path in folder.rglob("*"))


COMMANDS = (["evaluate", "RUN"], ["render", "RUN", "--path", "test", "--size", "16x16", "--out", "OUT"])


@pytest.mark.parametrize("command", COMMANDS)
def test_another_scene_under_the_recorded_name_is_refused_and_left_alone(command, ball_run, tmp_path, capsys):
    run = shutil.copytree(ball_run, tmp_path / "run")
    scene = shutil.copytree(ball_run.parent / "ball", tmp_path / "scene")
    record_names(run, scene)
    words = [{"RUN": str(run), "OUT": str(tmp_path / "film")}.get(word, word) for word in command]
    assert main(words) == 0
    shutil.rmtree(tmp_path / "film", ignore_errors=True)

    file = scene / "transforms_train.json"
    tree = json.loads(file.read_text())
    tree["frames"] = tree["frames"][::-1]
    file.write_text(json.dumps(tree))
    before = listing(scene)
    assert main(words) == 2
    assert "not the pictures and poses that" in capsys.readouterr().err and listing(scene) == before


@pytest.mark.parametrize("command", COMMANDS)
def test_bare_photographs_under_the_recorded_name_stay_as_they_are(command, ball_run, tmp_path, capsys):
    run = shutil.copytree(ball_run, tmp_path / "run")
    victim = tmp_path / "victim"
    photo_folder.write_pictures(victim / "images")
    record_names(run, victim)
    before = listing(victim)
    words = [{"RUN": str(run), "OUT": str(tmp_path / "film")}.get(word, word) for word in command]
    assert main(words) == 2
    assert "photographs without poses" in capsys.readouterr().err and listing(victim) == before


def test_a_scene_whose_pictures_are_all_held_out_is_one_line(tmp_path, capsys):
    photo_folder.write_pictures(tmp_path / "scene" / "images")
    photo_folder.write_transforms(tmp_path / "scene")
    words = ["train", "--scene", str(tmp_path / "scene"), "--out", str(tmp_path / "run"), "scene.holdout=1"]
    assert main(words) == 2
    assert "no picture is left to learn from" in capsys.readouterr().err
