"""The training loop: budgets, schedule, checkpoints, previews, interruption. It knows no task or observer by name."""

from __future__ import annotations

import math
import signal
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor

from nerf.config import TrainSettings
from nerf.errors import InputError
from nerf.report import say
from nerf.runs import RunFolder
from nerf.training.observers import Observer
from nerf.training.schedule import Schedule

REPLAN_SECONDS = 0.5  # of training between new plans of the schedule towards max_seconds
SHOW_SECONDS = 0.5  # of training between two figures
SMALLEST_ERROR = 1e-12  # whose logarithm is shown: 120 dB
_HANGUP: signal.Signals | None = getattr(signal, "SIGHUP", None)  # Windows has none


@dataclass(frozen=True)
class StepFigures:
    """What one training step did."""

    error: float  # mean squared error as a part of the signal's peak, over the whole signal
    rays: int
    samples: int


class Task(Protocol):
    """Something that learns. `state` and `load_state` carry every tensor that a step changes."""

    figure: str  # what -10 log10 of the reports' errors is called: psnr or snr
    counted: str  # what the display counts: rays or samples

    def train_step(self, step: int, progress: float) -> StepFigures: ...

    def state(self) -> dict[str, Tensor]: ...

    def load_state(self, tensors: dict[str, Tensor]) -> None: ...


@dataclass(frozen=True)
class TrainingEnd:
    """Where training stopped."""

    step: int
    seconds: float  # of training
    interrupted: bool  # by the user, or by an observer


@dataclass(frozen=True)
class Figures:
    """Where a training is; value, rays and samples are means over the steps since the last figures."""

    step: int
    seconds: float  # of training
    progress: float  # in [0, 1]
    name: str  # of the value: psnr or snr
    value: float  # dB
    rays_per_second: int
    samples_per_second: int

    def line(self) -> dict[str, float]:
        """Returns the figures as the log has them."""
        return {
            "step": self.step,
            "seconds": round(self.seconds, 3),
            "progress": round(self.progress, 6),
            self.name: round(self.value, 3),
            "rays_per_second": self.rays_per_second,
            "samples_per_second": self.samples_per_second,
        }


class Trainer:
    """Runs a task to its budget inside a run folder.

    `seconds` counts training steps alone: not reading, previews, checkpoints or exports.
    """

    def __init__(
        self,
        task: Task,
        settings: TrainSettings,
        horizon: int,
        run: RunFolder,
        observers: Sequence[Observer] = (),
        bits: str = "",
    ) -> None:
        """bits: what decides the bits of the training beside settings and data, see `Backend.bits`."""
        self.task = task
        self.bits = bits
        self.settings = settings
        self.run = run
        self.observers = list(observers)
        self.schedule = Schedule.parse(settings.pace) if settings.pace else Schedule([(0, 0.0, 1 / horizon)])
        self.step = 0
        self.seconds = 0.0
        self._replanned = (0, 0.0)  # step and seconds of the schedule's last plan
        self._stop_asked = False
        self._in_step = False  # the task's state may be half of one step, half of the next
        self._saved = -1  # step of the run folder's checkpoint, if this training wrote or read it

    def resume(self) -> None:
        """Takes over the last checkpoint of the run folder and forgets what the log says of later steps."""
        tensors, facts = self.run.load_checkpoint()
        self.task.load_state(tensors)
        self.step = facts["step"]
        self._saved = self.step
        self.seconds = facts["seconds"]
        self.schedule = Schedule.parse(facts["pace"])
        self._say_other_bits(str(facts.get("bits", self.bits)))
        self._replanned = (self.step, self.seconds)
        self.run.truncate_log(self.step)
        self.run.remove_leftovers()

    def _say_other_bits(self, before: str) -> None:
        """Says so if this training cannot go on with the bits that it would have had uninterrupted."""
        if before == self.bits:
            return
        kind, _, isa = before.partition(" ")
        mend = f"NERF_ISA={isa}" if isa and self.bits.startswith(kind) else f"--backend {kind}"
        say(
            "training", f"trained so far on {before}, now on {self.bits}: it goes on with other bits; {mend} keeps them"
        )

    def save(self) -> None:
        """Writes a checkpoint.

        Raises:
            InputError: the state has numbers that are not finite; the checkpoint before is kept.
        """
        tensors = self.task.state()
        broken = next((name for name, value in tensors.items() if not _is_finite(value)), None)
        if broken is not None:
            kept = f"; --resume goes on from step {self._saved}, which is kept" if self._saved >= 0 else ""
            raise InputError(
                f"training diverged by step {self.step}: {broken} holds numbers that are not finite, and is not "
                f"saved{kept}; train again with a lower optimizer.learning_rate"
            )

        facts = {"step": self.step, "seconds": self.seconds, "pace": self.schedule.text(), "bits": self.bits}
        self.run.save_checkpoint(tensors, facts)
        self._saved = self.step
        for observer in self.observers:
            observer.saved(self.step)

    def stop(self) -> None:
        """Ends the training after the step in hand, as Ctrl-C does: an observer may ask for it."""
        self._stop_asked = True

    @property
    def stopping(self) -> bool:
        """Whether the training ends after the step in hand."""
        return self._stop_asked

    def run_to_budget(self, preview: Callable[[int], float | None]) -> TrainingEnd:
        """Trains until a budget ends or the user interrupts; saves at the end in both cases, and before an error.

        Of an error inside a step the last checkpoint is what is left: half a step is not saved.

        preview: step -> the figure of a validation that it makes, or None.
        """
        begun: list[Observer] = []
        try:
            for observer in self.observers:
                observer.begun(self)
                begun.append(observer)
            with _Interruption(self.stop):
                try:
                    self._train(preview)
                except Exception:
                    self._save_before_error()
                    raise
            end = TrainingEnd(self.step, self.seconds, self._stop_asked)
            for observer in self.observers:
                observer.ended(end)
            return end
        finally:
            for observer in begun:
                observer.closed()

    def _save_before_error(self) -> None:
        """Writes a checkpoint if the state is whole and not yet saved; the error that came first is the one to tell."""
        if not self._in_step and self._saved != self.step:
            with suppress(Exception):
                self.save()

    def _train(self, preview: Callable[[int], float | None]) -> None:
        if self.step == 0:
            self.save()
        window = _Window(self.seconds)
        saved = previewed = self.seconds

        while not (self._budget_spent() or self._stop_asked):
            report = self._timed_step()
            window.add(report)
            for observer in self.observers:
                observer.stepped(self.step, report)

            if self.seconds - window.since >= SHOW_SECONDS or self._budget_spent():
                self._tell(window)
                window = _Window(self.seconds)
            if self.seconds - saved >= self.settings.checkpoint_seconds:
                saved = self.seconds
                self.save()
            if 0 < self.settings.preview_seconds <= self.seconds - previewed:
                previewed = self.seconds
                value = preview(self.step)
                if value is not None:
                    for observer in self.observers:
                        observer.validated(self.step, value)
        self.save()

    def _tell(self, window: _Window) -> None:
        spent = max(self.seconds - window.since, 1e-9)
        error = max(window.error / max(window.steps, 1), SMALLEST_ERROR)
        figures = Figures(
            step=self.step,
            seconds=self.seconds,
            progress=self.schedule.progress(self.step),
            name=self.task.figure,
            value=-10 * math.log10(error),
            rays_per_second=round(window.rays / spent),
            samples_per_second=round(window.samples / spent),
        )
        for observer in self.observers:
            observer.figures(figures)

    def _budget_spent(self) -> bool:
        settings = self.settings
        return (0 < settings.steps <= self.step) or (0 < settings.max_seconds <= self.seconds)

    def _timed_step(self) -> StepFigures:
        self._in_step = True
        start = time.perf_counter()
        report = self.task.train_step(self.step, self.schedule.progress(self.step))
        self.seconds += time.perf_counter() - start
        self.step += 1
        self._in_step = False

        # With a budget of seconds the schedule is planned anew as the speed is seen.
        since_step, since = self._replanned
        if self.settings.max_seconds > 0 and not self.settings.pace and self.seconds - since >= REPLAN_SECONDS:
            rate = (self.step - since_step) / (self.seconds - since)
            self.schedule.replan(self.step, rate * (self.settings.max_seconds - self.seconds))
            self._replanned = (self.step, self.seconds)
        return report


def _is_finite(tensor: Tensor) -> bool:
    """Returns whether every number of a tensor is finite: then so is their sum, which takes no memory."""
    return not tensor.is_floating_point() or math.isfinite(tensor.sum(dtype=torch.float64).item())


class _Window:
    """Sums over the steps since the last figures, which were told at `since` seconds."""

    def __init__(self, since: float) -> None:
        self.since = since
        self.error = 0.0
        self.rays = 0
        self.samples = 0
        self.steps = 0

    def add(self, report: StepFigures) -> None:
        self.error += report.error
        self.rays += report.rays
        self.samples += report.samples
        self.steps += 1


class _Interruption:
    """Turns Ctrl-C, SIGTERM and a closed terminal into a wish to stop after the step in hand.

    A second Ctrl-C stops at once. SIGHUP, which a closing terminal may send twice, never does, and stays ignored where
    it is, as under nohup. Python tells signals to the main thread alone: in another one this does nothing.
    """

    def __init__(self, stop: Callable[[], None]) -> None:
        self._stop = stop
        self._asked = False
        self._before: dict[signal.Signals, Any] = {}

    def __enter__(self) -> _Interruption:
        if threading.current_thread() is threading.main_thread():
            numbers = [signal.SIGINT, signal.SIGTERM]
            if _HANGUP is not None and signal.getsignal(_HANGUP) != signal.SIG_IGN:
                numbers.append(_HANGUP)
            self._before = {number: signal.signal(number, self._ask) for number in numbers}
        return self

    def _ask(self, number: int, frame: object) -> None:
        if self._asked and number != _HANGUP:
            raise KeyboardInterrupt
        self._asked = True
        self._stop()

    def __exit__(self, *error: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
