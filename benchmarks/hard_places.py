"""Tries commands in hard places: ``python benchmarks/hard_places.py``.

Each must end in one clear line and lose nothing.

A place that cannot be made here (a small disk needs root) is skipped and counted. The limit of memory is that of
addresses (RLIMIT_AS): libraries alone take about 3 GiB of them, so 8 GiB of addresses are less than 8 GiB of memory.
"""

from __future__ import annotations

import argparse
import os
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))  # nerf and tests of this checkout

from tests.conftest import write_ball_scene
from tests.damage import SMALL_RUN

ROOT = Path(__file__).parents[1]
LIMIT = 300.0  # seconds
PICTURES = 300
WIDTH, HEIGHT = 4000, 3000
DISKS = ("40k", "120k", "400k")


class Skipped(Exception):
    """The place cannot be made on this machine."""


def start(words: list[str], folder: Path, root: Path = ROOT, **options: object) -> subprocess.Popen:
    """Returns a command that runs in a folder; what it says comes through one pipe."""
    environment = os.environ | {"PYTHONPATH": str(root), "OMP_NUM_THREADS": "1"}
    given = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, **options}
    command = [sys.executable, "-m", "nerf", *words]
    return subprocess.Popen(
        command, cwd=folder, env=environment, stdin=subprocess.DEVNULL, start_new_session=True, **given
    )


def last_line(process: subprocess.Popen) -> str:
    """Returns the last line of what a command said, when it has ended."""
    said = process.communicate(timeout=LIMIT)[0].decode("utf-8", "replace")
    if "Traceback" in said:
        return "a traceback"
    return (said.replace("\r", "\n").strip().splitlines() or ["nothing"])[-1]


def words_of(scene: Path, steps: int, *more: str) -> list[str]:
    """Returns a small training into the folder `run`."""
    return ["train", "--scene", str(scene), "--out", "run", "--steps", str(steps), *SMALL_RUN, *more]


def step_of(run: Path) -> int:
    """Returns the step of a run's checkpoint."""
    from nerf.runs import RunFolder

    return RunFolder(run).load_checkpoint()[1]["step"]


def until(there: Callable[[], bool], process: subprocess.Popen) -> None:
    """Waits until something is so, or the command ends."""
    end = time.monotonic() + LIMIT
    while not there() and process.poll() is None and time.monotonic() < end:
        time.sleep(0.02)


def two_trainings(folder: Path, scene: Path) -> str:
    """One run folder, two trainings: the second is refused, the first goes on until it is asked to stop."""
    first = start(words_of(scene, 10**6), folder)
    until((folder / "run" / "log.jsonl").exists, first)
    second = start(words_of(scene, 5, "train.seed=2"), folder)
    line = last_line(second)
    first.send_signal(signal.SIGINT)
    last_line(first)
    well = first.returncode == 130 and second.returncode == 2 and step_of(folder / "run") > 5
    assert well and "is writing into it" in line, (first.returncode, second.returncode, line)
    return line


def stale_library(folder: Path, scene: Path) -> str:
    """The native library is another version's, as after `git pull`."""
    shutil.copytree(ROOT / "nerf", folder / "nerf")
    table = folder / "nerf" / "engine" / "signatures.py"
    text = table.read_text()
    changed = text.replace("hexdigest()[:16]", "hexdigest()[16:32]")  # of all structs: what a changed one makes of it
    table.write_text(changed)
    process = start(words_of(scene, 5), folder, folder)
    line = last_line(process)
    assert changed != text and process.returncode == 2 and "pip install" in line, (process.returncode, line)
    return line


def full_disk(folder: Path, scene: Path) -> str:
    """The disk is full at some file of a training, its film and its mesh: what was written before is whole."""
    whole = start(words_of(scene, 200, "output.video=a.mp4", "output.mesh=a.obj", "output.frames=8"), folder)
    last_line(whole)
    lines = []
    for size in DISKS:
        disk = folder / size
        disk.mkdir()
        if subprocess.run(
            ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", disk], capture_output=True
        ).returncode:
            raise Skipped("a small disk cannot be mounted")
        try:
            process = start(words_of(scene, 200, "output.video=a.mp4", "output.mesh=a.obj", "output.frames=8"), disk)
            lines.append(last_line(process))
            left = [path.name for path in disk.rglob(".*") if path.name != ".lock"]
            assert process.returncode == 2 and "cannot be written" in lines[-1], (size, process.returncode, lines[-1])
            assert not left, (size, left)
            if (disk / "run" / "checkpoint.safetensors").exists():
                step_of(disk / "run")
        finally:
            subprocess.run(["umount", disk], check=True)
    return f"{len(lines)} disks; {lines[-1]}"


def closed_terminal(folder: Path, scene: Path) -> str:
    """The reader of all output is gone and the terminal hangs up: the training is saved where it was."""
    process = start(words_of(scene, 10**6, "train.checkpoint_seconds=1e6"), folder)
    until((folder / "run" / "log.jsonl").exists, process)
    process.stdout.close()
    time.sleep(1.0)
    assert process.poll() is None, f"ended with {process.returncode} for want of a reader"
    os.killpg(process.pid, signal.SIGHUP)
    process.wait(LIMIT)
    step = step_of(folder / "run")
    assert step > 0, "only the first checkpoint is left"
    return f"status {process.returncode}, saved at step {step}"


def little_memory(folder: Path, scene: Path) -> str:
    """300 pictures of 12 megapixels and 8 GiB."""
    import json

    from PIL import Image

    frames = json.loads((scene / "transforms_train.json").read_text())["frames"]
    (folder / "images").mkdir()
    Image.new("RGB", (WIDTH, HEIGHT), (90, 120, 60)).save(folder / "images" / "p0.jpg", quality=30)
    for number in range(1, PICTURES):
        os.link(folder / "images" / "p0.jpg", folder / "images" / f"p{number}.jpg")
    rows = [{**frames[n % len(frames)], "file_path": f"images/p{n}.jpg"} for n in range(PICTURES)]
    (folder / "transforms.json").write_text(json.dumps({"camera_angle_x": 0.7, "frames": rows}))

    bytes_allowed = 8 * 2**30
    process = start(
        ["train", "--scene", ".", "--out", "run", "--steps", "5"], folder,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_AS, (bytes_allowed, bytes_allowed)),
    )  # fmt: skip
    line = last_line(process)
    assert process.returncode == 2 and "memory" in line, (process.returncode, line)
    assert len(list((folder / "images").iterdir())) == PICTURES, "pictures are lost"
    return line


PLACES = (two_trainings, stale_library, full_disk, closed_terminal, little_memory)


def main() -> int:
    """Tries every place and prints how it ended; returns 1 if one did not end well."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", help="the place of this name: " + ", ".join(place.__name__ for place in PLACES))
    arguments = parser.parse_args()
    failed = 0
    skipped = 0
    for place in PLACES:
        if arguments.only not in (None, place.__name__):
            continue
        with tempfile.TemporaryDirectory(prefix="hard-") as temporary:
            scene = write_ball_scene(Path(temporary) / "scene", size=16, views=4)
            folder = Path(temporary) / "here"
            folder.mkdir()
            try:
                told = f"well: {place(folder, scene)}"
            except Skipped as reason:
                skipped += 1
                told = f"skipped: {reason}"
            except (AssertionError, OSError, subprocess.TimeoutExpired) as error:
                failed += 1
                told = f"FAILED: {error}"
        print(f"{place.__name__}: {told}", flush=True)
    print(f"{failed} failed, {skipped} skipped")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
