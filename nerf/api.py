"""The public face: what an application calls. Every name here is offered as ``nerf.<name>``; the rest is private.

Settings are given by their names, ``{"train.steps": 300, "field.levels": 12}``, as on the command line. What a run says
goes to standard output unless it is called inside ``nerf.silence()``; ``nerf.listen`` hears it, too.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from nerf.backends.choice import choose_backend
from nerf.config import default_settings, read_settings
from nerf.errors import InputError as InputError
from nerf.exporters.context import ExportRequest
from nerf.fields.coordinate import CoordinateField
from nerf.geometry.scene_box import CropBox
from nerf.memory import use_huge_pages
from nerf.meshing.surface import SurfaceRequest as SurfaceRequest
from nerf.report import listen as listen
from nerf.report import say
from nerf.report import silence as silence
from nerf.runs import RunFolder
from nerf.scenes import Scene, find_scene, ground_of
from nerf.scenes import load_scene as _load_scene
from nerf.signals.registry import signal_class
from nerf.signals.settings import read_fit_settings
from nerf.signals.signal import Signal
from nerf.training.observers import Observer, ProgressBar
from nerf.video.plan import FilmRequest
from nerf.workflows import evaluate as _evaluate
from nerf.workflows import export as _export
from nerf.workflows import film as _film
from nerf.workflows import fit as _fit
from nerf.workflows import train as _train
from nerf.workflows import trained as _trained
from nerf.workflows.run_settings import writable
from nerf.workflows.trained import TrainedRun


def _words(settings: Mapping[str, object] | None) -> tuple[str, ...]:
    return tuple(f"{name}={value}" for name, value in (settings or {}).items())


def load_scene(
    scene: str | Path, splits: Sequence[str] = ("train", "val", "test"), settings: Mapping[str, object] | None = None
) -> Scene:
    """Returns the pictures and cameras of a scene, by split.

    scene: a folder in any format that ``nerf train`` reads, or a name under ``data/``; "lego" is built in.

    Raises:
        InputError: the scene is not there, or a file of it is missing or damaged.
    """
    use_huge_pages()
    folder = find_scene(str(scene))
    base = default_settings(ground_of(folder.folder))
    return _load_scene(folder, tuple(splits), read_settings(None, _words(settings), base).scene)


def train(
    scene: str | Path,
    out: str | Path | None = None,
    *,
    settings: Mapping[str, object] | None = None,
    config: str | Path | None = None,
    backend: str = "auto",
    resume: bool = False,
    progress: bool = True,
    observers: Sequence[Observer] = (),
) -> TrainedRun:
    """Trains on a scene and returns the run; film and mesh are written as the settings ``output.*`` say.

    Args:
        scene: see `load_scene`.
        out: the run folder; ``runs/<scene>`` if None.
        settings: by name, for example ``{"train.steps": 300, "output.video": ""}``.
        config: a YAML file of settings, under those given by name.
        backend: auto, native, cuda, tcnn or reference.
        resume: go on from the last checkpoint of the run folder.
        progress: whether a bar on standard error shows how far the training is.
        observers: who is told of the training; see `Observer`.

    Raises:
        InputError: a setting, the scene or the folder will not do, or the training diverges.
    """
    use_huge_pages()
    request = _train.TrainRequest(
        scene=str(scene),
        out=None if out is None else Path(out),
        config=None if config is None else Path(config),
        settings=_words(settings),
        resume=resume,
    )
    watching = [ProgressBar(), *observers] if progress else observers
    _train.train(request, choose_backend(backend), watching)
    return open_run(request.run.path, backend)


def open_run(run: str | Path, backend: str = "auto") -> TrainedRun:
    """Returns the run in a folder: its model, settings and cameras. Needs no pictures.

    Raises:
        InputError: the folder holds no whole run.
    """
    use_huge_pages()
    return _trained.open_run(Path(run), backend)


def render(run: TrainedRun, file: str | Path, request: FilmRequest | None = None, crop: CropBox | None = None) -> None:
    """Writes a film of a run: .mp4, .webm, .mov, .gif, or a folder of PNG pictures.

    request: path, frames, size and the like; 90 frames of the size of the pictures if None.

    Raises:
        InputError: the request does not suit the run, or the file cannot be written.
    """
    say("film", _film.film(run, Path(file), request or FilmRequest(), crop))


def export(run: TrainedRun, request: ExportRequest) -> None:
    """Writes what other programs read: meshes, points, depth maps, cameras, each under the name in `request.outputs`.

    Raises:
        InputError: an output could not be written; the others were.
    """
    request = replace(request, outputs={name: Path(path) for name, path in request.outputs.items()})
    _export.check_outputs(request)
    _export.export(run, request)


def evaluate(run: TrainedRun, split: str = "test", scene: str | Path | None = None) -> dict[str, Any]:
    """Returns the scores of a run on held-out views, and writes them and the pictures into its folder.

    scene: where the scene is, if it has moved since the training.

    Raises:
        InputError: the scene is not there, or has no such split.
    """
    folder = find_scene(str(scene)).folder if scene else None
    return _evaluate.evaluate(run, folder, split)


def fit(
    signal: str,
    file: str | Path,
    out: str | Path | None = None,
    *,
    settings: Mapping[str, object] | None = None,
    backend: str = "auto",
) -> tuple[Signal, CoordinateField]:
    """Fits a field to a file and returns the signal and the field, a function of position.

    signal: image, video, audio, sdf, tomography or mri. out: the run folder; ``runs/<name of the file>`` if None.

    Raises:
        InputError: the file cannot be read or does not fit the memory, or the training diverges.
    """
    use_huge_pages()
    run = RunFolder(Path("runs") / Path(file).stem if out is None else Path(out))
    chosen = choose_backend(backend, "cpu")
    made = read_fit_settings(None, _words(settings), signal_class(signal).defaults)
    with writable(run.path):
        _fit.fit(run, _fit.Source(signal, Path(file)), made, chosen, resume=False)
    return open_fit(run.path, backend)


def open_fit(run: str | Path, backend: str = "auto") -> tuple[Signal, CoordinateField]:
    """Returns the signal of a fitted run, without its samples, and its field.

    Raises:
        InputError: the folder holds no whole fit.
    """
    use_huge_pages()
    return _fit.open_fit(RunFolder(Path(run)), choose_backend(backend, "cpu"))
