"""How a run is begun: its settings are a scene's, its folder can be written to, and what goes on keeps its settings."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from nerf.config import Settings, default_settings, read_settings, settings_from_dict
from nerf.errors import InputError
from nerf.runs import RunFolder
from nerf.scenes import ground_of
from nerf.text import short

# Values that a run replaces by what its capture decided.
_LEFT_TO_CAPTURE: dict[str, object] = {"render.steps": 0, "scene.orientation": "auto"}


def settings_of_scene(folder: Path, config: Path | None, asked: Sequence[str]) -> tuple[Settings, str]:
    """Returns the settings of a file and of words, over the defaults for the pictures in a folder; and their ground.

    The ground is what is behind the thing, see `nerf.scenes.scene.Scene`.

    Raises:
        InputError: a setting is not known, or a file of the scene is damaged.
    """
    ground = ground_of(folder, read_settings(config, asked).scene.format)
    return read_settings(config, asked, default_settings(ground)), ground


def resumed_settings(run: RunFolder, asked_for: Any, asked: Sequence[str], config: Path | None) -> Any:
    """Returns the settings of the run, with new budgets and outputs if the user names them.

    Raises:
        InputError: another setting would change, and the run would become something that nobody trained.
    """
    if not run.path.is_dir():
        raise InputError(f"{run.path}: no such run folder to resume; name the right one with --out")
    if not (run.path / "settings.yaml").is_file():
        return asked_for

    saved = run.load_settings(type(asked_for)())
    named = {word.partition("=")[0] for word in asked}
    if config is not None:
        named |= {f"{section}.{name}" for section, values in asked_for.to_dict().items() for name in values}

    # What was named and differs from the run's is a change, if it is free to change.
    free = ("train.steps", "train.max_seconds", "train.checkpoint_seconds", "train.preview_seconds", "output.")
    changes: dict[str, dict[str, object]] = {}
    for section, values in asked_for.to_dict().items():
        for name, value in values.items():
            setting = f"{section}.{name}"
            old = saved.to_dict()[section][name]
            if setting not in named or value in (old, _LEFT_TO_CAPTURE.get(setting)):
                continue
            if not setting.startswith(free):
                raise InputError(
                    f"--resume: {setting} is {short(old)} in {run.path}, not {short(value)}; start a new run with --out"
                )
            changes.setdefault(section, {})[name] = value
    return settings_from_dict(changes, "--resume", saved)


@contextmanager
def writable(folder: Path) -> Iterator[None]:
    """Makes a run folder, tries to write to it, and holds it; one that stays empty, after an error, is removed again.

    Raises:
        InputError: the folder cannot be written to, or another process writes into it.
    """
    probe = folder / f".probe-{os.getpid()}"
    try:
        if Path.cwd().is_relative_to(folder.resolve()):
            raise InputError(f"{folder}: contains the current folder; give --out a folder for the run alone")
        if folder.exists() and not folder.is_dir():
            raise InputError(f"{folder}: is a file; give --out a folder")
        folder.mkdir(parents=True, exist_ok=True)
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise InputError(f"{folder}: cannot be written ({error.strerror}); choose another folder with --out") from None
    try:
        with RunFolder(folder).held():
            yield
    finally:
        if folder.is_dir() and not any(folder.iterdir()):
            folder.rmdir()
