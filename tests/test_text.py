"""Strangers' words are shown plain, wherever they are shown."""

from __future__ import annotations

import json

import pytest

from nerf.cli.main import main
from nerf.errors import InputError
from nerf.report import complain, progress, say
from nerf.text import LONGEST, clipped, plain, short

EVIL = "a\x1b]52;c;ZXZpbA==\x07\nnerf: error: faked\r\u202eb\ud800\U000e0041é"
TAME = r"a\x1b]52;c;ZXZpbA==\x07\x0anerf: error: faked\x0d\u202eb\ud800\U000e0041é"


def test_what_is_not_printable_is_shown_as_its_code():
    assert plain(EVIL) == TAME and plain(TAME) == TAME


def test_every_way_to_the_terminal_is_plain(capsys):
    say("scene", EVIL)
    complain(EVIL)
    list(progress([1], title=EVIL))
    told = capsys.readouterr()
    assert told.out == TAME + "\n"
    lines = told.err.splitlines()
    assert lines[0] == TAME and "\x1b" not in told.err and not any(line.startswith("nerf: error: f") for line in lines)


def test_errors_are_a_plain_line_each_and_no_longer_than_a_screen():
    error = InputError(EVIL, "x" * 10**6 + "; mend")
    lines = str(error).splitlines()
    assert lines[0] == TAME and len(lines) == 2
    assert len(lines[1]) <= LONGEST + 10 and lines[1].endswith("; mend")


def test_values_are_shown_short():
    bomb: list = []
    for _ in range(10):
        bomb = [bomb] * 10
    assert len(short(bomb)) < 2000 and len(short("x" * 10**6)) < 100
    assert short([1, "a"]) == "[1, 'a']" and clipped("a") == "a"


WORD = EVIL.replace("\ud800", "\udc80")  # as Python has a byte of the command line that is no UTF-8


@pytest.mark.parametrize(
    "words", [["train", "--scene", WORD], ["render", WORD, "--out", "a.mp4"], [WORD], ["--" + WORD]]
)
def test_the_command_line_shows_what_it_was_given_plain(words, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    try:
        status = main(words)
    except SystemExit as ended:
        status = ended.code
    told = capsys.readouterr()
    assert status == 2 and "\x1b" not in told.err + told.out and len(told.err.splitlines()) == 1


def test_names_of_a_capture_reach_the_terminal_plain(ball_scene, tmp_path, capsys):
    file = ball_scene / "transforms_train.json"
    tree = json.loads(file.read_text())
    (ball_scene / "train" / "r_0.png").rename(ball_scene / "train" / "r\x1b[2J\nwarning: faked.png")
    tree["frames"][0]["file_path"] = "train/r\x1b[2J\nwarning: faked.png"
    file.write_text(json.dumps(tree))
    assert main(["check", str(ball_scene), "--out", str(tmp_path / "check.html")]) == 0
    tree["frames"][0]["file_path"] = "train/none\x1b[2J\nnerf: error: faked"
    file.write_text(json.dumps(tree))
    assert main(["check", str(ball_scene), "--out", str(tmp_path / "check.html")]) == 2
    told = capsys.readouterr()
    assert "\x1b" not in told.out + told.err and r"none\x1b[2J\x0anerf: error: faked" in told.err
    assert not any(
        line.startswith(("warning: faked", "nerf: error: faked")) for line in (told.out + told.err).splitlines()
    )
