"""The command line: the whole way once, and every mistake in one line with exit status 2."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from nerf.cli.main import main
from tests.conftest import SMALL

REPOSITORY = Path(__file__).parents[2]


def failed(words, capsys):
    """Returns the one line that a refused command printed."""
    line = failed_last(words, capsys, lines=1)
    assert line.startswith("nerf: error: ")
    return line


def failed_last(words, capsys, lines=None):
    """Returns the last line that a refused command printed, after its progress bars."""
    try:
        status = main([str(word) for word in words])
    except SystemExit as error:
        status = error.code
    assert status == 2
    printed = capsys.readouterr().err.strip().splitlines()
    assert lines is None or len(printed) == lines
    return printed[-1]


def test_training_leaves_a_film_a_mesh_and_records_that_say_what_was_read(ball_run):
    names = {path.name for path in ball_run.iterdir()}
    assert names == {
        "settings.yaml",
        "scene.json",
        "check.html",
        "checkpoint.safetensors",
        "log.jsonl",
        "repeat.yaml",
        "orbit.mp4",
        "orbit.track.json",
        "mesh.glb",
        "mesh.report.json",
        "report.html",
    }
    record = json.loads((ball_run / "scene.json").read_text())
    assert record["format"] == "blender" and record["chosen"] == "the folder given" and len(record["views"]) == 12
    last = json.loads((ball_run / "log.jsonl").read_text().splitlines()[-1])
    assert last["step"] == 300 and last["psnr"] > 20


@pytest.fixture
def scored(ball_run, tmp_path):
    """A copy of the run, evaluated."""
    shutil.copytree(ball_run, tmp_path / "scored")
    words = ["--backend", "reference", "--scene", str(ball_run.parent / "ball")]
    assert main(["evaluate", str(tmp_path / "scored"), *words]) == 0
    return tmp_path / "scored"


def test_evaluation_states_its_protocol_and_every_view(capsys, scored):
    metrics = json.loads((scored / "metrics.json").read_text())
    assert [view["view"] for view in metrics["views"]] == ["r_0", "r_1"]
    assert metrics["psnr"] == pytest.approx(sum(view["psnr"] for view in metrics["views"]) / 2)
    assert metrics["psnr"] > 20 and 0 < metrics["ssim"] <= 1
    expected = {
        "split": "test",
        "resolution": [48, 48],
        "background": "white",
        "steps": 300,
        "seed": 0,
        "device": "cpu",
    }
    assert expected.items() <= metrics.items()
    assert {"training_seconds", "version", "protocol", "backend", "threads"} <= metrics.keys()
    assert {path.name for path in (scored / "test").iterdir()} == {
        "r_0.png",
        "r_0_depth.png",
        "r_1.png",
        "r_1_depth.png",
    }
    assert "mean of 2 test views on white" in capsys.readouterr().out


def test_the_depth_picture_is_the_distance_to_the_ball(scored):
    import numpy
    from PIL import Image

    unit = json.loads((scored / "metrics.json").read_text())["depth_unit"]
    depth = numpy.array(Image.open(scored / "test" / "r_0_depth.png")).astype(float) * unit
    # The ball of radius 0.5 in the middle of a picture taken from 2 away: its face is at 1.5.
    assert depth[24, 24] == pytest.approx(1.5, abs=0.1)
    assert depth[0, 0] == 0


def test_a_run_is_rendered_and_meshed_elsewhere_without_its_pictures(ball_run, tmp_path):
    moved = tmp_path / "moved"
    shutil.copytree(ball_run, moved)
    record = json.loads((moved / "scene.json").read_text())
    record["folder"] = "gone"
    (moved / "scene.json").write_text(json.dumps(record))
    assert main(["render", str(moved), "--out", str(tmp_path / "film.mp4"), "--frames", "2", "--size", "30x22"]) == 0
    assert main(["export", str(moved), "--mesh", str(tmp_path / "mesh.ply"), "--resolution", "32"]) == 0
    assert (tmp_path / "film.mp4").stat().st_size > 500 and (tmp_path / "mesh.ply").stat().st_size > 500


def test_the_test_cameras_are_filmed_and_asked_for_where_they_are_gone(ball_run, tmp_path, capsys):
    words = ["render", str(ball_run), "--path", "test", "--size", "24x24", "--out", str(tmp_path / "film.gif")]
    assert main(words) == 0
    assert "(test, 2 frames of 24 x 24" in capsys.readouterr().out
    moved = tmp_path / "moved"
    shutil.copytree(ball_run, moved)
    record = json.loads((moved / "scene.json").read_text())
    record["folder"] = str(tmp_path / "gone")
    (moved / "scene.json").write_text(json.dumps(record))
    assert "no longer there" in failed(["render", moved, "--path", "test", "--out", tmp_path / "b.gif"], capsys)


def test_evaluation_asks_for_a_scene_that_has_moved(ball_run, tmp_path, capsys):
    moved = tmp_path / "moved"
    shutil.copytree(ball_run, moved)
    record = json.loads((moved / "scene.json").read_text())
    record["folder"] = str(tmp_path / "gone")
    (moved / "scene.json").write_text(json.dumps(record))
    assert "say where it is with --scene" in failed(["evaluate", moved], capsys)


def test_an_earlier_run_is_kept_beside_the_new_one(ball_scene, tmp_path, capsys):
    words = ["train", "--scene", str(ball_scene), "--out", str(tmp_path / "run"), "--steps", "1", *SMALL]
    words += ["output.video=", "output.mesh="]
    assert main(words) == 0 and main(words) == 0
    assert "kept as" in capsys.readouterr().out
    assert (tmp_path / "run.1" / "checkpoint.safetensors").exists() and (
        tmp_path / "run" / "checkpoint.safetensors"
    ).exists()


def test_a_resumed_run_keeps_its_settings(ball_run, tmp_path, capsys, ball_scene):
    run = tmp_path / "run"
    shutil.copytree(ball_run, run)
    words = ["train", "--scene", ball_scene, "--out", run, "--resume", "--backend", "reference"]
    assert "field.levels is 4" in failed([*words, "field.levels=5"], capsys)
    assert main([str(word) for word in [*words, "--steps", "301", "output.video=", "output.mesh="]]) == 0
    assert "resumed at step 300" in capsys.readouterr().out
    assert "no such run folder" in failed(
        ["train", "--scene", ball_scene, "--out", tmp_path / "none", "--resume"], capsys
    )


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--scene", "legoo"], 'did you mean "lego"'),
        (["--scene", "SCENE", "field.levles=3"], 'did you mean "levels"'),
        (["--scene", "SCENE", "--steps", "ten"], "expected a whole number, got 'ten'"),
        (["--scene", "SCENE", "--max-seconds", "-1"], "outside"),
        (["--scene", "SCENE", "--downscale", "5"], "cannot be divided"),
        (["--scene", "SCENE", "--config", "none.yaml"], "none.yaml: cannot be read"),
        (["--scene", "SCENE", "--backend", "tcnn"], "--backend tcnn"),
        (["--scene", "SCENE", "--device", "cuda"], "--device cuda"),
        (["--scene", "SCENE", "--backend", "natve"], "invalid choice"),
        (["--scene", "SCENE", "output.video=film.avi"], '".avi" is not a film format'),
        (["--scene", "SCENE", "output.mesh=../mesh.ply"], "not a bare file name"),
        (["--scene", "EMPTY"], "nothing to learn from"),
        ([], "required: --scene"),
        (["--scene", "SCENE", "--stepz", "3"], 'unrecognized arguments: --stepz; did you mean "--steps"?'),
        (["--scene", "SCENE", "optimizer.beta1=1"], "outside"),
    ],
)
def test_a_mistake_ends_in_one_line_and_leaves_nothing_behind(words, message, ball_scene, tmp_path, capsys):
    (tmp_path / "empty").mkdir()
    places = {"SCENE": str(ball_scene), "EMPTY": str(tmp_path / "empty")}
    words = [places.get(word, word) for word in words]
    assert message in failed(["train", "--out", tmp_path / "run", *words], capsys)
    assert not (tmp_path / "run").exists()


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_without_permission_is_refused(ball_scene, tmp_path, capsys):
    (tmp_path / "locked").mkdir(mode=0o500)
    assert "cannot be written" in failed(["train", "--scene", ball_scene, "--out", tmp_path / "locked" / "run"], capsys)


def test_an_output_folder_that_is_a_file_or_below_one_is_refused_before_the_scene_is_read(tmp_path, capsys):
    (tmp_path / "file").touch()
    assert "a file; give --out a folder" in failed(["train", "--scene", "none", "--out", tmp_path / "file"], capsys)
    assert "cannot be written" in failed(["train", "--scene", "none", "--out", tmp_path / "file" / "run"], capsys)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["render", "RUN", "--out", "film.avi"], ".avi"),
        (["render", "RUN", "--out", "film.mp4", "--alpha"], "no alpha"),
        (["render", "RUN", "--out", "film.mp4", "--fov", "200"], "not a number from 1 to 170"),
        (["render", "RUN", "--out", "film.mp4", "--path", "keys"], "go together"),
        (["render", "RUN", "--out", "film.mp4", "--show", "dpeth"], "invalid choice"),
        (["render", "RUN", "--out", "film.mp4", "--frames", "one"], "not a whole number"),
        (["render", "RUN", "--out", "film.mp4", "--size", "10"], "not a whole number"),
        (["render", "NONE", "--out", "film.mp4"], "no run in it"),
        (["export", "RUN", "--mesh", "mesh.fbx"], ".fbx"),
        (["export", "RUN", "--mesh", "mesh.stl", "--texture", "512"], "no texture"),
        (["export", "RUN"], "nothing to export"),
        (["export", "RUN", "--mesh", "mesh.ply", "--crop", *"001110"], "least first"),
        (["export", "RUN", "--mesh", "mesh.ply", "--resolution", "5000"], "16 to 1024"),
        (["export", "NONE", "--mesh", "mesh.ply"], "no run in it"),
        (["evaluate", "NONE"], "no run in it"),
        (["evaluate", "RUN", "--split", "tset"], "invalid choice"),
    ],
)
def test_exporters_refuse_before_they_work(words, message, ball_run, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    places = {"RUN": str(ball_run), "NONE": str(tmp_path)}
    assert message in failed([places.get(word, word) for word in words], capsys)
    assert not list(tmp_path.iterdir())


def test_a_model_with_a_nan_is_an_error_not_a_score(ball_run, tmp_path, capsys):
    from nerf.runs import RunFolder

    damaged = tmp_path / "run"
    shutil.copytree(ball_run, damaged)
    tensors, facts = RunFolder(damaged).load_checkpoint()
    tensors["field.color_mlp.weights.0"][:] = float("nan")
    RunFolder(damaged).save_checkpoint(tensors, facts)
    (damaged / "metrics.json").unlink(missing_ok=True)
    assert main(["evaluate", str(damaged)]) == 2
    assert "not finite numbers" in capsys.readouterr().err
    assert not (damaged / "metrics.json").exists()


def test_a_test_view_that_is_missing_is_an_error_not_a_score(ball_run, tmp_path, capsys):
    scene = tmp_path / "scene"
    shutil.copytree(ball_run.parent / "ball", scene)
    (scene / "test" / "r_1.png").unlink()
    assert "test/r_1" in failed(["evaluate", ball_run, "--scene", scene], capsys)


def test_a_run_is_not_resumed_on_pictures_that_were_changed_meanwhile(ball_scene, tmp_path, capsys):
    words = [
        "train",
        "--scene",
        str(ball_scene),
        "--out",
        str(tmp_path / "run"),
        *SMALL,
        "output.video=",
        "output.mesh=",
    ]
    assert main([*words, "--steps", "2", "--backend", "reference"]) == 0
    from PIL import Image

    file = ball_scene / "train" / "r_3.png"
    with Image.open(file) as image:
        mirrored = image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    mirrored.save(file)
    resumed = [*words, "--steps", "3", "--resume", "--backend", "reference"]
    assert "the pictures have changed" in failed_last(resumed, capsys)
    mirrored.transpose(Image.Transpose.FLIP_LEFT_RIGHT).save(file)
    assert main(resumed) == 0


def test_a_run_is_resumed_on_its_own_pictures_only(ball_run, ball_scene, tmp_path, capsys):
    run = tmp_path / "run"
    shutil.copytree(ball_run, run)
    file = ball_scene / "transforms_train.json"
    tree = json.loads(file.read_text())
    del tree["frames"][0]
    file.write_text(json.dumps(tree))
    words = ["train", "--scene", ball_scene, "--out", run, "--resume", "--backend", "reference", "--steps", "400"]
    main([str(word) for word in words])
    assert "was trained on" in capsys.readouterr().err


def test_pictures_without_alpha_are_learned_as_opaque(ball_scene, tmp_path):
    from PIL import Image

    for picture in ball_scene.glob("*/*.png"):
        whole = Image.open(picture)
        dark = Image.new("RGB", whole.size, (20, 20, 20))
        dark.paste(whole, mask=whole)
        dark.save(picture)
    out = str(tmp_path / "run")
    words = ["train", "--scene", str(ball_scene), "--out", out, "--steps", "200", "--backend", "reference", *SMALL]
    assert main([*words, "output.video=", "output.mesh=", "scene.bounds=1"]) == 0
    assert main(["evaluate", out, "--split", "train"]) == 0
    # Transparent darkness before the white background of the evaluation would score 1 dB.
    assert json.loads((tmp_path / "run" / "metrics_train.json").read_text())["psnr"] > 15


def test_pictures_that_show_nothing_are_refused(ball_scene, tmp_path, capsys):
    from PIL import Image

    for picture in (ball_scene / "train").iterdir():
        Image.new("RGBA", (48, 48)).save(picture)
    assert "alpha or masks leave no pixel" in failed_last(
        ["train", "--scene", ball_scene, "--out", tmp_path / "run"], capsys
    )
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("script", ["train", "render", "export", "evaluate"])
def test_scripts_are_doors_onto_the_same_commands(script):
    done = subprocess.run(
        [sys.executable, REPOSITORY / "scripts" / f"{script}.py", "--help"], capture_output=True, text=True
    )
    assert done.returncode == 0 and f"nerf {script}" in done.stdout


def test_importing_the_command_line_loads_nothing_heavy():
    code = "import sys, nerf.cli.main; print([m for m in ('torch', 'numpy', 'open3d', 'skimage') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
