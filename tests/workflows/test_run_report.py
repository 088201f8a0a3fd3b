"""Reports of runs: what is in the folder is in the page, strangers' words stay words, and runs stand side by side."""

import json
import re
import shutil

import pytest
import torch

from nerf.cli.main import main
from nerf.workflows.run_report import Judged, curves, write_report
from nerf.workflows.trained import open_run


@pytest.fixture
def run(ball_run, tmp_path):
    """A copy of a run with scores."""
    shutil.copytree(ball_run, tmp_path / "run")
    views = [{"view": f"<b>{k}", "psnr": 20.0 + k, "ssim": 0.5} for k in (2, 0, 1)]
    scores = {"psnr": 21.0, "ssim": 0.5, "protocol": "as said", "views": views}
    (tmp_path / "run" / "metrics.json").write_text(json.dumps(scores))
    return tmp_path / "run"


def test_every_training_leaves_a_report_that_asks_for_nothing(ball_run):
    text = (ball_run / "report.html").read_text()
    assert "not scored" in text and "300 steps" in text and "<polyline" in text
    assert "href='./orbit.mp4'" in text and "triangles" in text and "train.samples<td>2048" in text
    assert "repeat.yaml" in text and str(ball_run.parent) not in text
    assert not re.findall(r"src=['\"](?!data:)|https?://|<script", text)


def test_the_worst_views_come_first_with_their_pictures(run):
    trained = open_run(run, "reference")
    before = len((run / "report.html").read_text())
    picture = torch.rand(8, 8, 3)
    assert write_report(trained, [Judged("<i>worst", 20.0, picture, picture)]).endswith("report.html")
    text = (run / "report.html").read_text()
    assert "<b>" not in text and "<i>" not in text and "&lt;i&gt;worst: 20.00 dB" in text
    order = [text.index(f"<td>&lt;b&gt;{k}") for k in range(3)]
    assert order == sorted(order) and "21.00 dB" in text and len(text) > before


def test_evaluation_puts_its_scores_into_the_report(ball_run, tmp_path, capsys):
    shutil.copytree(ball_run, tmp_path / "run")
    shutil.copytree(ball_run.parent / "ball", tmp_path / "ball")
    assert main(["evaluate", str(tmp_path / "run"), "--backend", "reference", "--scene", str(tmp_path / "ball")]) == 0
    text = (tmp_path / "run" / "report.html").read_text()
    assert text.count("<figcaption>r_") == 2 and "photograph, run" in text


def test_runs_are_compared_by_their_views_and_settings(run, ball_run, tmp_path, capsys):
    other = tmp_path / "other"
    shutil.copytree(run, other)
    settings = (other / "settings.yaml").read_text()
    (other / "settings.yaml").write_text(settings.replace("samples: 2048", "samples: 4096"))
    (other / "metrics.json").unlink()
    page = tmp_path / "compare.html"
    assert main(["compare", str(run), str(other), "--out", str(page)]) == 0
    printed = capsys.readouterr().out
    assert "21.00" in printed and "20.00" in printed
    text = page.read_text()
    assert (
        "<td>train.samples<td>2048<td>4096" in text
        and "train.seed" not in text
        and "<td>&lt;b&gt;0<td>20.00<td>-" in text
    )
    assert main(["compare", str(run), "--out", str(page)]) == 0  # one of ours may be replaced
    page.write_text("mine")
    assert main(["compare", str(run), "--out", str(page)]) == 2


@pytest.mark.parametrize("text", ["[]", '{"views": []}', '{"views": [{"view": 1}], "psnr": 1, "ssim": 1}', "{"])
def test_scores_that_are_none_are_one_line(run, text, tmp_path, capsys):
    (run / "metrics.json").write_text(text)
    assert main(["compare", str(run), "--out", str(tmp_path / "c.html")]) == 2
    assert capsys.readouterr().err.count("\n") == 1


def test_curves_without_figures_say_so():
    assert "No figures" in curves({"a": []}) and "<polyline" in curves(
        {"a": [(1, 2.0), (2, 3.0)], "b": [(1, 2.0), (9, 2)]}
    )
