"""Films: exact size, number of frames and rate, in every format; alpha; what is kept when encoding fails."""

import json

import imageio.v3
import imageio_ffmpeg
import numpy
import pytest
import torch
from PIL import Image

from nerf.cli.arguments import INTERRUPTED
from nerf.cli.main import main
from nerf.errors import InputError
from nerf.video import encoding
from nerf.video.writer import check_video_file


def render(run, file, *words):
    return main(["render", str(run), "--out", str(file), *words])


def decoded(file, pixels="rgb24", *decoder):
    """Returns frames (F, H, W, C) and what ffmpeg says of a film."""
    reader = imageio_ffmpeg.read_frames(
        str(file), pix_fmt=pixels, bits_per_pixel={"rgb24": 24, "rgba": 32}[pixels], input_params=list(decoder)
    )
    facts = next(reader)
    width, height = facts["size"]
    frames = [numpy.frombuffer(frame, numpy.uint8).reshape(height, width, -1) for frame in reader]
    return numpy.stack(frames), facts


@pytest.mark.parametrize(("width", "height"), [(48, 48), (50, 38), (37, 23)])
@pytest.mark.parametrize("suffix", [".mp4", ".webm", ".mov"])
def test_a_film_has_the_size_frames_and_rate_asked_for_in_what_every_player_shows(
    ball_run, tmp_path, width, height, suffix
):
    file = tmp_path / f"film{suffix}"
    assert render(ball_run, file, "--frames", "5", "--size", f"{width}x{height}", "--fps", "12") == 0
    frames, facts = decoded(file)
    even = suffix == ".mp4"  # whose odd sides are padded, so that every player shows it
    assert frames.shape == (5, height + even * (height % 2), width + even * (width % 2), 3)
    assert facts["pix_fmt"].startswith("yuv420p" if suffix != ".mov" else "yuv4") and "bt709" in facts["pix_fmt"]
    assert facts["fps"] == 12 and facts["duration"] == pytest.approx(5 / 12, abs=0.01)
    # The ball in the middle on a white ground, with what compression leaves of white.
    assert frames[:, 0, 0].min() > 240 and frames[:, height // 2, width // 2].min() < 240
    assert {path.name for path in tmp_path.iterdir()} == {file.name, "film.track.json"}


def test_a_gif_has_its_frames_and_repeats(ball_run, tmp_path):
    file = tmp_path / "film.gif"
    assert render(ball_run, file, "--frames", "4", "--size", "31x20", "--fps", "10") == 0
    with Image.open(file) as image:
        assert (image.n_frames, image.size, image.info["duration"], image.info["loop"]) == (4, (31, 20), 100, 0)


@pytest.mark.parametrize(("suffix", "decoder"), [(".webm", ("-c:v", "libvpx-vp9")), (".mov", ())])
def test_alpha_films_are_decoded_with_their_alpha(ball_run, tmp_path, suffix, decoder):
    file = tmp_path / f"film{suffix}"
    assert render(ball_run, file, "--frames", "2", "--size", "40x30", "--alpha") == 0
    frames, _ = decoded(file, "rgba", *decoder)
    assert frames.shape == (2, 30, 40, 4)
    assert frames[:, 0, 0, 3].max() < 8 and frames[:, 15, 20, 3].min() > 200


def test_a_name_without_suffix_is_a_folder_of_pictures_with_alpha(ball_run, tmp_path):
    assert render(ball_run, tmp_path / "frames", "--frames", "3", "--size", "20x20", "--alpha") == 0
    pictures = sorted((tmp_path / "frames").iterdir())
    assert [path.name for path in pictures] == ["00000.png", "00001.png", "00002.png"]
    picture = numpy.array(Image.open(pictures[2]))
    assert picture.shape == (20, 20, 4) and picture[0, 0, 3] == 0 and picture[10, 10, 3] > 250
    with pytest.raises(InputError, match="exists already"):
        check_video_file(tmp_path / "frames")


def test_panels_lie_side_by_side(ball_run, tmp_path):
    words = ["--show", "rgb", "depth", "normals", "opacity", "--frames", "2", "--size", "64x64"]
    assert render(ball_run, tmp_path / "frames", *words) == 0
    picture = numpy.array(Image.open(tmp_path / "frames" / "00000.png")).astype(int)
    assert picture.shape == (64, 256, 3)
    assert (picture[0, 200:] == 0).all() and (picture[32, 224] > 200).all()  # opacity: grey, 0 to 255
    middle = picture[32, 160] / 127.5 - 1  # the normal of a ball, in the middle, faces the camera
    track = json.loads((tmp_path / "frames.track.json").read_text())
    forward = numpy.array(track["frames"][0]["world_from_camera"])[:, 2]
    assert middle @ forward < -0.7  # a quickly learned ball is rough


def test_frames_are_kept_if_encoding_fails(ball_run, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(encoding, "frames_in", lambda file: 1)
    file = tmp_path / "film.mp4"
    assert render(ball_run, file, "--frames", "2") == 2
    assert "the encoder wrote 1 of 2 frames" in (line := capsys.readouterr().err.splitlines()[-1])
    assert "film.frames" in line and not file.exists()
    assert [imageio.v3.imread(path).shape for path in sorted((tmp_path / "film.frames").iterdir())] == [(48, 48, 3)] * 2


@pytest.mark.parametrize("suffix", [".mp4", ".gif"])
def test_a_name_that_looks_like_an_address_is_a_file(ball_run, tmp_path, monkeypatch, suffix):
    monkeypatch.chdir(tmp_path)
    assert render(ball_run, f"12:30{suffix}", "--frames", "3", "--size", "20x20") == 0
    assert {path.name for path in tmp_path.iterdir()} == {f"12:30{suffix}", "12:30.track.json"}


@pytest.mark.parametrize("encoder_works", [True, False])
def test_a_folder_of_the_users_beside_the_film_stays_as_it_is(ball_run, tmp_path, capsys, monkeypatch, encoder_works):
    own = tmp_path / "look.frames" / "thesis.txt"
    own.parent.mkdir()
    own.write_text("ten years of work")
    if not encoder_works:
        monkeypatch.setattr(encoding, "frames_in", lambda file: 1)

    assert render(ball_run, tmp_path / "look.mp4", "--frames", "2", "--size", "20x20") == (0 if encoder_works else 2)
    assert own.read_text() == "ten years of work" and [*own.parent.iterdir()] == [own]
    line = capsys.readouterr().err.splitlines()[-1]
    if encoder_works:
        assert {path.name for path in tmp_path.iterdir()} == {"look.frames", "look.mp4", "look.track.json"}
    else:
        kept = tmp_path / "look.frames-2"
        assert line.endswith(f"the frames are kept in {kept}") and len([*kept.iterdir()]) == 2
        assert {path.name for path in tmp_path.iterdir()} == {"look.frames", "look.frames-2"}


@pytest.mark.parametrize("name", ["look.mp4", "pictures", "empty"])
@pytest.mark.parametrize("moment", ["Frames.__getitem__", "writer._finish"])
def test_interrupted_filming_says_so_and_leaves_nothing_behind(ball_run, tmp_path, capsys, monkeypatch, name, moment):
    (tmp_path / "empty").mkdir()

    def interrupted(*arguments):
        assert len([*tmp_path.iterdir()]) == 2  # its own folder is there
        raise KeyboardInterrupt

    monkeypatch.setattr(f"nerf.video.{'frames.' if 'Frames' in moment else ''}{moment}", interrupted)
    assert render(ball_run, tmp_path / name, "--frames", "2", "--size", "20x20") == INTERRUPTED
    said = capsys.readouterr()
    assert f"{name}: interrupted and not written" in said.out + said.err
    assert [path.name for path in tmp_path.iterdir()] == ["empty"]


def test_a_picture_folder_appears_whole_also_where_an_empty_one_was(ball_run, tmp_path):
    (tmp_path / "empty").mkdir()
    assert render(ball_run, tmp_path / "empty", "--frames", "2", "--size", "20x20") == 0
    assert sorted(path.name for path in tmp_path.iterdir()) == ["empty", "empty.track.json"]
    assert len([*(tmp_path / "empty").iterdir()]) == 2


@pytest.mark.parametrize(
    ("name", "alpha", "message"),
    [("film.avi", False, "not a film format"), ("film.mp4", True, "no alpha"), ("film.gif", True, "no alpha")],
)
def test_what_cannot_be_written_is_refused_before_rendering(tmp_path, name, alpha, message):
    with pytest.raises(InputError, match=message):
        check_video_file(tmp_path / name, alpha)


def test_frames_are_the_same_by_any_route(ball_run, tmp_path):
    render(ball_run, tmp_path / "frames", "--frames", "2", "--size", "40x30")
    render(ball_run, tmp_path / "film.mov", "--frames", "2", "--size", "40x30")
    picture = torch.from_numpy(numpy.array(Image.open(tmp_path / "frames" / "00001.png"))).float()
    film = torch.from_numpy(decoded(tmp_path / "film.mov")[0][1].copy()).float()
    assert (film - picture).abs().mean() < 3  # what ProRes loses
