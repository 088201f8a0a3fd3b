"""Films: fitted, scored and written back at any size and rate."""

import json

import numpy
import pytest
import torch
from imageio_ffmpeg import read_frames

from nerf.cli.main import main
from nerf.errors import InputError
from nerf.scenes.films import _Decoder
from nerf.signals.files.films import read_film, write_film
from tests.films import moving_bars, remade

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
    ours = read_film(run / "decoded.mp4", 0)
    assert ours.frames.shape == (8, 32, 48, 3) and ours.rate == 10 and ours.even
    truth = read_film(film, 0)
    assert ((ours.frames.float() - truth.frames.float()) / 255).square().mean() < 10**-2
    words = ["--size", "96x64", "--rate", "20"]
    assert main(["decode", str(run), "--out", str(tmp_path / "b.mp4"), *words]) == 0
    larger = read_film(tmp_path / "b.mp4", 0)
    assert larger.frames.shape == (16, 64, 96, 3) and larger.rate == 20


def test_only_the_first_frames_are_read_when_asked(film):
    assert len(read_film(film, 3).frames) == 3


def test_bad_films_end_in_one_line(film, tmp_path, capsys):
    (tmp_path / "text.mp4").write_text("no film")
    (tmp_path / "cut.mp4").write_bytes(film.read_bytes()[:300])
    for name in ("text.mp4", "cut.mp4"):
        capsys.readouterr()
        assert main(["fit", "video", str(tmp_path / name), "--out", str(tmp_path / "run")]) == 2
        assert len(capsys.readouterr().err.strip().splitlines()) == 1


def test_a_film_of_variable_rate_keeps_its_frames_times_and_duration(tmp_path, capsys):
    source = remade(
        moving_bars(tmp_path / "even.mp4", 12), tmp_path / "vfr.mp4", "setpts='if(lt(N,6),N,6+(N-6)*4)/10/TB'"
    )
    film = read_film(source, 0)
    assert len(film.frames) == 12 and not film.even and film.rate == pytest.approx(10)
    assert film.start[:-1].tolist() == pytest.approx([*(0.1 * n for n in range(6)), *(0.6 + 0.4 * n for n in range(6))])

    run = tmp_path / "run"
    assert main(["fit", "video", str(source), "--out", str(run), "--steps", "250", *SMALL]) == 0
    assert "12 frames of 64 x 48 at a variable rate, 2.70 s; written at 10 a second" in capsys.readouterr().out
    decoded = read_film(run / "decoded.mp4", 0)
    assert decoded.seconds == pytest.approx(film.seconds, abs=0.11) and decoded.rate == pytest.approx(10)
    # Every frame of the source is shown for all of its time: the nearest one to what is decoded then is itself.
    for number, shown in enumerate(film.start[:-1].tolist()):
        ours = decoded.frames[round(shown * 10 + 0.01)].float()
        apart = (film.frames.float() - ours).square().mean((1, 2, 3))
        assert int(apart.argmin()) == number


def test_a_film_of_pixels_that_are_not_square_keeps_its_aspect(tmp_path):
    source = moving_bars(tmp_path / "square.mp4", 4)
    for ratio, size in (("3/2", (96, 48)), ("2/3", (64, 72)), ("1", (64, 48))):
        film = read_film(remade(source, tmp_path / f"{size[0]}x{size[1]}.mp4", f"setsar={ratio}"), 0)
        assert film.frames.shape == (4, size[1], size[0], 3)


@pytest.mark.parametrize("suffix", [".mp4", ".mov"])
def test_decoded_films_have_even_sides_and_say_their_colours(tmp_path, capsys, suffix):
    file = tmp_path / f"odd{suffix}"
    grey = torch.tensor([30, 90, 150], dtype=torch.uint8).expand(3, 23, 37, 3)
    write_film(file, grey, 10)
    assert "37 x 23 padded to 38 x 24" in capsys.readouterr().out
    film = read_film(file, 0)
    assert film.frames.shape == (3, 24, 38, 3) and (film.frames.int() - grey[0, 0, 0]).abs().max() <= 3
    facts = next(read_frames(str(file)))
    assert facts["pix_fmt"].startswith("yuv420p") and "bt709" in facts["pix_fmt"]


def test_a_film_without_pictures_is_refused(tmp_path, capfd):
    from scipy.io import wavfile

    wavfile.write(tmp_path / "a.wav", 8000, numpy.zeros(800, numpy.int16))
    assert main(["fit", "video", str(tmp_path / "a.wav"), "--out", str(tmp_path / "run")]) == 2
    assert len(lines := capfd.readouterr().err.strip().splitlines()) == 1 and "holds no pictures" in lines[0]


def test_no_process_is_left_when_reading_stops_early(tmp_path):
    film = moving_bars(tmp_path / "a.mp4", 40)
    with pytest.raises(ZeroDivisionError), _Decoder(film, ["-f", "rawvideo"]) as process:
        raise ZeroDivisionError
    assert process.returncode is not None


def test_a_film_that_the_disk_had_no_room_for_is_not_kept(tmp_path, monkeypatch):
    monkeypatch.setattr("nerf.video.encoding.frames_in", lambda file: 2)
    with pytest.raises(InputError, match="cannot be written .the encoder wrote 2 of 3 frames"):
        write_film(tmp_path / "a.mp4", torch.zeros(3, 16, 16, 3, dtype=torch.uint8), 10)
    assert [*tmp_path.iterdir()] == []
