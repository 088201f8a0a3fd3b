"""Films: fitted, scored and written back at any size and rate."""

import json

import pytest
import torch

from nerf.cli.main import main
from nerf.signals.files.films import read_film, write_film

SMALL = [
    "field.levels=4",
    "field.log2_table_size=10",
    "field.finest_resolution=32",
    "field.width=16",
    "train.samples=2048",
]


@pytest.fixture
def film(tmp_path):
    """Eight frames of a bright square that moves over a ramp."""
    frames = torch.zeros(8, 32, 48, 3, dtype=torch.uint8)
    frames[..., 0] = torch.linspace(0, 200, 48).to(torch.uint8)
    for index in range(8):
        frames[index, 8:20, 4 * index : 4 * index + 12] = 220
    write_film(tmp_path / "a.mp4", frames, 10)
    return tmp_path / "a.mp4"


def test_a_film_is_learned_and_written_back_at_any_size_and_rate(film, tmp_path):
    run = tmp_path / "run"
    assert main(["fit", "video", str(film), "--out", str(run), "--steps", "300", *SMALL]) == 0
    metrics = json.loads((run / "metrics.json").read_text())
    assert metrics["psnr"] > 22 and metrics["raw_bytes"] == 8 * 32 * 48 * 3
    frames, rate = read_film(run / "decoded.mp4", 0)
    assert frames.shape == (8, 32, 48, 3) and rate == 10
    truth, _ = read_film(film, 0)
    assert ((frames.float() - truth.float()) / 255).square().mean() < 10**-2
    words = ["--size", "96x64", "--rate", "20"]
    assert main(["decode", str(run), "--out", str(tmp_path / "b.mp4"), *words]) == 0
    frames, rate = read_film(tmp_path / "b.mp4", 0)
    assert frames.shape == (16, 64, 96, 3) and rate == 20


def test_only_the_first_frames_are_read_when_asked(film):
    assert read_film(film, 3)[0].shape[0] == 3


def test_bad_films_end_in_one_line(film, tmp_path, capsys):
    (tmp_path / "text.mp4").write_text("no film")
    (tmp_path / "cut.mp4").write_bytes(film.read_bytes()[:300])
    for name in ("text.mp4", "cut.mp4"):
        capsys.readouterr()
        assert main(["fit", "video", str(tmp_path / name), "--out", str(tmp_path / "run")]) == 2
        assert len(capsys.readouterr().err.strip().splitlines()) == 1
