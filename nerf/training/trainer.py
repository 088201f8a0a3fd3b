"""The training loop: budgets, pace, log, checkpoints, previews, interruption. It knows no task by name."""

from __future__ import annotations

import math
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from torch import Tensor

from nerf.config import TrainSettings
from nerf.runs import RunFolder
from nerf.training.schedule import Schedule

REPLAN_SECONDS = 0.5  # of training between new plans of the pace towards max_seconds
SHOW_SECONDS = 0.5  # of training between lines of the log


class Report(Protocol):
    """What a step tells: the mean squared error as a part of the signal's peak, and the rays and samples it took."""

    error: float
    rays: int
    samples: int


class Task(Protocol):
    """Something that learns. `state` and `load_state` carry every tensor that a step changes.

    figure: what -10 log10 of the reports' errors is called. counted: what the display counts, rays or samples.
    """

    figure: str
    counted: str

    def train_step(self, step: int, progress: float) -> Report: ...

    def state(self) -> dict[str, Tensor]: ...

    def load_state(self, tensors: dict[str, Tensor]) -> None: ...


@dataclass(frozen=True)
class TrainingEnd:
    """Where training stopped: the step, the training seconds spent and whether the user interrupted it."""

    step: int
    seconds: float
    interrupted: bool


class Trainer:
    """Runs a task to its budget inside a run folder.

    `seconds` counts training steps alone: not reading, previews, checkpoints or exports.
    """

    def __init__(self, task: Task, settings: TrainSettings, horizon: int, run: RunFolder) -> None:
        self.task, self.settings, self.run = task, settings, run
        self.pace = Schedule.parse(settings.pace) if settings.pace else Schedule([(0, 0.0, 1 / horizon)])
        self.step, self.seconds = 0, 0.0
        self._replanned = (0, 0.0)

    def resume(self) -> None:
        """Takes over the last checkpoint of the run folder and forgets what the log says of later steps."""
        tensors, facts = self.run.load_checkpoint()
        self.task.load_state(tensors)
        self.step, self.seconds = facts["step"], facts["seconds"]
        self.pace = Schedule.parse(facts["pace"])
        self._replanned = (self.step, self.seconds)
        self.run.truncate_log(self.step)
        self.run.remove_leftovers()

    def save(self) -> None:
        """Writes a checkpoint."""
        facts = {"step": self.step, "seconds": self.seconds, "pace": self.pace.text()}
        self.run.save_checkpoint(self.task.state(), facts)

    def run_to_budget(self, preview: Callable[[int], float | None]) -> TrainingEnd:
        """Trains until a budget ends or the user interrupts; saves at the end in both cases.

        preview: step -> the figure of a validation that it makes, or None.
        """
        with _Interruption() as interruption, _Display(self.task, self.settings, self.step, self.seconds) as display:
            if self.step == 0:
                self.save()
            saved = previewed = shown = self.seconds
            while not (self._budget_spent() or interruption.asked):
                display.add(self._timed_step())
                if self.seconds - shown >= SHOW_SECONDS or self._budget_spent():
                    shown = self.seconds
                    self.run.append_log(display.show(self.step, self.seconds, self.pace.progress(self.step)))
                if self.seconds - saved >= self.settings.checkpoint_seconds:
                    saved = self.seconds
                    self.save()
                if 0 < self.settings.preview_seconds <= self.seconds - previewed:
                    previewed = self.seconds
                    display.validation = preview(self.step)
            self.save()
        return TrainingEnd(self.step, self.seconds, interruption.asked)

    def _budget_spent(self) -> bool:
        settings = self.settings
        return (0 < settings.steps <= self.step) or (0 < settings.max_seconds <= self.seconds)

    def _timed_step(self) -> Report:
        start = time.perf_counter()
        report = self.task.train_step(self.step, self.pace.progress(self.step))
        self.seconds += time.perf_counter() - start
        self.step += 1
        since_step, since = self._replanned
        if self.settings.max_seconds > 0 and not self.settings.pace and self.seconds - since >= REPLAN_SECONDS:
            rate = (self.step - since_step) / (self.seconds - since)
            self.pace.replan(self.step, rate * (self.settings.max_seconds - self.seconds))
            self._replanned = (self.step, self.seconds)
        return report


class _Interruption:
    """Turns Ctrl-C and SIGTERM into a wish to stop after the step in hand; a second Ctrl-C stops at once."""

    asked = False

    def __enter__(self) -> _Interruption:
        self._before = {number: signal.signal(number, self._ask) for number in (signal.SIGINT, signal.SIGTERM)}
        return self

    def _ask(self, number: int, frame: object) -> None:
        if self.asked:
            raise KeyboardInterrupt
        self.asked = True

    def __exit__(self, *error: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)


class _Display:
    """The progress bar, and the means over steps between two of its updates."""

    def __init__(self, task: Task, settings: TrainSettings, step: int, seconds: float) -> None:
        self.task, self.settings, self.validation = task, settings, None
        self.by_clock = settings.max_seconds > 0
        self.start = seconds if self.by_clock else step
        self._clear(seconds)

    def __enter__(self) -> _Display:
        from tqdm import tqdm

        if self.by_clock:
            form = "{desc}: {percentage:3.0f}%|{bar}| {n:.0f}/{total:.0f} s{postfix}"
            self.bar = tqdm(total=self.settings.max_seconds, initial=self.start, desc="training", bar_format=form)
        else:
            self.bar = tqdm(total=self.settings.steps, initial=self.start, desc="training", unit="step")
        return self

    def __exit__(self, *error: object) -> None:
        self.bar.close()

    def _clear(self, seconds: float) -> None:
        self.error, self.rays, self.samples, self.steps, self.since = 0.0, 0, 0, 0, seconds

    def add(self, report: Report) -> None:
        self.error += report.error
        self.rays += report.rays
        self.samples += report.samples
        self.steps += 1

    def show(self, step: int, seconds: float, progress: float) -> dict[str, float]:
        """Moves the bar and returns a line for the log; the means are over the steps since the last one."""
        steps, spent = max(self.steps, 1), max(seconds - self.since, 1e-9)
        error = max(self.error / steps, 1e-12)
        line = {
            "step": step,
            "seconds": round(seconds, 3),
            "progress": round(progress, 6),
            self.task.figure: round(-10 * math.log10(error), 3),
            "rays_per_second": round(self.rays / spent),
            "samples_per_second": round(self.samples / spent),
        }
        figure, counted = self.task.figure, self.task.counted
        words = {figure: f"{line[figure]:.2f}", f"{counted}/s": f"{line[f'{counted}_per_second'] / 1e3:.1f}k"}
        if self.validation is not None:
            words["val"] = f"{self.validation:.2f}"
        self.bar.set_postfix(words, refresh=False)
        done = min(seconds, self.settings.max_seconds) if self.by_clock else step
        self.bar.update(done - self.bar.n)
        self._clear(seconds)
        return line


@dataclass(frozen=True)
class StepReport:
    """What one training step did. error: mean squared colour error over whole pictures, as the loss sees it."""

    error: float
    rays: int
    samples: int
