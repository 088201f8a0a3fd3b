"""Files that are written whole: names that cannot be, and what killed programs have left."""

import os
import subprocess
import sys

import pytest
from PIL import Image

from nerf.cli.main import main
from nerf.files import replacing, write_text


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


def test_what_a_killed_program_left_of_a_file_is_swept_when_the_file_is_written_again(tmp_path):
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    names = {name: tmp_path / f".a[1].partial-{name}.ply" for name in (gone.pid, os.getppid(), "mine")}
    fresh = tmp_path / f".b.partial-{gone.pid}.ply"
    for left in (*names.values(), fresh):
        left.write_text("half")
        os.utime(left, (0, 0))
    fresh.touch()

    write_text(tmp_path / "a[1].ply", "whole")
    write_text(tmp_path / "b.ply", "whole")
    left = {path.name for path in tmp_path.iterdir()}
    assert left == {"a[1].ply", "b.ply", fresh.name, names[os.getppid()].name, names["mine"].name}
    with replacing(tmp_path / "a[1].ply") as partial:
        partial.write_text("whole again")
    assert (tmp_path / "a[1].ply").read_text() == "whole again"
