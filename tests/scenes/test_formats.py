"""The table of formats: a row is all that the rest of the program needs, and the pages say what the rows say."""

import json
import re
from pathlib import Path

import pytest

from nerf.cli.main import main
from nerf.config import SceneSettings
from nerf.errors import InputError
from nerf.scenes import SceneFolder, ground_of, load_scene
from nerf.scenes.captures import Photo, photo_capture
from nerf.scenes.formats import FORMATS, Format, chosen_format, found_formats
from tests.scenes import photo_folder as made

REPOSITORY = Path(__file__).parents[2]


def is_toy(folder):
    return (folder / "toy.json").is_file()


def open_toy(folder, settings):
    """Reads a format of the test's own: a file with the poses of pictures that all share one camera."""
    photos = [
        Photo(name, folder / name, made.poses()[view], (30.0, 30.0), (16.0, 12.0), (made.WIDTH, made.HEIGHT))
        for view, name in enumerate(json.loads((folder / "toy.json").read_text()))
    ]
    return photo_capture("toy", photos, ["format: toy"], settings, settings.downscale)


@pytest.fixture
def toy_folder(tmp_path, monkeypatch):
    """Returns a folder of a format that is known by one row more."""
    monkeypatch.setattr(
        "nerf.scenes.formats.FORMATS",
        (*FORMATS, Format("toy", "toy.json", is_toy, open_toy, ground=lambda folder: "")),
    )
    folder = tmp_path / "scene"
    made.write_pictures(folder)
    (folder / "toy.json").write_text(json.dumps([made.name(view) for view in range(made.N)]))
    return folder


def load(folder, **settings):
    return load_scene(SceneFolder("made", folder, ""), ("train", "test"), SceneSettings(**settings))


def test_one_row_makes_a_format_that_scenes_are_read_in(toy_folder):
    scene = load(toy_folder, downscale=2)
    assert (scene.kind, scene.ground, scene.notes[0]) == ("toy", "", "format: toy")
    assert [len(scene.splits[split]) for split in ("train", "test")] == [10, 2]
    assert scene.splits["test"].images.shape[1:3] == (made.HEIGHT // 2, made.WIDTH // 2)
    assert ground_of(toy_folder) == ""
    made.write_transforms(toy_folder)
    assert [row.name for row in found_formats(toy_folder)] == ["transforms", "toy"]
    assert load(toy_folder, format="toy").kind == "toy"


def test_one_row_makes_a_format_that_the_command_line_knows(toy_folder, tmp_path, capsys):
    assert main(["check", str(toy_folder), "--out", str(tmp_path / "check.html")]) == 0
    said = capsys.readouterr().out
    assert "10 train, 2 test; 32 x 24 pixels" in said and "the defaults for renders" in said
    with pytest.raises(SystemExit):
        main(["train", "--help"])
    assert re.search(r"^  toy +toy\.json$", capsys.readouterr().out, re.MULTILINE)
    assert main(["train", "--scene", str(toy_folder), "--out", str(tmp_path / "run"), "scene.format=tyo"]) == 2
    assert 'scene.format: "tyo" is not a choice; did you mean "toy"?' in capsys.readouterr().err
    assert not (tmp_path / "run").exists()
    (toy_folder / "toy.json").rename(tmp_path / "toy.json")
    for file in toy_folder.rglob("*.png"):
        file.unlink()
    assert main(["check", str(toy_folder)]) == 2
    said = capsys.readouterr().err
    assert "expected transforms_train.json, " in said and "photographs or toy.json" in said


def test_a_name_that_no_format_with_poses_has_is_refused(tmp_path):
    for name in ("photos", "Colmap", ""):
        with pytest.raises(InputError, match=f'scene.format: "{name}" is not a choice'):
            chosen_format(tmp_path, name)


def test_a_split_is_read_only_if_it_is_asked_for(ball_scene, tmp_path):
    (ball_scene / "transforms_test.json").write_text("{")
    assert set(load_scene(SceneFolder("ball", ball_scene, ""), ("train",), SceneSettings()).splits) == {"train"}
    made.write_pictures(tmp_path / "images")
    made.write_transforms(tmp_path)
    readers = found_formats(tmp_path)[0].open(tmp_path, SceneSettings()).read
    assert set(readers) == {"train", "val", "test"}
    (tmp_path / "images" / made.name(0)).write_bytes(b"")
    assert len(readers["train"]()) == 10
    with pytest.raises(InputError, match="p_00.png: not a readable picture"):
        readers["test"]()


def test_the_page_about_data_describes_the_formats_as_the_table_has_them():
    page = (REPOSITORY / "data" / "README.md").read_text()
    rows = re.findall(r"^\| `(\w+)` \| ([^|]*) \|", page, re.MULTILINE)
    assert [name for name, _ in rows] == [row.name for row in FORMATS]
    for (_, files), row in zip(rows, FORMATS, strict=True):
        assert files.replace("`", "").startswith(row.files)
