"""A run folder that somebody sends: its settings take no memory, its links lead nowhere, its records are looked at."""

from __future__ import annotations

import json
import os
import resource
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from nerf.cli.main import main
from nerf.errors import InputError
from nerf.files import check_beside
from nerf.runs import RunFolder

REPOSITORY = Path(__file__).parents[2]
LIMITED = """
import resource, sys
resource.setrlimit(resource.RLIMIT_AS, (6 * 2**30, 6 * 2**30))
from nerf.cli.main import main
sys.exit(main(sys.argv[1:]))
"""


@pytest.fixture
def run(ball_run, tmp_path):
    return shutil.copytree(ball_run, tmp_path / "run")


def change(file: Path, name: str, value: str) -> None:
    lines = [f"  {name}: {value}" if line.startswith(f"  {name}:") else line for line in file.read_text().splitlines()]
    file.write_text("\n".join(lines))


@pytest.mark.parametrize(
    "command", [["export", "RUN", "--cameras", "OUT"], ["train", "--scene", "BALL", "--out", "RUN"]]
)
def test_a_table_of_many_gigabytes_is_refused_by_the_checkpoint(command, run, ball_run, tmp_path):
    for name, value in {"levels": 32, "log2_table_size": 24, "features_per_level": 8, "base_resolution": 512}.items():
        change(run / "settings.yaml", name, str(value))
    change(run / "settings.yaml", "finest_resolution", "65536")
    places = {"RUN": str(run), "OUT": str(tmp_path / "out"), "BALL": str(ball_run.parent / "ball")}
    words = [places.get(word, word) for word in command] + ["--resume"] * (command[0] == "train")
    done = subprocess.run([sys.executable, "-c", LIMITED, *words], cwd=REPOSITORY, capture_output=True, text=True)
    assert done.returncode == 2 and 'tensor "field.encoding.table"' in done.stderr, done.stderr
    assert resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss < 3 * 2**20  # KiB


def test_aliases_in_settings_are_refused(run, capsys):
    rows = ["a: &a [x, x, x]"] + [
        f"{name}: &{name} [{', '.join([f'*{before}'] * 9)}]" for before, name in zip("abcdefghij", "bcdefghijk")
    ]
    (run / "settings.yaml").write_text("\n".join([*rows, "field: {levels: *k}"]))
    assert main(["export", str(run), "--cameras", str(run.parent / "out")]) == 2
    error = capsys.readouterr().err
    assert "aliases" in error and len(error) < 500


@pytest.mark.parametrize("name", ["test", "log.jsonl", "validation"])
def test_nothing_is_written_through_a_link(name, run, ball_run, tmp_path, capsys):
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "log").write_text("mine\n")
    target = run / name
    if target.exists():
        target.unlink() if target.is_file() else shutil.rmtree(target)
    target.symlink_to(outside / "log" if name == "log.jsonl" else outside)
    if name == "test":
        assert main(["evaluate", str(run), "--scene", str(ball_run.parent / "ball")]) == 2
        assert "a link" in capsys.readouterr().err
    elif name == "log.jsonl":
        assert main(
            ["train", "--scene", str(ball_run.parent / "ball"), "--out", str(run), "--resume", "--steps", "400"]
        ) in (0, 2)
    else:
        words = ["--steps", "400", "train.preview_seconds=0.01"]
        assert main(["train", "--scene", str(ball_run.parent / "ball"), "--out", str(run), "--resume", *words]) == 2
        assert "a link" in capsys.readouterr().err
    assert [path.name for path in outside.iterdir()] == ["log"] and (outside / "log").read_text() == "mine\n"


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="Windows has no such pipes")
def test_nothing_waits_for_the_other_end_of_a_pipe(tmp_path):
    run = RunFolder(tmp_path)
    for file in (run.log, run.lock):
        os.mkfifo(file)
    reader = os.open(run.log, os.O_RDONLY | os.O_NONBLOCK)  # without one, the system refuses it by itself
    try:
        with pytest.raises(InputError, match="log.jsonl: cannot be written .not a file."):
            run.append_log({"step": 1})
        assert os.read(reader, 100) == b""
    finally:
        os.close(reader)
    with pytest.raises(InputError, match="log.jsonl: cannot be written"):
        run.append_log({"step": 1})
    with pytest.raises(InputError, match=".lock: cannot be written .not a file."), run.held():
        pass
    with pytest.raises(InputError, match="neither a file nor a folder"):
        check_beside(run.log, lambda text: True)


@pytest.mark.parametrize(
    "change",
    [
        {"views": None}, {"views": ["a"]}, {"views": 3}, {"threads": None}, {"name": 3}, {"folder": []},
        {"cameras": None}, {"cameras": {"width": 3}}, {"backend": {}},
    ],
)  # fmt: skip
def test_a_record_that_lacks_something_or_has_another_type_is_one_line(change, run, tmp_path, capsys):
    record = json.loads((run / "scene.json").read_text())
    for name, value in change.items():
        record.pop(name) if value is None else record.update({name: value})
    (run / "scene.json").write_text(json.dumps(record))
    for words in (["export", str(run), "--cameras", str(tmp_path / "out")], ["evaluate", str(run)]):
        assert main(words) == 2
        (line,) = capsys.readouterr().err.splitlines()
        assert "scene.json: damaged (" in line


@pytest.mark.parametrize(
    "text", ["[" * 100000, '{"kind": 1e400}', '{"kind": "\\ud800"}', "9" * 5000, "nan", "", "\\u0000"]
)
def test_json_that_only_a_parser_takes_is_one_line(text, tmp_path, capsys):
    (tmp_path / "signal.json").write_text(text)
    (tmp_path / "settings.yaml").write_text("{}")
    assert main(["decode", str(tmp_path), "--out", str(tmp_path / "a.png")]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "signal.json: damaged" in line


def test_whole_numbers_without_end_become_floats(tmp_path):
    (tmp_path / "signal.json").write_text(json.dumps({"kind": "image", "size": 10**40}))
    assert RunFolder(tmp_path).load_signal()["size"] == 1e40


PROGRAM = """
import os, signal, sys, time
from nerf.cli import main as cli, doctor
from nerf.files import replacing
from pathlib import Path
def run(arguments):
    with replacing(Path("film.mp4")) as partial:
        partial.write_text("half")
        os.kill(os.getpid(), getattr(signal, sys.argv[1]))
        time.sleep(30)
signal.signal(getattr(signal, sys.argv[1]), signal.SIG_DFL)  # which nohup has not left so
cli.COMMANDS["doctor"] = (doctor.add_arguments, run, "")
sys.exit(cli.main(["doctor"]))
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="Windows ends processes without a word")
@pytest.mark.parametrize("name", ["SIGTERM", "SIGHUP"])
def test_a_command_that_is_ended_removes_what_it_was_writing(name, tmp_path):
    environment = os.environ | {"PYTHONPATH": str(REPOSITORY)}
    done = subprocess.run([sys.executable, "-c", PROGRAM, name], cwd=tmp_path, env=environment, timeout=60)
    assert done.returncode == {"SIGTERM": 143, "SIGHUP": 129}[name] and list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("value", [-1e39, 0, 2.5, True, 10**18, "12"])
@pytest.mark.parametrize("name", ["width", "channels"])
def test_sizes_of_a_recorded_signal_have_a_range(name, value):
    from nerf.signals.image import Image
    from nerf.signals.settings import FitSettings

    with pytest.raises((ValueError, TypeError)):
        Image.recall({"width": 2, "height": 2, "channels": 3, "hdr": False, name: value}, FitSettings())
