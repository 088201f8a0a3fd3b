"""From a name or a folder to a `Scene`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from nerf.errors import InputError, nearest
from nerf.scenes.blender import is_blender, load_blender
from nerf.scenes.scene import Scene, Views

BUILTIN = "lego"  # the name under which the built-in scene is written


@dataclass(frozen=True)
class Place:
    """Where a scene lies and why that folder was taken."""

    name: str
    folder: Path
    why: str


def find_scene(name: str, data: Path = Path("data")) -> Place:
    """Returns the folder that `name` stands for: an existing path, a folder under `data`, or the built-in scene.

    The built-in scene is written on first use, under ``data/<name>``. A data set put there or under
    ``data/nerf_synthetic/<name>`` is taken as it is, and before the built-in scene.

    Raises:
        InputError: nothing is found under the name.
    """
    if Path(name).is_dir():
        folder = Path(name)
        return Place(folder.resolve().name, folder, "the folder given")
    found = [folder for folder in (data / name, data / "nerf_synthetic" / name) if folder.is_dir()]
    for folder in sorted(found, key=_is_builtin):
        why = "the built-in scene" if _is_builtin(folder) else f"found under {folder.parent}"
        return Place(name, folder, why)
    if name == BUILTIN:
        from nerf.scenes.builtin import write_builtin_scene

        folder = data / name
        try:
            folder.parent.mkdir(parents=True, exist_ok=True)
            write_builtin_scene(folder)
        except OSError as error:
            raise InputError(f"{folder}: the built-in scene cannot be written ({error.strerror})") from None
        return Place(name, folder, "the built-in scene, written now")
    if Path(name).exists():
        raise InputError(f"{name}: a file; give --scene the folder it lies in")
    known = [
        folder.name
        for parent in (data, data / "nerf_synthetic")
        if parent.is_dir()
        for folder in parent.iterdir()
        if folder.is_dir()
    ]
    raise InputError(f'--scene "{name}": no such folder, and nothing under {data}{nearest(name, {BUILTIN, *known})}')


def _is_builtin(folder: Path) -> bool:
    """Returns whether a folder holds the built-in scene rather than somebody's data, which is taken first."""
    return (folder / "ground_truth").is_dir() and (folder / "README.txt").is_file()


def load_scene(place: Place, splits: tuple[str, ...], downscale: int = 1) -> Scene:
    """Returns the scene with the splits asked for.

    Raises:
        InputError: the folder holds no known format, or a file of it is missing or damaged.
    """
    folder = place.folder
    if not is_blender(folder):
        raise InputError(
            f"{folder}: no transforms_train.json in it; expected a scene in Blender format (see data/README.md)"
        )
    return Scene("blender", {split: load_blender(folder, split, downscale) for split in splits})


__all__ = ["BUILTIN", "Place", "Scene", "Views", "find_scene", "load_scene"]
