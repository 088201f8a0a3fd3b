"""Camera tracks: what a film writes is read back as the same film; mistakes in key frames are named."""

import json
import math

import pytest
import torch

from nerf.cli.main import main
from nerf.errors import InputError
from nerf.video.keyframes import read_keys
from nerf.workflows.trained import open_run

UP = torch.tensor([0.0, 0.0, 1.0])


@pytest.fixture(scope="module")
def ball_cameras(ball_run):
    return open_run(ball_run).cameras


@pytest.mark.parametrize("path", ["orbit", "tour"])
def test_a_track_used_as_key_frames_gives_the_same_cameras(ball_run, tmp_path, path):
    words = ["render", str(ball_run), "--frames", "16", "--size", "20x16", "--fov", "30"]
    assert main([*words, "--path", path, "--out", str(tmp_path / "a.gif")]) == 0
    words = [*words[:-2], "--path", "keys", "--keys", str(tmp_path / "a.track.json")]
    assert main([*words, "--out", str(tmp_path / "b.gif")]) == 0
    a, b = (json.loads((tmp_path / f"{name}.track.json").read_text()) for name in "ab")
    assert a["loop"] and b["loop"] and a["seconds"] == b["seconds"]
    for ours, theirs in zip(a["frames"], b["frames"]):
        assert torch.allclose(
            torch.tensor(ours["world_from_camera"]), torch.tensor(theirs["world_from_camera"]), atol=1e-4
        )
        assert ours["focal"] == pytest.approx(theirs["focal"], rel=1e-4)


def test_key_frames_made_by_hand_are_not_replaced_by_a_track(ball_run, tmp_path, capsys):
    keys = tmp_path / "look.track.json"
    keys.write_text('{"frames": [{"eye": [2, 0, 1], "target": [0, 0, 0]}, {"eye": [0, 2, 1], "target": [0, 0, 0]}]}')
    before = keys.read_text()
    words = ["render", str(ball_run), "--frames", "2", "--size", "20x16", "--keys", str(keys)]
    assert main([*words, "--out", str(tmp_path / "look.gif")]) == 2
    assert "look.track.json: exists already, not written by nerf" in capsys.readouterr().err
    assert keys.read_text() == before and [*tmp_path.iterdir()] == [keys]


def test_a_track_replaces_a_track_but_not_the_key_frames_of_its_film(ball_run, tmp_path, capsys):
    words = ["render", str(ball_run), "--frames", "2", "--size", "20x16", "--out", str(tmp_path / "look.gif")]
    assert main(words) == 0
    assert main(words) == 0
    track = (tmp_path / "look.track.json").read_text()
    capsys.readouterr()
    assert main([*words, "--keys", str(tmp_path / "look.track.json")]) == 2
    assert "look.track.json: holds the key frames" in capsys.readouterr().err
    assert (tmp_path / "look.track.json").read_text() == track


def test_keys_by_hand_need_only_eye_and_target(ball_cameras, tmp_path):
    file = tmp_path / "keys.json"
    file.write_text(
        json.dumps({"frames": [{"eye": [2, 0, 1], "target": [0, 0, 0]}, {"eye": [0, 2, 1], "target": [0, 0, 0]}]})
    )
    keys = read_keys(file, ball_cameras, UP)
    assert torch.allclose(keys.poses[0, :, 3], torch.tensor([2.0, 0, 1]))
    assert torch.allclose(keys.poses[1, :, 2], torch.nn.functional.normalize(torch.tensor([0.0, -2, -1]), dim=0))
    assert keys.when is None and not keys.loop


KEY = {"eye": [2, 0, 1], "target": [0, 0, 0]}
SHEAR = [[1, 1, 0, 0], [0, 1, 0, 0], [0, 0, 1, 0]]


@pytest.mark.parametrize(
    ("tree", "message"),
    [
        ([], "at least two"),
        ({"frames": [KEY]}, "at least two"),
        ({"frames": [KEY, {"eye": [1, 2]}]}, 'key frame 1: expected "world_from_camera"'),
        ({"frames": [KEY, {"eye": [1, 2], "target": [0, 0, 0]}]}, 'key frame 1: "eye": expected 3 finite numbers'),
        ({"frames": [KEY, {"eye": [0, 0, 0], "target": [0, 0, 0]}]}, "in one place"),
        ({"frames": [KEY, {"world_from_camera": SHEAR}]}, "no rotation"),
        ({"frames": [{**KEY, "time": 1}, {**KEY, "time": 1}]}, "do not increase"),
        ({"frames": [{**KEY, "time": 1}, {**KEY, "time": "x"}]}, "key frame 1: time"),
    ],
)
def test_a_mistake_in_key_frames_is_named(ball_cameras, tmp_path, tree, message):
    file = tmp_path / "keys.json"
    file.write_text(json.dumps(tree))
    with pytest.raises(InputError, match=message):
        read_keys(file, ball_cameras, UP)


def test_a_file_that_is_missing_or_no_json_is_named(ball_cameras, tmp_path):
    (tmp_path / "keys.json").write_text("{")
    for name in ("keys.json", "none.json"):
        with pytest.raises(InputError, match=name):
            read_keys(tmp_path / name, ball_cameras, UP)


def test_a_track_goes_to_another_program_and_comes_back_as_the_same_film(ball_run, tmp_path):
    words = ["render", str(ball_run), "--frames", "9", "--size", "20x16", "--fov", "30"]
    there = [*words, "--path", "orbit", "--track", str(tmp_path / "hand.glb")]
    assert main([*there, "--out", str(tmp_path / "a.gif")]) == 0
    assert main([*words, "--keys", str(tmp_path / "hand.glb"), "--out", str(tmp_path / "b.gif")]) == 0
    a, b = (json.loads((tmp_path / f"{name}.track.json").read_text()) for name in "ab")
    for ours, theirs in zip(a["frames"], b["frames"], strict=True):
        poses = [torch.tensor(frame["world_from_camera"]) for frame in (ours, theirs)]
        assert torch.allclose(*poses, atol=2e-5)
        assert ours["focal"] == pytest.approx(theirs["focal"], rel=1e-5)


def test_a_track_is_written_as_nerfstudio_reads_paths(ball_run, tmp_path, capsys):
    words = ["render", str(ball_run), "--frames", "4", "--size", "20x16", "--path", "orbit", "--fps", "8"]
    assert main([*words, "--track", str(tmp_path / "path.json"), "--out", str(tmp_path / "a.gif")]) == 0
    assert f"a.track.json, {tmp_path / 'path.json'}" in capsys.readouterr().out
    tree = json.loads((tmp_path / "path.json").read_text())
    track = json.loads((tmp_path / "a.track.json").read_text())
    assert (tree["render_width"], tree["render_height"], tree["fps"], tree["seconds"]) == (20, 16, 8, 0.5)
    for ours, theirs in zip(track["frames"], tree["camera_path"], strict=True):
        matrix = torch.tensor(theirs["camera_to_world"]).view(4, 4)
        pose = torch.tensor(ours["world_from_camera"])
        assert torch.allclose(matrix[:3] * torch.tensor([1.0, -1, -1, 1]), pose, atol=1e-6)
        assert 8 / math.tan(math.radians(theirs["fov"]) / 2) == pytest.approx(ours["focal"][1], rel=1e-6)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("b.fbx", '".fbx" is not a format of camera tracks; use one of .glb, .json'),
        ("b.track.json", "is the film's own track"),
        ("keys.json", "holds the key frames, and --track would replace it"),
    ],
)
def test_a_track_is_not_handed_on_over_what_it_must_not_replace(ball_run, tmp_path, capsys, name, message):
    keys = tmp_path / "keys.json"
    keys.write_text('{"frames": [{"eye": [2, 0, 1], "target": [0, 0, 0]}, {"eye": [0, 2, 1], "target": [0, 0, 0]}]}')
    before = keys.read_text()
    words = ["render", str(ball_run), "--frames", "2", "--size", "20x16", "--keys", str(keys)]
    assert main([*words, "--track", str(tmp_path / name), "--out", str(tmp_path / "b.gif")]) == 2
    assert message in capsys.readouterr().err
    assert keys.read_text() == before and [*tmp_path.iterdir()] == [keys]
