"""Commands that a browser asks for: each is a process of its own, with the very words that a user would type."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nerf.errors import InputError

# Python would look for `nerf`, and for all that it imports, in the current folder first, which may be a stranger's.
UNTRUSTING = "import sys; sys.path[:] = [place for place in sys.path if place]; from nerf.cli.main import main; "
PROGRAM = (sys.executable, "-c", UNTRUSTING + "sys.exit(main())")
MOST_JOBS = 16  # that are remembered; the oldest that have ended are forgotten
PATIENCE = 10.0  # seconds that a job has to end when it is cancelled
LARGEST = 2**29  # bytes of a result that goes to a browser
READ = 4096  # bytes at once


@dataclass
class Job:
    """One command, and how far it is."""

    number: int
    words: list[str]  # after `nerf`
    file: Path  # what it makes
    state: str = "waiting"  # or running, done, failed, cancelled
    percent: int = 0
    line: str = ""  # the last that it said

    def facts(self) -> dict[str, Any]:
        """Returns what a browser is told of it."""
        return {
            "number": self.number,
            "command": shlex.join(["nerf", *self.words]),
            "file": self.file.name,
            "state": self.state,
            "percent": self.percent,
            "line": self.line,
        }


class Jobs:
    """The commands of one run, one after the other."""

    def __init__(self, tell: Callable[[dict[str, Any]], None], program: Sequence[str] = PROGRAM) -> None:
        """tell: called with {"job": ...} whenever one has changed. program: what takes the words."""
        self._tell = tell
        self._program = program
        self._jobs: dict[int, Job] = {}
        self._process: subprocess.Popen[bytes] | None = None
        self._changed = threading.Condition()
        self._closed = False
        self._thread = threading.Thread(target=self._run_all, daemon=True)
        self._thread.start()

    def facts(self) -> list[dict[str, Any]]:
        """Returns what a browser is told of all of them."""
        with self._changed:
            return [job.facts() for job in self._jobs.values()]

    def add(self, words: list[str], file: Path) -> Job:
        """Returns a new job, which runs as soon as those before it have ended.

        Raises:
            InputError: too many are waiting.
        """
        with self._changed:
            ended = [job for job in self._jobs.values() if job.state not in ("waiting", "running")]
            if len(self._jobs) >= MOST_JOBS:
                if not ended:
                    raise InputError(f"{MOST_JOBS} commands are waiting already; cancel one")
                del self._jobs[ended[0].number]
            job = Job(max(self._jobs, default=0) + 1, words, file)
            self._jobs[job.number] = job
            self._changed.notify_all()
        self._tell({"job": job.facts()})
        return job

    def cancel(self, number: int) -> None:
        """Ends a job in order, as a closed terminal does."""
        with self._changed:
            job = self._jobs.get(number)
            if job is None or job.state not in ("waiting", "running"):
                return
            running = job.state == "running"
            job.state = "cancelled"
            if running and self._process is not None:
                self._process.terminate()  # SIGINT is ignored where the program was started in the background
        self._tell({"job": job.facts()})

    def result(self, number: int) -> tuple[str, bytes]:
        """Returns the name and the bytes of what a job has made.

        Raises:
            InputError: there is nothing, or more than a browser is sent.
        """
        job = self._jobs.get(number)
        if job is None or job.state != "done":
            raise InputError("there is no such result")
        try:
            if job.file.stat().st_size > LARGEST:
                raise InputError(f"{job.file}: too large for a browser; copy it")
            return job.file.name, job.file.read_bytes()
        except OSError as error:
            raise InputError(f"{job.file}: cannot be read ({error.strerror})") from None

    def close(self) -> None:
        """Ends what runs, and all that wait."""
        with self._changed:
            self._closed = True
            numbers = list(self._jobs)
            self._changed.notify_all()
        for number in numbers:
            self.cancel(number)
        self._thread.join(PATIENCE)
        if self._process is not None and self._process.poll() is None:
            self._process.kill()

    def _run_all(self) -> None:
        while (job := self._next()) is not None:
            if self._process is None:
                self._tell({"job": job.facts()})
            else:
                self._follow(job, self._process)

    def _next(self) -> Job | None:
        """Returns the next job, started if it can be; None when there will be no more."""
        with self._changed:
            while not (waiting := [job for job in self._jobs.values() if job.state == "waiting"]):
                if self._closed:
                    return None
                self._changed.wait()
            job = waiting[0]
            job.state = "running"

            pipe = subprocess.PIPE
            words = [*self._program, *job.words]
            try:
                self._process = subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=pipe, stderr=subprocess.STDOUT)
            except OSError as error:
                job.state = "failed"
                job.line = f"cannot be started ({error.strerror})"
                self._process = None
            return job

    def files(self) -> set[Path]:
        """Returns the files that jobs make or have made."""
        with self._changed:
            return {job.file for job in self._jobs.values()}

    def _follow(self, job: Job, process: subprocess.Popen[bytes]) -> None:
        """Tells of a job until it has ended."""
        assert process.stdout is not None
        said = b""
        while part := os.read(process.stdout.fileno(), READ):
            said = (said + part)[-READ:]
            lines = [line.strip() for line in re.split(r"[\r\n]+", said.decode("utf-8", "replace")) if line.strip()]
            shares = re.findall(r"(\d{1,3})%\|", said.decode("utf-8", "replace"))
            before = (job.percent, job.line)
            job.percent = min(100, int(shares[-1])) if shares else job.percent
            job.line = lines[-1][:300] if lines else ""
            if (job.percent, job.line) != before:
                self._tell({"job": job.facts()})

        status = process.wait()
        process.stdout.close()
        with self._changed:
            self._process = None
            if job.state == "running":
                job.state = "failed" if status else "done"
        self._tell({"job": job.facts()})
