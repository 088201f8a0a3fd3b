"""Pictures that do not fit the memory are refused before they are read."""

from __future__ import annotations

from pathlib import Path

import pytest

from nerf.cli.main import main
from nerf.errors import InputError
from nerf.memory import INTERPRETER_BYTES
from nerf.scenes import room
from nerf.scenes.room import check_room
from tests.scenes import photo_folder


def machine(monkeypatch, gib: float) -> None:
    monkeypatch.setattr(room, "machine_memory", lambda: int(gib * 2**30) + INTERPRETER_BYTES)


def test_two_thousand_photographs_of_12_megapixels_are_refused_with_the_factor_that_helps(monkeypatch, capsys):
    machine(monkeypatch, 16)
    with pytest.raises(InputError, match=r"2000 pictures of 4000 x 3000 pixels take 67\.\d GiB .*--downscale 5$"):
        check_room(Path("images/a.jpg"), (2000, 3000, 4000, 3), 1)
    check_room(Path("images/a.jpg"), (2000, 600, 800, 3), 5)
    assert capsys.readouterr().out == ""


def test_pictures_that_leave_little_are_warned_of(monkeypatch, capsys):
    machine(monkeypatch, 1)
    check_room(Path("images/a.jpg"), (300, 1000, 1000, 3), 1)
    assert "warning: images: 300 pictures" in capsys.readouterr().out


@pytest.mark.parametrize("form", ["blender", "transforms"])
def test_no_format_reads_what_does_not_fit(form, ball_scene, tmp_path, monkeypatch, capsys):
    scene = ball_scene
    if form == "transforms":
        scene = tmp_path / "photographs"
        photo_folder.write_pictures(scene / "images")
        photo_folder.write_transforms(scene)
    machine(monkeypatch, 1e-6)
    assert main(["train", "--scene", str(scene), "--out", str(tmp_path / "run")]) == 2
    assert "GiB of memory" in capsys.readouterr().err


def test_a_training_that_does_not_fit_is_refused_before_its_tables_are_made(ball_scene, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("nerf.workflows.check.machine_memory", lambda: 2**33)
    words = ["train", "--scene", str(ball_scene), "--out", str(tmp_path / "run")]
    huge = ["field.levels=32", "field.log2_table_size=24", "field.features_per_level=8", "field.base_resolution=1024"]
    assert main([*words, *huge]) == 2
    assert "the training takes about" in capsys.readouterr().err
