"""What `nerf train` decides before anything is read: settings, the scene's folder, the run folder."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from nerf.backends.choice import Backend
from nerf.config import PLACE, Settings, read_settings
from nerf.errors import InputError
from nerf.fields.table import check_field
from nerf.meshing.mesh_files import check_mesh_file
from nerf.report import say
from nerf.runs import RunFolder
from nerf.scenes import check_format, find_scene
from nerf.training.observers import Observer
from nerf.training.trainer import TrainingEnd
from nerf.video.writer import check_video_file
from nerf.workflows.reconstruct import reconstruct
from nerf.workflows.run_settings import resumed_settings, settings_of_scene, writable


@dataclass(frozen=True)
class TrainRequest:
    """What is to be trained on, where, and how."""

    scene: str  # a folder, or a name under data/; lego is built in
    out: Path | None = None  # the run folder; runs/<scene> if None
    config: Path | None = None  # YAML file with settings that differ from the defaults
    settings: tuple[str, ...] = ()  # section.name=value, over those of the file
    resume: bool = False  # go on from the last checkpoint of the run folder

    @property
    def run(self) -> RunFolder:
        """The run folder."""
        name = Path(self.scene).resolve().name if Path(self.scene).is_dir() else self.scene
        return RunFolder(self.out or Path("runs") / name)


def train(request: TrainRequest, backend: Backend, observers: Sequence[Observer] = ()) -> TrainingEnd:
    """Trains on a scene, then writes the film and the mesh that its settings ask for.

    observers: who is told of the training beside the log.

    Raises:
        InputError: a setting, the scene or the run folder will not do, or the training diverges.
    """
    run = request.run
    settings = read_settings(request.config, request.settings)
    check_format(settings.scene.format)
    check_field(settings.field.kind)
    if request.resume:
        settings = resumed_settings(run, settings, request.settings, request.config)

    with writable(run.path):
        _check_outputs(settings, run)
        folder = find_scene(request.scene)
        goes_on = request.resume and (run.path / "settings.yaml").is_file()
        if not goes_on:
            settings, ground = settings_of_scene(folder.folder, request.config, request.settings)
            if ground == PLACE:
                say("settings", "settings: the defaults for photographs (see nerf train --help)")
        return reconstruct(run, folder, settings, backend, resume=request.resume, observers=observers)


def _check_outputs(settings: Settings, run: RunFolder) -> None:
    """Refuses bad names of films and meshes before the work, not after it."""
    for name, check in ((settings.output.video, check_video_file), (settings.output.mesh, check_mesh_file)):
        if name:
            if Path(name).name != name:
                raise InputError(f'output: "{name}" is not a bare file name; it is written into the run folder')
            check(run.path / name)
