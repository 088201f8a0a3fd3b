"""Want of memory is one line, whichever library meets it."""

from __future__ import annotations

import ctypes
import shutil
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from nerf import engine
from nerf.cli.main import main
from nerf.engine.signatures import FUNCTIONS
from nerf.workflows.attempts import OUT_OF_MEMORY, Attempts, OutputError

FAILING = next(name for name, (result, _) in FUNCTIONS.items() if result is ctypes.c_int and name.startswith("nerf_r"))


def torch_runs_out():
    torch.empty(2**48)


def engine_fails(message: bytes):
    library = object.__new__(engine.Library)
    library._loaded = SimpleNamespace(**{FAILING: lambda: 1, "nerf_last_error": lambda: message})
    library.call(FAILING)


def engine_runs_out():
    engine_fails(b"std::bad_alloc")


@pytest.mark.parametrize("work", [torch_runs_out, engine_runs_out])
def test_want_of_memory_in_a_training_is_one_line(work, ball_scene, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("nerf.workflows.train.reconstruct", lambda *_, **__: work())
    assert main(["train", "--scene", str(ball_scene), "--out", str(tmp_path / "run")]) == 2
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1 and lines[0].startswith("nerf: error: not enough memory; lower")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("work", [torch_runs_out, engine_runs_out])
def test_want_of_memory_for_an_output_is_one_line(work):
    attempts = Attempts()
    attempts.write("--mesh", Path("a.ply"), work)
    with pytest.raises(OutputError, match=f"^--mesh a.ply: {OUT_OF_MEMORY}$"):
        attempts.finish()


def test_the_engine_raises_what_python_raises():
    with pytest.raises(MemoryError, match=f"{FAILING}: std::bad_alloc"):
        engine_fails(b"std::bad_alloc")
    with pytest.raises(RuntimeError, match=f"{FAILING}: wrong sizes"):
        engine_fails(b"wrong sizes")


def test_another_error_is_one_line_and_its_traceback_is_kept(ball_scene, tmp_path, monkeypatch, capsys):
    def fail(*_, **__):
        raise RuntimeError("torn\x1b[2J")

    monkeypatch.setattr("nerf.workflows.train.reconstruct", fail)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    assert main(["train", "--scene", str(ball_scene), "--out", str(tmp_path / "run")]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    (kept,) = tmp_path.glob("nerf-error-*.txt")
    assert line.startswith("nerf: error: RuntimeError: torn\\x1b[2J: ") and line.endswith(str(kept))
    assert "in fail" in kept.read_text()


def test_a_run_keeps_the_traceback_of_its_own_error(ball_run, tmp_path, monkeypatch, capsys):
    run = shutil.copytree(ball_run, tmp_path / "run")
    monkeypatch.setattr("nerf.workflows.evaluate.evaluate", lambda *_: 1 / 0)
    assert main(["evaluate", str(run)]) == 1
    assert str(run / "error.txt") in capsys.readouterr().err
    assert "ZeroDivisionError" in (run / "error.txt").read_text()
