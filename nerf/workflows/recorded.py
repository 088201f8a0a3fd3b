"""The scene that a run's record names: a stranger may have written the record, so that a folder is held against it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from nerf.errors import InputError
from nerf.runs import RunFolder
from nerf.scenes import Scene, SceneFolder, Views, load_scene
from nerf.workflows.trained import TrainedRun


def shows_the_same(run: RunFolder, views: Views) -> bool:
    """Returns whether training views are those of a run: by their names, and their cameras as they were given."""
    record, cameras = run.load_scene()
    same_names = record["views"] == list(views.names) and cameras.origin == views.cameras.origin
    return same_names and torch.equal(cameras.world_from_camera, views.cameras.world_from_camera)


def known_files(record: dict[str, Any]) -> list[str] | None:
    """Returns the paths of the pictures' files that a run's record has; None of older runs and of some formats."""
    files = record.get("files")
    whole = isinstance(files, list) and len(files) == len(record["views"]) and all(isinstance(f, str) for f in files)
    return files if whole else None


def recorded_scene(run: TrainedRun, splits: tuple[str, ...], mend: str) -> Scene:
    """Returns the splits that the scene of a run's record has, which nothing is written into.

    Its training pictures are read, too: by them it is known that the folder is the run's, not just any of this machine.

    mend: how an error's sentence ends.

    Raises:
        InputError: the folder is not there, has no poses, or holds another scene.
    """
    folder = Path(run.record["folder"])
    if not folder.is_dir():
        raise InputError(f"{folder}: the scene that {run.folder.path} was trained on is no longer there; {mend}")
    scene = load_scene(_folder(run, folder), tuple({"train": 0, **dict.fromkeys(splits)}), run.settings.scene, False)
    if not shows_the_same(run.folder, scene.splits["train"]):
        raise InputError(f"{folder}: not the pictures and poses that {run.folder.path} was trained on; {mend}")
    return scene


def scene_at(run: TrainedRun, folder: Path, splits: tuple[str, ...]) -> Scene:
    """Returns the splits that the scene in a folder has, which the user names in place of the recorded one.

    Raises:
        InputError: the folder holds no scene, or one without poses.
    """
    return load_scene(_folder(run, folder), splits, run.settings.scene, False)


def _folder(run: TrainedRun, folder: Path) -> SceneFolder:
    return SceneFolder(run.record["name"], folder, "")
