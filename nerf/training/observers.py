"""Who watches a training: the progress bar, the log of the run folder, and whoever adds an observer.

The trainer tells observers what happens and knows none of them. An observer is a subclass of `Observer` that overrides
what it wants to know; it changes nothing, so that a watched training gives the same bits as one that nobody watches.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from nerf.report import progress
from nerf.runs import RunFolder

if TYPE_CHECKING:
    from nerf.scenes import Scene
    from nerf.training.trainer import Figures, StepFigures, Trainer, TrainingEnd


class Observer:
    """What a training tells. Every method may be overridden; none returns anything."""

    def read(self, scene: Scene) -> None:
        """The scene was read; of trainings of radiance fields alone."""

    def begun(self, trainer: Trainer) -> None:
        """The training begins, or goes on, at `trainer.step`: what was told of later steps is to be forgotten.

        `trainer.run.path` is the run folder.
        """

    def stepped(self, step: int, report: StepFigures) -> None:
        """A step was taken; `step` have been taken by now."""

    def figures(self, figures: Figures) -> None:
        """Half a second of training went by: means over the steps since the last figures."""

    def validated(self, step: int, value: float) -> None:
        """A preview was made and scored, in the figure of the task."""

    def saved(self, step: int) -> None:
        """A checkpoint was written."""

    def ended(self, end: TrainingEnd) -> None:
        """The training stopped, its last checkpoint written."""

    def closed(self) -> None:
        """Nothing more will be told, whether the training ended or failed."""


class LogFile(Observer):
    """Writes the figures into the log of a run folder, one JSON object a line."""

    def __init__(self, run: RunFolder) -> None:
        self.run = run

    def figures(self, figures: Figures) -> None:
        self.run.append_log(figures.line())


class ProgressBar(Observer):
    """Shows how far the training is, its figure, and the time left."""

    bar: Any = None
    validation: float | None = None

    def begun(self, trainer: Trainer) -> None:
        settings = trainer.settings
        self.counted = trainer.task.counted
        self.by_clock = settings.max_seconds > 0
        if self.by_clock:
            self.total: float = settings.max_seconds
            form = "{desc}: {percentage:3.0f}%|{bar}| {n:.0f}/{total:.0f} s{postfix}"
            self.bar = progress(title="training", total=self.total, done=trainer.seconds, form=form)
        else:
            self.total = settings.steps or math.inf
            self.bar = progress(title="training", total=settings.steps, done=trainer.step, unit="step")

    def figures(self, figures: Figures) -> None:
        if self.bar is None:
            return
        per_second = figures.rays_per_second if self.counted == "rays" else figures.samples_per_second
        shown = {figures.name: f"{figures.value:.2f}", f"{self.counted}/s": f"{per_second / 1e3:.1f}k"}
        if self.validation is not None:
            shown["val"] = f"{self.validation:.2f}"
        done = figures.seconds if self.by_clock else figures.step
        self.bar.set_postfix(shown, refresh=False)
        self.bar.update(min(done, self.total) - self.bar.n)

    def validated(self, step: int, value: float) -> None:
        self.validation = value

    def closed(self) -> None:
        if self.bar is not None:
            self.bar.close()
