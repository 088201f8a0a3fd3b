"""Damaged scenes, runs and signals, given to every command: ``python benchmarks/damaged_inputs.py --cases 2000``.

Each case copies a small input, damages the copy by a seed of its own, and runs the command line on it. It is well if
the command ends within its time with status 0, or with status 2 and a line that says why; if nothing shown holds a
control character; and if nothing was written but where the command may write. Any other status, a traceback, a signal,
a hang or a stray file is a failure, printed with what repeats it. The damage is that of `tests/damage.py`.
"""

from __future__ import annotations

import argparse
import faulthandler
import hashlib
import multiprocessing
import multiprocessing.connection
import os
import random
import re
import resource
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))  # nerf and tests of this checkout

from tests.damage import SUBJECTS, damaged, write_originals

MEMORY = 10 * 2**30  # bytes of addresses that a process may take
CASES_OF_A_PROCESS = 150  # after which it is replaced, so that no case lives long on another's leavings
LIGHTER = {
    "nerf.signals.sdf": {"HELD_OUT": 2000, "POOL": 4096, "SPREAD": 1000, "RESOLUTION": 24, "PICTURE": (16, 16)},
    "nerf.signals.compression.encoding": {"FIRST_STEPS": 20, "NEXT_STEPS": 5, "TRIALS": 3},
}
TOLD = ("nerf: error: ", "nerf: interrupted")


@dataclass
class Result:
    """How a case ended."""

    number: int
    subject: str
    done: list[str] = field(default_factory=list)  # the damage, in words
    status: int | None = None  # None: it did not end by itself
    output: str = ""  # what was printed
    strays: list[str] = field(default_factory=list)  # what was written where it must not
    seconds: float = 0.0
    ended: str = ""  # how its process ended, if it did not end by itself

    def faults(self) -> list[str]:
        """Returns what is wrong with how it ended; nothing if all is well."""
        lines = [line for line in re.split("[\r\n]", self.output) if line.strip()]
        errors = [line for line in lines if line.startswith(TOLD)]
        found = [self.ended] if self.ended else []
        if not self.ended and self.status not in (0, 2):
            found.append(f"status {self.status}")
        if self.status == 2 and not errors:
            found.append("status 2 without a word")
        if self.status == 0 and errors:
            found.append("status 0 with an error")
        if any(line.startswith("Traceback") for line in lines):
            found.append("a traceback")
        if hidden := sorted({letter for letter in self.output if not letter.isprintable() and letter not in "\r\n\t"}):
            found.append(f"shown as they are: {hidden}")
        return found + [f"stray: {stray}" for stray in self.strays]


def tree(folder: Path) -> dict[str, str]:
    """Returns what is in a folder: what each path is, and of files what they hold."""
    found = {}
    for path in sorted(folder.rglob("*")):
        name = str(path.relative_to(folder))
        if path.is_symlink():
            found[name] = f"link to {os.readlink(path)}"
        elif path.is_file():
            found[name] = hashlib.sha256(path.read_bytes()).hexdigest()
        else:
            found[name] = "folder" if path.is_dir() else "other"
    return found


def changes(before: dict[str, str], after: dict[str, str]) -> list[str]:
    """Returns the names of what is new, gone or not the same."""
    return sorted(name for name in before.keys() | after.keys() if before.get(name) != after.get(name))


class Place:
    """The folders of a case: inputs, outputs, the current folder, and what is nobody's business."""

    def __init__(self, root: Path, number: int) -> None:
        self.root = root / f"case_{number}"
        self.given = self.root / "given"
        self.out = self.root / "out"
        self.outside = self.root / "outside"
        self.here = self.root / "here"
        for folder in (self.given, self.out, self.outside, self.here):
            folder.mkdir(parents=True)
        (self.outside / "secret").write_text("nobody's business")

    def watched(self, written: Sequence[str]) -> dict[str, str]:
        """Returns everything but what the command may write."""
        free = [f"given/{name}" for name in written] + ["out"]
        everything = tree(self.root)
        return {name: what for name, what in everything.items() if not name.startswith(tuple(f"{f}/" for f in free))}


def lighten() -> None:
    """Makes scores and searches light: their figures are nobody's concern here."""
    for module, numbers in LIGHTER.items():
        for name, value in numbers.items():
            assert hasattr(import_module(module), name), f"{module}.{name}"
            setattr(import_module(module), name, value)


def run_case(root: Path, seed: int | None, number: int) -> Result:
    """Returns how one case ended, which runs in this process. seed: None for whole inputs."""
    chance = random.Random(f"{seed}/{number}")
    subject = SUBJECTS[number % len(SUBJECTS)]
    place = Place(root, number)
    for name in subject.inputs:
        source = root / "originals" / name
        target = place.given / name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copytree(source, target) if source.is_dir() else shutil.copyfile(source, target)
    done = [] if seed is None else damaged(place.given, place.outside, chance)
    result = Result(number, subject.name, done)

    words = [str(word) for word in subject.words(place.given, place.out)]
    before = place.watched(subject.written)
    os.chdir(place.here)
    tempfile.tempdir = str(place.out)
    start = time.perf_counter()
    with open(place.root.with_suffix(".out"), "w+b") as told:
        result.status = _printed_into(told.fileno(), lambda: _main(words))
        told.seek(0)
        result.output = told.read().decode("utf-8", "replace")
    result.seconds = time.perf_counter() - start
    os.chdir(root)
    result.strays = changes(before, place.watched(subject.written))
    return result


def _main(words: list[str]) -> int:
    import traceback

    from nerf.cli.main import main

    try:
        return main(words)
    except SystemExit as ended:
        return ended.code if isinstance(ended.code, int) else 1
    except BaseException:
        traceback.print_exc()
        return 1


def _printed_into(descriptor: int, work: Callable[[], int]) -> int:
    """Returns what the work returns; what it or a library prints goes into a file."""
    kept = [os.dup(1), os.dup(2)]
    for stream in (1, 2):
        os.dup2(descriptor, stream)
    try:
        return work()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        for stream, before in zip((1, 2), kept):
            os.dup2(before, stream)
            os.close(before)


class Worker:
    """A process that runs cases one after another, and is replaced when one kills or stops it."""

    def __init__(self, run: Callable[[int], Any], trace: Path) -> None:
        self.run = run
        self.trace = trace  # where its stack is written when it must be ended
        self.number: int | None = None  # of the case in hand
        self._start()

    def _start(self) -> None:
        ours, theirs = multiprocessing.get_context("fork").Pipe()
        self.pipe = ours
        self.cases = 0
        self.process = multiprocessing.get_context("fork").Process(target=self._serve, args=(ours, theirs), daemon=True)
        self.process.start()
        theirs.close()

    def _serve(self, ours: Any, theirs: Any) -> None:
        ours.close()
        os.setsid()
        resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        with open(self.trace, "w") as trace:
            faulthandler.enable(trace)
            faulthandler.register(signal.SIGUSR1, trace)
            while (number := theirs.recv()) is not None:
                theirs.send(self.run(number))
        os._exit(0)

    def give(self, number: int) -> None:
        """Begins a case."""
        if self.cases >= CASES_OF_A_PROCESS:
            self.end()
            self._start()
        self.number = number
        self.cases += 1
        self.since = time.monotonic()
        self.pipe.send(number)

    def take(self, limit: float) -> Any:
        """Returns the result of the case if it has ended, how the process ended if it died or had to, else None."""
        if self.pipe.poll():
            try:
                result = self.pipe.recv()
            except EOFError:
                self.process.join()
                result = _name_of_end(self.process.exitcode)
                self._start()
        elif time.monotonic() - self.since > limit:
            os.kill(self.process.pid, signal.SIGUSR1)
            time.sleep(0.3)
            result = f"a hang of more than {limit:g} s"
            self.end()
            self._start()
        else:
            return None
        self.number = None
        return result

    def stack(self) -> str:
        """Returns where the process was when it died or had to be ended, innermost first."""
        lines = re.findall(r'File "(.+)", line (\d+) in (\S+)', self.trace.read_text(errors="replace"))
        return "; ".join(f"{Path(file).name}:{line} {name}" for file, line, name in lines[:8])

    def end(self) -> None:
        """Ends the process and what it has started."""
        try:
            os.killpg(self.process.pid, signal.SIGKILL)
        except ProcessLookupError:
            self.process.kill()
        self.process.join()
        self.pipe.close()


def _name_of_end(code: int | None) -> str:
    if code is not None and code < 0:
        return f"signal {signal.Signals(-code).name}"
    return f"the process ended with {code}"


def run_cases(
    numbers: Sequence[int],
    run: Callable[[int], Any],
    jobs: int,
    limit: float,
    folder: Path,
    told: Callable[[int, Any], None] | None = None,
) -> list[tuple[int, Any]]:
    """Returns numbers and results of cases, or in words how the process of one ended, in the order of their ends.

    limit: seconds after which a case is ended. told: is given each number and result at once.
    """
    left = list(reversed(numbers))
    workers = [Worker(run, folder / f"worker_{number}.txt") for number in range(min(jobs, len(numbers)))]
    results = []
    say = told or (lambda number, result: None)
    try:
        while left or any(worker.number is not None for worker in workers):
            for worker in workers:
                if worker.number is None and left:
                    worker.give(left.pop())
            multiprocessing.connection.wait([worker.pipe for worker in workers if worker.number is not None], 0.2)
            for worker in workers:
                if worker.number is None:
                    continue
                number = worker.number
                stack = worker.stack
                if (result := worker.take(limit)) is not None:
                    where = stack() if isinstance(result, str) else ""
                    results.append((number, f"{result}; {where}" if where else result))
                    say(*results[-1])
    finally:
        for worker in workers:
            worker.end()
    return results


def main() -> int:
    """Runs the cases, prints every failure and a table; returns 1 if there is one."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cases", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--first", type=int, default=0, help="number of the first case")
    parser.add_argument("--only", help="cases whose subject has this word")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--seconds", type=float, default=60, help="after which a case hangs")
    parser.add_argument("--folder", type=Path, help="where to work, a new folder; kept (default: a temporary one)")
    parser.add_argument("--shown", action="store_true", help="print every case, not the failures alone")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="damaged-") as temporary:
        folder = (arguments.folder or Path(temporary)).resolve()
        folder.mkdir(exist_ok=True)
        return _run(arguments, folder)


def _run(arguments: argparse.Namespace, folder: Path) -> int:
    import torch
    from tqdm import tqdm

    # Processes are forked from this one, with all that it has imported: it must have no other thread.
    torch.set_num_threads(1)
    tqdm.monitor_interval = 0
    lighten()
    write_originals(folder / "originals")
    whole = tree(folder / "originals")

    last = arguments.first + arguments.cases
    numbers = [number for number in range(arguments.first, last) if _wanted(number, arguments.only)]
    for number in sorted({number % len(SUBJECTS) for number in numbers}):
        result = run_case(folder, None, number)
        if faults := result.faults() + [f"status {result.status}"] * (result.status != 0):
            print(f"{result.subject}: fails on whole inputs: {'; '.join(faults)}\n{result.output}")
            return 1
        shutil.rmtree(folder / f"case_{number}")

    def run(number: int) -> Result:
        result = run_case(folder, arguments.seed, number)
        if arguments.folder is None:
            shutil.rmtree(folder / f"case_{number}", ignore_errors=True)
        return result

    start = time.perf_counter()
    failures: list[str] = []
    ends = run_cases(
        numbers, run, arguments.jobs, arguments.seconds, folder,
        lambda number, end: failures.extend(_told(number, end, arguments)),
    )  # fmt: skip
    if changed := changes(whole, tree(folder / "originals")):
        failures.append(f"the originals were written into: {changed}")
        print(failures[-1])

    statuses = Counter(end.status for _, end in ends if isinstance(end, Result))
    slowest = max(((end.seconds, number) for number, end in ends if isinstance(end, Result)), default=(0.0, 0))
    print(
        f"{len(ends)} cases of seed {arguments.seed} in {time.perf_counter() - start:.0f} s: "
        f"{statuses[0]} read, {statuses[2]} refused, {len(failures)} failures; "
        f"slowest: {slowest[0]:.1f} s, case {slowest[1]}"
    )
    return 1 if failures else 0


def _wanted(number: int, word: str | None) -> bool:
    return word is None or word in SUBJECTS[number % len(SUBJECTS)].name


def _told(number: int, end: Result | str, arguments: argparse.Namespace) -> list[str]:
    """Prints a case that failed, or every one if asked, and returns what was wrong with it: nothing, or one text."""
    subject = SUBJECTS[number % len(SUBJECTS)].name
    result = Result(number, subject, ended=end) if isinstance(end, str) else end
    faults = result.faults()
    if faults or arguments.shown:
        lines = [line for line in re.split("[\r\n]", result.output) if line.startswith((*TOLD, "Traceback"))]
        repeat = f"--seed {arguments.seed} --first {number} --cases 1"
        print(f"{'; '.join(faults) or 'well'}: {subject}: {', '.join(result.done)}; {repeat}", flush=True)
        for line in lines[:3]:
            print(f"    {line[:300]!r}")
    return ["; ".join(faults)] if faults else []


if __name__ == "__main__":
    sys.exit(main())
