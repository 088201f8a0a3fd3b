"""The table of outputs: what reads it agrees with it, each output stands alone, and no camera is asked twice."""

import json
import re
import shutil
from pathlib import Path

import numpy
import pytest

from nerf.cli.main import main
from nerf.errors import InputError
from nerf.exporters import pointcloud
from nerf.exporters.context import ExportContext, ExportRequest
from nerf.exporters.outputs import NEEDS, OUTPUTS, option_list
from nerf.geometry.scene_box import crop_box
from nerf.meshing.surface import SurfaceRequest
from nerf.rendering.depth_views import pinhole_cameras
from nerf.rendering.model import RadianceModel
from nerf.runs import RunFolder
from nerf.workflows.attempts import OutputError
from nerf.workflows.export import export
from nerf.workflows.trained import open_run
from tests.ball import ball_model, cameras_round

REPOSITORY = Path(__file__).parents[2]
NAMES = [f"{frame}.png" for frame in range(24)]


def lines_of_errors(capsys):
    """Returns the lines on standard error that are no progress bars, and standard output."""
    captured = capsys.readouterr()
    return [line for line in re.split(r"[\r\n]+", captured.err) if line.startswith("nerf: ")], captured.out


def test_the_page_has_a_row_for_each_output():
    page = (REPOSITORY / "docs" / "export.md").read_text()
    table = page.split("<!-- outputs -->\n")[1].split("<!-- end of outputs -->")[0]
    rows = [f"| `{output.option} {output.metavar}` | {output.help} | {output.needs} |" for output in OUTPUTS]
    assert table.strip().splitlines()[2:] == rows


def test_the_help_and_the_guard_name_each_output(capsys):
    with pytest.raises(SystemExit):
        main(["export", "--help"])
    text = " ".join(capsys.readouterr().out.split())
    assert all(f"{output.option} {output.metavar} {output.help}" in text for output in OUTPUTS)
    assert re.split(", | or ", option_list()) == [output.option for output in OUTPUTS]


@pytest.mark.parametrize("output", OUTPUTS, ids=lambda output: output.name)
def test_every_row_loads_a_module_that_checks_before_the_work(output, tmp_path):
    (tmp_path / "taken").mkdir()
    (tmp_path / "taken" / "file").touch()
    with pytest.raises(InputError, match="taken"):
        output.exporter().check(tmp_path / "taken", ExportRequest({}, SurfaceRequest(32)))
    assert output.needs in NEEDS


@pytest.mark.parametrize("error", [InputError("the disk is full"), RuntimeError("torn\nin two")])
def test_an_output_that_fails_leaves_the_others_written(error, ball_run, tmp_path, capsys, monkeypatch):
    def fail(*_):
        raise error

    monkeypatch.setattr(pointcloud, "write_ply", fail)
    words = ["export", str(ball_run), "--resolution", "24", "--mesh", str(tmp_path / "ball.ply")]
    words += ["--points", str(tmp_path / "points.ply"), "--cameras", str(tmp_path / "cameras")]
    assert main([*words, "--depth", str(tmp_path / "depth")]) == 2
    assert {path.name for path in tmp_path.iterdir()} == {"ball.ply", "ball.report.json", "cameras", "depth"}
    lines, said = lines_of_errors(capsys)
    reason = "the disk is full" if isinstance(error, InputError) else "RuntimeError: torn in two"
    assert lines == [f"nerf: error: --points {tmp_path / 'points.ply'}: {reason}"]
    assert [line.split(":")[0] for line in said.splitlines()] == ["mesh", "cameras", "depth maps"]


def test_a_surface_that_fails_is_tried_once_and_told_of_each_output_that_needs_it(ball_run, tmp_path, monkeypatch):
    calls = []

    def empty(self, cameras, frame, *wanted):
        calls.append(frame)
        return numpy.inf * real(self, cameras, frame, *wanted)

    real = RadianceModel.distances
    monkeypatch.setattr(RadianceModel, "distances", empty)
    outputs = {name: tmp_path / f"{name}.ply" for name in ("mesh", "points")}
    with pytest.raises(OutputError) as caught:
        export(open_run(ball_run), ExportRequest(outputs | {"cameras": tmp_path / "cameras"}, SurfaceRequest(16)))
    lines = str(caught.value).splitlines()
    assert [line.split()[0] for line in lines] == ["--mesh", "--points"] and "the model is empty" in lines[1]
    assert isinstance(caught.value.failures[0].__cause__, InputError)
    assert len(calls) == 12 and (tmp_path / "cameras" / "transforms.json").is_file()


def test_an_export_asks_each_camera_once(ball_run, tmp_path, monkeypatch):
    calls = []

    real = RadianceModel.distances

    def counted(self, cameras, frame, *wanted):
        calls.append(frame)
        return real(self, cameras, frame, *wanted)

    monkeypatch.setattr(RadianceModel, "distances", counted)
    outputs = {"mesh": tmp_path / "ball.ply", "points": tmp_path / "points.ply", "depth": tmp_path / "depth"}
    export(open_run(ball_run), ExportRequest(outputs, SurfaceRequest(24)))
    assert sorted(calls) == [*range(12)]


@pytest.mark.parametrize("crop", [None, [-0.6, -0.6, -0.6, 0.1, 0.6, 0.6]])
def test_depth_maps_beside_a_mesh_are_those_made_alone(crop, tmp_path):
    surface = SurfaceRequest(24, crop=crop_box(crop) if crop else None)
    for name, outputs in (("beside", ("mesh", "depth")), ("alone", ("depth",))):
        context = ExportContext(ball_model(), cameras_round(), NAMES, ExportRequest({}, surface, depth_format="npy"))
        for output in OUTPUTS:
            if output.name in outputs:
                output.exporter().write(context, tmp_path / f"{name}{'.ply' if output.name == 'mesh' else ''}")
        assert (context.rendered_views() is not None) == (name == "beside" and crop is None)
    for frame in range(24):
        ours, theirs = (numpy.load(tmp_path / folder / f"{frame}.npy") for folder in ("beside", "alone"))
        assert numpy.array_equal(ours, theirs)


def test_cameras_that_are_pinholes_of_one_size_are_looked_through_as_they_are():
    cameras = cameras_round(3)
    assert pinhole_cameras(cameras) is cameras
    smaller = cameras.resized(40, 24)
    assert pinhole_cameras(smaller).size.tolist() == [[40, 24]] * 3


def test_a_measured_length_is_kept_and_units_follow_it(ball_run, tmp_path, capsys):
    run, file = tmp_path / "run", tmp_path / "ball.ply"
    shutil.copytree(ball_run, run)
    assert main(["export", str(run), "--measure", *"000200", "30", "--unit", "cm"]) == 0
    assert "a scene unit is 0.15 m (measured: 2 units are 30 cm)" in capsys.readouterr().out
    words = ["export", str(run), "--resolution", "24", "--mesh", str(file)]
    extents = []
    for more in (["--unit", "cm"], [], ["--unit", "cm", "--scale", "1"]):
        assert main([*words, *more]) == 0
        extents.append(json.loads((tmp_path / "ball.report.json").read_text())["extent"][0])
    assert extents[0] == pytest.approx(15 * extents[1]) and extents[1] == extents[2]
    (run / "scale.json").write_text('{"metres": "1", "reason": "x"}')
    assert main(words) == 2 and "scale.json: not the length" in capsys.readouterr().err
    assert main(["export", str(tmp_path / "none"), "--measure", *"0002001"]) == 2 and not (tmp_path / "none").exists()


def test_the_crop_box_of_a_run_holds_for_every_output_that_asks_for_no_other(ball_run, tmp_path, capsys):
    run, file = tmp_path / "run", tmp_path / "ball.ply"
    shutil.copytree(ball_run, run)
    RunFolder(run).save_crop([-1, -1, -1, 1, 1, 0])
    words = ["export", str(run), "--resolution", "24", "--mesh", str(file)]
    highest = []
    for more in ([], ["--crop", *["-1", "-1", "-1", "1", "1", "0.25"]], ["--whole"]):
        assert main([*words, *more]) == 0
        highest.append(json.loads((tmp_path / "ball.report.json").read_text())["highest"][2])
        assert ("crop.json says; --crop overrules it" in capsys.readouterr().out) == (not more)
    assert abs(highest[0]) < 0.05 and abs(highest[1] - 0.25) < 0.05 and abs(highest[2] - 0.5) < 0.1
    assert main(["render", str(run), "--frames", "2", "--size", "20x16", "--out", str(tmp_path / "film.gif")]) == 0
    assert "crop.json says" in capsys.readouterr().out

    for text in ("[]", '{"crop": [1, 2]}', '{"crop": [0, 0, 0, 1, 1, "1"]}', '{"crop": [0, 0, 0, -1, 1, 1]}'):
        (run / "crop.json").write_text(text)
        assert main(words) == 2 and "crop.json" in capsys.readouterr().err
    RunFolder(run).save_crop(None)
    RunFolder(run).save_crop(None)
    assert main(words) == 0 and "crop.json" not in capsys.readouterr().out
