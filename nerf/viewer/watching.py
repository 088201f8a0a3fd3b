"""A training that browsers may watch: an observer that shows it between its steps, and changes none of its bits."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, cast

from torch import Tensor

from nerf.color import BACKGROUNDS
from nerf.errors import InputError
from nerf.geometry.up import find_up
from nerf.rendering.model import RadianceModel
from nerf.report import say
from nerf.training.observers import Observer
from nerf.training.weight_average import WeightAverage
from nerf.viewer.live import LiveView, Shown
from nerf.viewer.shader import browser_field

if TYPE_CHECKING:
    from nerf.scenes import Scene
    from nerf.training.radiance import RadianceTask
    from nerf.training.trainer import Figures, Trainer, TrainingEnd

SHARE = 0.05  # of a training's time that showing it may take
COSTS = {"picture": 0.01, "field": 0.15, "score": 0.05}  # seconds that work is thought to take before it was done
IDLE = 1.0  # seconds between looks whether Ctrl-C was pressed, while nobody asks
PAUSE = 0.2  # seconds after which a paused training looks whether it is to end


class TrainingView(Observer):
    """Shows a training to browsers, in at most SHARE of its time. Without a visitor it costs nothing.

    What is shown is the weight average, as it would be saved. `live` is there once the training has begun, and stays
    after it has ended, until `close`.
    """

    live: LiveView | None = None
    stopped = False  # by a visitor
    _points: Tensor | None = None  # sparse ones, of the scene

    def __init__(self, host: str, port: int) -> None:
        self._host = host
        self._port = port
        self._paused = False
        self._to_save = False
        self._spent = 0.0  # seconds
        self._costs = dict(COSTS)  # seconds, as they were last
        self._model: RadianceModel | None = None
        self._averaged_at = 0  # the step after which the weight average was last another one
        self._model_at = -1  # that step, of the model

    def read(self, scene: Scene) -> None:
        self._points = scene.points

    def begun(self, trainer: Trainer) -> None:
        self._trainer = trainer
        self._task = cast("RadianceTask", trainer.task)
        self._averaged_at = trainer.step
        views = self._task.views

        def photograph(frame: int) -> Tensor:
            return views.picture(frame, self._task.settings.scene.background)

        browser_field(self._task.averaged())  # refused now if no browser can evaluate it
        up = find_up(views.cameras).direction
        ground = BACKGROUNDS[self._task.settings.scene.background]
        shown = Shown(trainer.run.path.name, trainer.run.path, views.cameras, views.names, up, photograph, ground)
        shown = replace(shown, points=lambda: self._points)
        controls = {"pause": self._pause, "resume": self._resume, "save": self._save, "stop": self._stop}
        self.live = LiveView(shown, controls, self._host, self._port)
        say_address(self.live, Path(trainer.run.path))

    def stepped(self, step: int, report: object) -> None:
        live = self.live
        assert live is not None
        if WeightAverage.due(step):
            self._averaged_at = step
        while True:
            if self._to_save:
                self._to_save = False
                try:
                    self._trainer.save()
                except InputError as error:  # what a visitor wishes ends no training
                    live.server.tell({"error": str(error)})
            kind = live.wanted(self._averaged_at)
            if kind and (self._paused or self._spent + self._costs[kind] <= SHARE * self._trainer.seconds):
                self._work(live, kind)
            if not self._paused or self._trainer.stopping:
                return
            live.wait(PAUSE, self._averaged_at)

    def _work(self, live: LiveView, kind: str) -> None:
        start = time.perf_counter()
        live.work(self._averaged, self._averaged_at)
        cost = time.perf_counter() - start
        self._costs[kind] = cost
        if not self._paused:
            self._spent += cost

    def _averaged(self) -> RadianceModel:
        """Returns the weight average as it is now."""
        if self._model is None or self._model_at != self._averaged_at:
            self._model = self._task.averaged(self._model)
            self._model_at = self._averaged_at
        return self._model

    def figures(self, figures: Figures) -> None:
        assert self.live is not None
        self.live.figure(figures.step, figures.value, figures.name)
        self.live.tell({"seconds": round(figures.seconds, 1), "progress": round(figures.progress, 4)})

    def saved(self, step: int) -> None:
        if self.live is not None:
            self.live.tell({"saved": step})

    def ended(self, end: TrainingEnd) -> None:
        assert self.live is not None
        self.live.controls.clear()
        self.live.tell({"phase": "ended" if end.interrupted else "writing"})
        if self._spent > 0:
            share = self._spent / max(end.seconds, 1e-9)
            say("view", f"view: showing the training took {self._spent:.2f} s, {share:.1%} of its time")

    def close(self) -> None:
        """Ends the showing."""
        if self.live is not None:
            self.live.close()

    # In the threads of visitors: what they do is noted, and done between two steps.

    def _pause(self) -> None:
        self._paused = True
        self._tell("paused")

    def _resume(self) -> None:
        self._paused = False
        self._tell("training")

    def _save(self) -> None:
        self._to_save = True

    def _stop(self) -> None:
        self.stopped = True
        self._trainer.stop()

    def _tell(self, phase: str) -> None:
        if self.live is not None:
            self.live.tell({"phase": phase})


def say_address(live: LiveView, run: Path) -> None:
    """Says what a browser is to open, here and from another machine."""
    server = live.server
    say("view", f"view: {server.address} shows {run}; whoever has the address may watch and change it")
    if server.host in ("127.0.0.1", "localhost", "::1"):
        here = "[::1]" if server.host == "::1" else "127.0.0.1"
        say("view", f"view: from another machine: ssh -C -L {server.port}:{here}:{server.port} THIS-MACHINE")
    else:
        say("view", "warning: view: other machines can reach it, and what is sent is not encrypted")


def serve(live: LiveView, model: RadianceModel, step: int) -> None:
    """Shows a model that does not change any more, until Ctrl-C."""
    live.controls.clear()
    live.changed()
    live.tell({"phase": "done"})
    while True:
        live.wait(IDLE, step)
        if live.wanted(step):
            live.work(lambda: model, step)
