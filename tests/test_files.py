"""Files that are written whole: names that cannot be, and what killed programs have left."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from nerf.cli.main import main
from nerf.errors import InputError
from nerf.files import mark, replacing, unwritable, working_folder, write_text


@pytest.mark.parametrize(
    "words",
    [
        ["train", "--scene", "{here}", "--out", "{long}"],
        ["fit", "image", "{here}/a.png", "--out", "{long}"],
        ["fit", "image", "{long}", "--out", "{here}/run"],
        ["compress", "{here}/a.png", "--out", "{long}.nrfp"],
        ["decode", "{long}", "--out", "{here}/b.png"],
    ],
)
def test_a_name_that_is_too_long_is_one_line(tmp_path, capsys, words):
    Image.new("RGB", (40, 40), (1, 2, 3)).save(tmp_path / "a.png")
    places = {"here": tmp_path, "long": tmp_path / ("a" * 300)}
    assert main([word.format(**places) for word in words]) == 2
    assert len(capsys.readouterr().err.strip().splitlines()) == 1
    assert [path.name for path in tmp_path.iterdir()] == ["a.png"]


def test_a_file_that_cannot_be_written_says_what_would_help(tmp_path):
    with pytest.raises(InputError, match="File name too long.; choose a shorter name$"):
        write_text(tmp_path / f"{'b' * 250}.json", "text")
    if Path("/dev/full").exists():
        with pytest.raises(OSError) as full:
            Path("/dev/full").write_text("text")
        assert str(unwritable(tmp_path, full.value)).endswith("; free some space or choose another folder")


def test_what_a_killed_program_left_of_a_file_is_swept_when_the_file_is_written_again(tmp_path):
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    here = mark().split("-")[0]
    left = [tmp_path / f".a[1].partial-{here}-{gone.pid}.ply", tmp_path / f".a[1].partial-00000000-{os.getpid()}.ply"]
    kept = [
        *(tmp_path / f".a[1].partial-{name}.ply" for name in (f"{here}-{os.getppid()}", "mine", gone.pid)),
        tmp_path / f".a[1].partial-00000000-{gone.pid}.ply",  # of another machine, and fresh
    ]
    for file in (*left, *kept):
        file.write_text("half")
    os.utime(left[1], (0, 0))

    write_text(tmp_path / "a[1].ply", "whole")
    assert set(tmp_path.iterdir()) == {tmp_path / "a[1].ply", *kept}
    with replacing(tmp_path / "a[1].ply") as partial:
        partial.write_text("whole again")
    assert (tmp_path / "a[1].ply").read_text() == "whole again"


def test_what_a_killed_program_left_of_a_folder_is_removed_when_another_begins(tmp_path):
    program = (
        "import os, pathlib\nfrom nerf.files import working_folder\n"
        "with working_folder('.sfm-', pathlib.Path()) as work:\n    (work / 'a').mkdir()\n    os.kill(os.getpid(), 9)"
    )
    subprocess.run([sys.executable, "-c", program], cwd=tmp_path, env=os.environ | {"PYTHONPATH": str(Path.cwd())})
    (left,) = tmp_path.iterdir()
    with working_folder(".sfm-", tmp_path) as work:
        assert list(tmp_path.iterdir()) == [work] and work != left
        with working_folder(".sfm-", tmp_path):  # whose writer lives stays
            assert work.exists()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(os.name != "posix", reason="folders cannot be opened here")
def test_the_name_of_a_written_file_is_made_to_last_too(tmp_path, monkeypatch):
    asked = []
    monkeypatch.setattr(os, "fsync", lambda descriptor: asked.append(os.fstat(descriptor).st_ino))
    write_text(tmp_path / "a.json", "text")
    assert asked == [(tmp_path / "a.json").stat().st_ino, tmp_path.stat().st_ino]
