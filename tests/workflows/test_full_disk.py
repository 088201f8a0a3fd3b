"""A disk that fills up amid an output of several files: one line, the old ones whole, no part of the new."""

from __future__ import annotations

import errno
import os
import re
import shutil
import stat

import pytest

from nerf.cli.main import main

OUTPUTS = {
    "depth": (["export", "RUN", "--depth", "OUT/depth"], "depth/r_1.png"),
    "cameras": (["export", "RUN", "--cameras", "OUT/cameras"], "cameras/sparse/0/cameras.txt"),
    "metrics": (["evaluate", "RUN"], "run/test/r_0_depth.png"),
}


def tree(folder):
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("name", OUTPUTS)
def test_a_disk_that_fills_up_keeps_the_old_and_nothing_of_the_new(name, ball_run, tmp_path, monkeypatch, capsys):
    shutil.copytree(ball_run, tmp_path / "run")
    words, named = OUTPUTS[name]
    words = [word.replace("RUN", f"{tmp_path}/run").replace("OUT", str(tmp_path)) for word in words]
    if name == "metrics":  # which replace what is there
        assert main(words) == 0
    before = tree(tmp_path)
    written = []

    def full(descriptor):
        if stat.S_ISREG(os.fstat(descriptor).st_mode):  # the folders', too, are asked to last
            written.append(descriptor)
        if len(written) == 2:
            raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    capsys.readouterr()
    assert main(words) == 2
    lines = [line for line in re.split(r"[\r\n]+", capsys.readouterr().err) if line.startswith("nerf: ")]
    assert len(lines) == 1 and f"{tmp_path / named}: cannot be written (No space left" in lines[0], lines
    assert tree(tmp_path) == before

    monkeypatch.undo()
    assert main(words) == 0  # nothing is in the way once there is room
