"""Films as captures: frames that appear whole, the sharpest of each part, each once; what is said of other films."""

import os
import socket
import subprocess
import sys
from pathlib import Path

import numpy
import pytest
from PIL import Image

from nerf.config import SceneSettings
from nerf.errors import InputError
from nerf.scenes import SceneFolder, load_scene
from nerf.scenes.films import index_film, sharpness, take_frames
from nerf.scenes.formats import found_formats
from nerf.scenes.sfm import find_poses, photo_names
from nerf.signals.files.films import read_film
from tests.films import moving_bars, remade


@pytest.fixture
def clip(tmp_path):
    """A video of 12 frames of noise."""
    from imageio_ffmpeg import write_frames

    generator = numpy.random.default_rng(0)
    writer = write_frames(str(tmp_path / "clip.mp4"), (64, 64), fps=10, quality=9, macro_block_size=1)
    writer.send(None)
    for _ in range(12):
        writer.send(generator.integers(0, 255, (64, 64, 3), numpy.uint8))
    writer.close()
    return tmp_path / "clip.mp4"


@pytest.mark.parametrize("stop", [KeyboardInterrupt, OSError(28, "No space left on device")])
def test_the_frames_of_a_video_appear_whole_or_not_at_all(clip, monkeypatch, stop):
    save = Image.Image.save

    def stopped(image, file, **options):
        if file.name == "frame_0005.jpg":
            raise stop
        save(image, file, **options)

    with monkeypatch.context() as patch:
        patch.setattr(Image.Image, "save", stopped)
        with pytest.raises(KeyboardInterrupt if stop is KeyboardInterrupt else InputError):
            take_frames(clip, clip.parent / "images")
    assert [path.name for path in clip.parent.iterdir()] == ["clip.mp4"]

    take_frames(clip, clip.parent / "images")
    assert len(photo_names(clip.parent / "images")) == 12
    assert {path.name for path in clip.parent.iterdir()} == {"clip.mp4", "images"}


def test_frames_are_not_mixed_with_what_is_there(clip):
    own = clip.parent / "images" / "own.png"
    own.parent.mkdir()
    Image.new("RGB", (8, 8)).save(own)
    with pytest.raises(InputError, match="there already.*move it away"):
        take_frames(clip, own.parent)
    assert [*own.parent.iterdir()] == [own]
    own.unlink()
    take_frames(clip, own.parent)  # an empty folder is filled
    assert len(photo_names(own.parent)) == 12


@pytest.mark.parametrize("playlist", [False, True])
def test_no_name_and_no_content_of_a_video_opens_an_address(tmp_path, monkeypatch, playlist):
    monkeypatch.chdir(tmp_path)
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(0.5)
        address = f"http:127.0.0.1:{server.getsockname()[1]}?x.mp4"
        video = Path("a.mp4" if playlist else address)
        video.write_text(f"#EXTM3U\n#EXTINF:1,\n{address}\n#EXT-X-ENDLIST\n" if playlist else "no video")
        for read in (lambda: take_frames(video, tmp_path / "images"), lambda: read_film(video, 0)):
            with pytest.raises(InputError, match="not a readable"):
                read()
        with pytest.raises(TimeoutError):
            server.accept()


def test_the_sharpest_frame_of_every_part_of_a_video_is_kept(tmp_path, monkeypatch):
    from imageio_ffmpeg import write_frames

    generator = numpy.random.default_rng(0)
    blocks = numpy.kron(generator.integers(0, 255, (8, 8, 1)), numpy.ones((8, 8, 3))).astype(numpy.uint8)
    writer = write_frames(str(tmp_path / "clip.mp4"), (64, 64), fps=10, quality=9, macro_block_size=1)
    writer.send(None)
    for index in range(12):
        frame = blocks if index % 4 == 2 else (blocks // 2 + 64)
        writer.send(numpy.ascontiguousarray(frame))
    writer.close()
    monkeypatch.setattr("nerf.scenes.films.MOST_FRAMES", 3)
    assert [row.name for row in found_formats(tmp_path)] == ["photos"]
    take_frames(tmp_path / "clip.mp4", tmp_path / "images")
    assert photo_names(tmp_path / "images") == ["frame_0000.jpg", "frame_0001.jpg", "frame_0002.jpg"]
    kept = numpy.asarray(Image.open(tmp_path / "images" / "frame_0001.jpg"))
    assert sharpness(kept) > 2 * sharpness(blocks // 2 + 64)
    (tmp_path / "other.mp4").write_bytes(b"no video")
    with pytest.raises(InputError, match="other.mp4: not a readable film"):
        take_frames(tmp_path / "other.mp4", tmp_path / "more")


def test_every_frame_of_a_film_of_variable_rate_is_read_once(tmp_path):
    source = remade(
        moving_bars(tmp_path / "even.mp4", 20), tmp_path / "clip.mp4", "setpts='if(lt(N,10),N,10+(N-10)*9)/10/TB'"
    )
    (tmp_path / "even.mp4").unlink()
    index = index_film(source)
    assert len(index) == 20 and index.start[-2] == pytest.approx(1 + 9 * 0.9)
    take_frames(source, tmp_path / "images")
    kept = [numpy.asarray(Image.open(path)).astype(int) for path in sorted((tmp_path / "images").iterdir())]
    assert len(kept) == 20
    assert min(numpy.abs(a - b).mean() for n, a in enumerate(kept) for b in kept[:n]) > 1


def test_frames_that_were_doubled_to_make_a_rate_even_are_taken_once(tmp_path):
    doubled = remade(moving_bars(tmp_path / "a.mp4", 8), tmp_path / "clip.mp4", "fps=40", "-crf", "10")
    assert len(index_film(doubled)) > 25
    take_frames(doubled, tmp_path / "images")
    assert len(photo_names(tmp_path / "images")) == 8


def test_a_film_that_stands_still_has_too_few_frames(tmp_path):
    still = remade(moving_bars(tmp_path / "a.mp4", 1), tmp_path / "clip.mp4", "loop=20:1")
    with pytest.raises(InputError, match="1 frames that differ; at least 3"):
        take_frames(still, tmp_path / "images")
    assert not (tmp_path / "images").exists()


def test_several_films_are_named(tmp_path):
    pytest.importorskip("pycolmap")
    for name in ("b.MOV", "a.mp4"):
        (tmp_path / name).write_bytes(b"film")
    with pytest.raises(InputError, match=r"2 films \(a.mp4, b.MOV\); keep one"):
        load_scene(SceneFolder("two", tmp_path, ""), ("train",), SceneSettings())


def test_a_film_beside_pictures_is_not_passed_over_in_silence(tmp_path, capsys):
    pytest.importorskip("pycolmap")
    moving_bars(tmp_path / "clip.mp4", 3)
    for number in range(3):
        Image.new("RGB", (64, 48), (number, 9, 9)).save(tmp_path / f"thumb{number}.jpg")
    with pytest.raises(InputError, match="no camera poses"):
        find_poses(tmp_path)
    assert "warning: clip.mp4 not used, as there are 3 pictures" in capsys.readouterr().out


def test_libraries_print_nothing_of_their_own_while_poses_are_sought(tmp_path):
    pytest.importorskip("pycolmap")
    moving_bars(tmp_path / "clip.mp4", 4)
    code = "import sys; from nerf.cli.main import main; sys.exit(main(sys.argv[1:]))"
    done = subprocess.run(
        [sys.executable, "-c", code, "check", str(tmp_path)],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    said = [line for line in done.stderr.split("\n") if line.strip() and "choosing sharp frames" not in line]
    assert done.returncode == 2 and len(said) == 1 and said[0].startswith("nerf: error:"), done.stderr


def test_a_model_that_was_not_written_whole_is_not_kept(tmp_path):
    pycolmap = pytest.importorskip("pycolmap")
    from nerf.scenes.sfm import _keep_model

    class FullDisk(pycolmap.Reconstruction):
        def write(self, folder):
            super().write(folder)
            (Path(folder) / "points3D.bin").write_bytes(b"")

    with pytest.raises(InputError, match="the model was not written whole.*free some space"):
        _keep_model(FullDisk(), tmp_path / "written", tmp_path / "sparse" / "0")
    assert not (tmp_path / "sparse" / "0").exists()
    _keep_model(pycolmap.Reconstruction(), tmp_path / "again", tmp_path / "sparse" / "0")
    assert (tmp_path / "sparse" / "0" / "images.bin").is_file()
