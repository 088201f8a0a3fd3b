"""Damaged inputs end in one line: a fixed part of what benchmarks/damaged_inputs.py tries, and its own judgement."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from benchmarks.damaged_inputs import Result, changes, run_cases, tree

BENCHMARK = Path(__file__).parents[1] / "benchmarks" / "damaged_inputs.py"
EXTRAS = {"nibabel": "medical", "pydicom": "medical", "constriction": "compress", "OpenEXR": "hdr"}
pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")


def test_a_damaged_input_ends_in_one_line_and_leaves_nothing_behind():
    for package, extra in EXTRAS.items():
        pytest.importorskip(package, reason=f"{package} is not installed: pip install 'nerf[{extra}]'")
    command = [sys.executable, str(BENCHMARK), "--cases", "72", "--seed", "3", "--jobs", "2"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "72 cases of seed 3" in done.stdout and ", 0 failures" in done.stdout


def test_every_way_to_fail_is_a_failure():
    well = Result(0, "train", status=2, output="training: 10%\rnerf: error: a.json: damaged\n")
    assert well.faults() == []
    assert Result(0, "train", status=0, output="trained\n").faults() == []
    for wrong in (
        {"status": 1},
        {"status": 2, "output": "something\n"},
        {"status": 0, "output": "nerf: error: no\n"},
        {"status": 2, "output": "Traceback (most recent call last):\nnerf: error: no\n"},
        {"status": 0, "output": "\x1b[2J"},
        {"status": 0, "strays": ["outside/secret"]},
        {"ended": "signal SIGSEGV"},
    ):
        assert len(Result(0, "train", **wrong).faults()) == 1, wrong


def test_a_stray_file_a_changed_one_and_a_link_are_seen(tmp_path):
    (tmp_path / "a").write_text("1")
    before = tree(tmp_path)
    (tmp_path / "a").write_text("2")
    (tmp_path / "b").symlink_to("a")
    (tmp_path / "c").mkdir()
    assert changes(before, tree(tmp_path)) == ["a", "b", "c"]


def misbehaves(number: int) -> int:
    if number == 1:
        os.abort()
    if number == 2:
        time.sleep(60)
    if number == 3:
        os._exit(7)
    return number


def test_a_crash_a_hang_and_an_end_are_told_apart_and_the_others_go_on(tmp_path):
    results = dict(run_cases(range(6), misbehaves, 2, 1.0, tmp_path))
    assert {number: results[number] for number in (0, 4, 5)} == {0: 0, 4: 4, 5: 5}
    assert "SIGABRT" in results[1] and "a hang" in results[2] and "ended with 7" in results[3]
