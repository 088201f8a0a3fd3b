"""Kills commands at random moments and runs them again: ``python benchmarks/kills.py --kills 100``.

Each kill takes the next job and the next signal. After it, what was there before is whole. The second run, which
resumes where there is a checkpoint, must end well, leave what an undisturbed run leaves, in the same bits where they
are promised, and nothing else: no unfinished file or folder. Nothing may print a traceback. SIGINT and SIGHUP go to
the whole group, as a terminal sends them; SIGTERM and SIGKILL to the command alone.
"""

from __future__ import annotations

import argparse
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))  # nerf and tests of this checkout

from tests.conftest import write_ball_scene
from tests.damage import SMALL_FIT, SMALL_RUN
from tests.scenes.test_sfm import wall_photos

SIGNALS = (signal.SIGKILL, signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
TO_ALL = (signal.SIGINT, signal.SIGHUP)  # signals of a terminal, which every process in it gets
LIMIT = 600.0  # seconds after which a command hangs
OFTEN = "train.checkpoint_seconds=0.02"


@dataclass(frozen=True)
class Job:
    """A command, run in a folder of its own."""

    name: str
    prepare: Callable[[Path], None]  # writes into a new folder what the command needs
    words: Callable[[Path], list[str]]  # of the command, from what is in the folder
    survives: Callable[[Path, Path], list[str]]  # (undisturbed, killed) folder -> what is wrong after the kill
    equals: Callable[[Path, Path], list[str]]  # the same after the second run


def training(inputs: Path) -> Job:
    """Returns a training of a small scene, which resumes to the same tensors."""
    scene = inputs / "scene"
    write_ball_scene(scene, size=16, views=4)
    words = ["train", "--scene", str(scene), "--out", "run", "--steps", "900", *SMALL_RUN, OFTEN]
    return Job("train", lambda place: None, lambda place: _resumed(place, words), _run_opens, _same_tensors)


def fitting(inputs: Path) -> Job:
    """Returns the fitting of a picture, which resumes to the same tensors."""
    from PIL import Image

    picture = inputs / "picture.png"
    Image.radial_gradient("L").resize((64, 48)).convert("RGB").save(picture)
    words = ["fit", "image", str(picture), "--out", "run", "--steps", "300", *SMALL_FIT, OFTEN]
    return Job("fit", lambda place: None, lambda place: _resumed(place, words), _run_opens, _same_tensors)


def filming(inputs: Path) -> Job:
    """Returns the filming of a run over a film that is there already."""
    words = ["render", str(_trained(inputs)), "--out", "film.mp4", "--frames", "24", "--size", "32x24"]
    return Job(
        "film", _nothing_but("film.mp4"), lambda place: words, _file_is("film.mp4", old=True), _file_is("film.mp4")
    )


def meshing(inputs: Path) -> Job:
    """Returns the export of a mesh over one that is there already."""
    words = ["export", str(_trained(inputs)), "--mesh", "mesh.ply", "--resolution", "96"]
    return Job(
        "mesh", _nothing_but("mesh.ply"), lambda place: words, _file_is("mesh.ply", old=True), _file_is("mesh.ply")
    )


def posing(inputs: Path) -> Job:
    """Returns the check of bare photographs, whose poses pycolmap finds: other ones each time."""
    words = ["check", "photos", "--out", "page.html"]
    return Job("poses", lambda place: wall_photos(place / "photos"), lambda place: words, _model_opens, _model_opens)


JOBS = (training, fitting, filming, meshing, posing)


def _trained(inputs: Path) -> Path:
    run = inputs / "run"
    if not run.exists():
        write_ball_scene(inputs / "filmed", size=16, views=4)
        command(["train", "--scene", str(inputs / "filmed"), "--out", str(run), "--steps", "50", *SMALL_RUN], inputs)
    return run


def _resumed(place: Path, words: list[str]) -> list[str]:
    return [*words, "--resume"] if (place / "run" / "checkpoint.safetensors").exists() else words


def _run_opens(whole: Path, killed: Path) -> list[str]:
    """A checkpoint that was announced is there, and what is there can be read."""
    from nerf.errors import InputError
    from nerf.runs import RunFolder

    run = RunFolder(killed / "run")
    said = (killed.parent / f"{killed.name}.out").read_text(errors="replace")
    if not run.checkpoint.exists():
        return ["a checkpoint was announced and is not there"] if "saved" in said or run.log.exists() else []
    try:
        run.load_checkpoint()
    except InputError as error:
        return [str(error)]
    return []


def _same_tensors(whole: Path, killed: Path) -> list[str]:
    import torch

    from nerf.runs import RunFolder

    expected = RunFolder(whole / "run").load_checkpoint()[0]
    found = RunFolder(killed / "run").load_checkpoint()[0]
    names = expected.keys() | found.keys()
    other = [n for n in names if n not in expected or n not in found or not torch.equal(expected[n], found[n])]
    return [f"other bits in {sorted(other)[:3]}"] if other else []


def _nothing_but(name: str) -> Callable[[Path], None]:
    return lambda place: (place / name).write_bytes(OLD) and None


OLD = b"ply of an earlier day"


def _file_is(name: str, old: bool = False) -> Callable[[Path, Path], list[str]]:
    """Returns what tells whether a file is that of the undisturbed run; old: or that which was there before."""

    def faults(whole: Path, killed: Path) -> list[str]:
        file = killed / name
        wanted = [(whole / name).read_bytes(), *([OLD] if old else [])]
        return [] if file.is_file() and file.read_bytes() in wanted else [f"{name} is lost, or other bits"]

    return faults


def _model_opens(whole: Path, killed: Path) -> list[str]:
    """A model is whole where there is one, and the photographs are there."""
    from nerf.errors import InputError
    from nerf.scenes.colmap_model import read_model

    photos = [path.name for path in (whole / "photos").rglob("*.png")]
    lost = [name for name in photos if not list((killed / "photos").rglob(name))]
    model = killed / "photos" / "sparse" / "0"
    try:
        cameras = read_model(model)[0] if model.exists() else None
    except InputError as error:
        return [str(error)]
    return [f"lost {name}" for name in lost] + (
        ["a model without cameras"] if cameras is not None and not cameras else []
    )


def started(words: list[str], place: Path) -> subprocess.Popen:
    """Returns a command that runs in a folder; what it says is in a file beside the folder."""
    (place.parent / f"{place.name}.tmp").mkdir(exist_ok=True)
    root = str(Path(__file__).parents[1])
    own = {"PYTHONPATH": root, "OMP_NUM_THREADS": "1", "TMPDIR": str(place.parent / f"{place.name}.tmp")}
    with open(place.parent / f"{place.name}.out", "wb") as told:
        return subprocess.Popen(
            [sys.executable, "-m", "nerf", *words], cwd=place, env=os.environ | own, stdin=subprocess.DEVNULL,
            stdout=told, stderr=subprocess.STDOUT, start_new_session=True,
        )  # fmt: skip


def command(words: list[str], place: Path) -> tuple[int, str]:
    """Returns the exit status of a command and what it said."""
    process = started(words, place)
    try:
        process.wait(LIMIT)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    return process.returncode, (place.parent / f"{place.name}.out").read_text(errors="replace")


def names(place: Path) -> set[str]:
    """Returns what is in a folder and in its folder for temporary files."""
    temporary = place.parent / f"{place.name}.tmp"
    return {str(path.relative_to(root)) for root in (place, temporary) for path in root.rglob("*")}


def kill(job: Job, number: signal.Signals, moment: float, whole: Path, place: Path) -> tuple[bool, list[str]]:
    """Returns whether the signal came in time, and what is wrong after it or after the second run."""
    place.mkdir()
    job.prepare(place)
    process = started(job.words(place), place)
    time.sleep(moment)
    in_time = process.poll() is None
    if in_time:
        (os.killpg if number in TO_ALL else os.kill)(process.pid, number)
    try:
        process.wait(LIMIT)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        return in_time, [f"runs on for {LIMIT:g} s after the signal"]

    said = (place.parent / f"{place.name}.out").read_text(errors="replace")
    faults = ["a traceback after the signal"] if "Traceback" in said else []
    faults += job.survives(whole, place)
    status, said = command(job.words(place), place)
    if status != 0:
        return in_time, [*faults, f"the second run ends with {status}: {said.strip().splitlines()[-1:]}"]
    faults += [f"left behind: {name}" for name in sorted(names(place) - names(whole)) if not name.startswith("run.")]
    faults += [f"not there: {name}" for name in sorted(names(whole) - names(place))]
    return in_time, faults + job.equals(whole, place)


def main() -> int:
    """Kills, prints every fault and a table; returns 1 if there is a fault."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", help="the job of this name: " + ", ".join(job.__name__ for job in JOBS))
    arguments = parser.parse_args()
    chance = random.Random(arguments.seed)
    print(f"seed {arguments.seed}")

    with tempfile.TemporaryDirectory(prefix="kills-") as temporary:
        root = Path(temporary)
        inputs = root / "inputs"
        inputs.mkdir()
        jobs = [make(inputs) for make in JOBS if arguments.only in (None, make.__name__)]
        seconds = {job.name: undisturbed(job, root / f"whole_{job.name}") for job in jobs}
        done: Counter[tuple[str, str]] = Counter()
        faulty = 0
        for count in range(arguments.kills):
            job = jobs[count % len(jobs)]
            number = SIGNALS[count // len(jobs) % len(SIGNALS)]
            moment = chance.uniform(0.1, 1.0) * seconds[job.name]
            in_time, faults = kill(job, number, moment, root / f"whole_{job.name}", root / f"kill_{count}")
            done[job.name, number.name if in_time else "too late"] += 1
            faulty += bool(faults)
            for fault in faults:
                print(f"kill {count}: {job.name}, {number.name} after {moment:.2f} s: {fault}", flush=True)

    for job in jobs:
        counts = ", ".join(f"{kind} {n}" for (name, kind), n in sorted(done.items()) if name == job.name)
        print(f"{job.name} ({seconds[job.name]:.1f} s undisturbed): {counts}")
    print(f"{arguments.kills} kills, {faulty} with faults")
    return 1 if faulty else 0


def undisturbed(job: Job, place: Path) -> float:
    """Returns the seconds that a job takes when nothing kills it; others are held against what it leaves."""
    place.mkdir()
    job.prepare(place)
    start = time.perf_counter()
    status, said = command(job.words(place), place)
    if status != 0:
        raise SystemExit(f"{job.name} fails undisturbed: {said[-2000:]}")
    return time.perf_counter() - start


if __name__ == "__main__":
    sys.exit(main())
