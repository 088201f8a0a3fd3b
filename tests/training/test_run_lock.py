"""One run folder, one writer."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path

import pytest

from nerf.cli.main import main
from nerf.errors import InputError
from nerf.runs import RunFolder

HOLD = """
import sys
from pathlib import Path
from nerf.runs import RunFolder
with RunFolder(Path(sys.argv[1])).held():
    print("held", flush=True)
    sys.stdin.read()
"""


@contextmanager
def another_writer(folder):
    """Inside, another process holds the folder; yields that process."""
    command = [sys.executable, "-c", HOLD, str(folder)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout.readline() == b"held\n"
        try:
            yield process
        finally:
            process.stdin.close()


def test_every_command_that_writes_into_a_held_run_is_refused_and_touches_nothing(ball_run, ball_scene, capsys):
    before = {path: path.stat().st_mtime_ns for path in ball_run.iterdir()}
    picture = str(ball_scene / "train" / "r_0.png")
    with another_writer(ball_run) as writer:
        for words in (
            ["train", "--scene", str(ball_scene), "--out", str(ball_run), "--steps", "1"],
            ["train", "--scene", str(ball_scene), "--out", str(ball_run), "--resume"],
            ["fit", "image", picture, "--out", str(ball_run), "--steps", "1"],
            ["evaluate", str(ball_run)],
        ):
            assert main(words) == 2
            lines = capsys.readouterr().err.splitlines()
            assert len(lines) == 1 and f"{ball_run}: process {writer.pid} is writing into it" in lines[0], lines
        assert {path: path.stat().st_mtime_ns for path in ball_run.iterdir() if path.name != ".lock"} == before
    assert not ball_run.with_name("run.1").exists() and not (ball_run / ".lock").exists()


def test_a_killed_writer_is_not_in_the_way(tmp_path):
    with another_writer(tmp_path) as writer:
        writer.send_signal(signal.SIGKILL)
        writer.wait()
    assert (tmp_path / ".lock").exists()
    with RunFolder(tmp_path).held():
        assert (tmp_path / ".lock").read_text() == f"{os.getpid()}\n"
    assert list(tmp_path.iterdir()) == []


def test_an_earlier_run_moves_away_and_the_lock_stays(tmp_path):
    run = RunFolder(tmp_path / "run")
    run.path.mkdir()
    (run.path / "settings.yaml").write_text("{}")
    with run.held():
        run.keep_earlier()
        assert [path.name for path in run.path.iterdir()] == [".lock"]
        with pytest.raises(InputError, match=f"process {os.getpid()} is writing into it"), run.held():
            pass
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["run", "run.1", "settings.yaml"]


def test_without_flock_a_word_is_said_and_work_goes_on(tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "fcntl", None)
    with RunFolder(tmp_path).held():
        pass
    assert "not locked, for want of flock" in capsys.readouterr().out


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full here")
def test_a_lock_that_a_full_disk_cannot_hold_is_one_line(tmp_path, monkeypatch):
    full = os.fdopen(os.open("/dev/full", os.O_RDWR), "r+b", buffering=0)
    monkeypatch.setattr("nerf.runs._opened_lock", lambda file: full)
    monkeypatch.setattr("nerf.runs._is_at", lambda descriptor, path: True)
    with pytest.raises(InputError, match="cannot be written"), RunFolder(tmp_path).held():
        raise AssertionError
