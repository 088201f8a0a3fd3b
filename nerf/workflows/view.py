"""A run shown in a browser: what `nerf view` does, and `nerf train --view --stay` after the training."""

from __future__ import annotations

import threading
from contextlib import suppress
from pathlib import Path

from torch import Tensor

from nerf.color import BACKGROUNDS
from nerf.errors import InputError
from nerf.geometry.cameras import Cameras
from nerf.geometry.up import find_up
from nerf.rendering.witnesses import without_clouds
from nerf.report import say
from nerf.scenes import Scene
from nerf.video.keyframes import read_keys, track_file
from nerf.viewer.asked import cameras_of
from nerf.viewer.jobs import Jobs
from nerf.viewer.live import LiveView, Shown
from nerf.viewer.watching import say_address, serve
from nerf.workflows.recorded import recorded_scene, scene_at
from nerf.workflows.trained import TrainedRun, open_run


class _Recorded:
    """The scene that a run learned from, read when something of it is first asked for."""

    def __init__(self, run: TrainedRun, folder: Path | None) -> None:
        self._run = run
        self._folder = folder
        self._lock = threading.Lock()
        self._read: Scene | InputError | None = None

    def picture(self, frame: int) -> Tensor:
        """Returns a picture.

        Raises:
            InputError: they are not where the run's record says.
        """
        return self._scene().splits["train"].picture(frame, self._run.settings.scene.background)

    def points(self) -> Tensor | None:
        """Returns the sparse points (N, 3) of the scene, if it has some; likewise."""
        return self._scene().points

    def _scene(self) -> Scene:
        with self._lock:  # they are read once, whoever asks
            if self._read is None:
                try:
                    self._read = self._found()
                except InputError as error:
                    self._read = error
        if isinstance(self._read, InputError):
            raise self._read
        return self._read

    def _found(self) -> Scene:
        run = self._run
        if self._folder is None:
            return recorded_scene(run, ("train",), "say where it is with --scene FOLDER")
        scene = scene_at(run, self._folder, ("train",))
        if list(scene.splits["train"].names) != run.record["views"]:
            raise InputError(f"{self._folder}: not the pictures that {run.folder.path} was trained on")
        return scene


def view(run: TrainedRun, folder: Path | None, host: str, port: int) -> None:
    """Shows a run to browsers until Ctrl-C.

    folder: of the scene, if it has moved since the training.

    Raises:
        InputError: nobody can listen there.
    """
    model = without_clouds(run.model, run.cameras)[0]
    recorded = _Recorded(run, folder)
    shown = Shown(
        run.folder.path.name,
        run.folder.path,
        run.cameras,
        run.record["views"],
        find_up(run.cameras, run.floor).direction,
        recorded.picture,
        BACKGROUNDS[run.settings.scene.background],
        _film_track(run),
        recorded.points,
    )

    live = LiveView(shown, {}, host, port)
    live.curve = run.folder.curve()
    live.jobs = Jobs(live.server.tell)
    say_address(live, run.folder.path)
    say("view", "view: Ctrl-C ends it")
    with suppress(KeyboardInterrupt):
        try:
            serve(live, model, run.facts["step"])
        finally:
            live.close()


def stay(live: LiveView, path: Path, backend: str) -> None:
    """Goes on showing a training that has ended, with the run that it left, until Ctrl-C."""
    run = open_run(path, backend)
    live.jobs = Jobs(live.server.tell)
    say("view", f"view: {live.server.address} goes on; Ctrl-C ends it")
    with suppress(KeyboardInterrupt):
        serve(live, without_clouds(run.model, run.cameras)[0], run.facts["step"])


def _film_track(run: TrainedRun) -> Cameras | None:
    """Returns the path of the film that the run has, if it has one."""
    file = track_file(run.folder.path / (run.settings.output.video or "orbit.mp4"))
    if not file.is_file():
        return None
    try:
        keys = read_keys(file, run.cameras, find_up(run.cameras).direction)
    except InputError:
        return None
    return cameras_of(keys)
