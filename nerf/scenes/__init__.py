"""From a name or a folder to a `Scene`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from nerf.config import SceneSettings
from nerf.errors import InputError, nearest
from nerf.scenes.blender import is_blender, load_blender
from nerf.scenes.captures import scene_of
from nerf.scenes.colmap import find_model, load_colmap
from nerf.scenes.llff import is_llff, load_llff
from nerf.scenes.scene import Scene, Views
from nerf.scenes.sfm import find_poses, is_photos
from nerf.scenes.transforms import is_transforms, load_transforms

BUILTIN = "lego"  # the name under which the built-in scene is written


@dataclass(frozen=True)
class SceneFolder:
    """Where a scene lies and why that folder was taken."""

    name: str
    folder: Path
    why: str


def find_scene(name: str, data: Path = Path("data")) -> SceneFolder:
    """Returns the folder that `name` stands for: an existing path, a folder under `data`, or the built-in scene.

    The built-in scene is written on first use, under ``data/<name>``. A data set put there or under
    ``data/nerf_synthetic/<name>`` is taken as it is, and before the built-in scene.

    Raises:
        InputError: nothing is found under the name.
    """
    if Path(name).is_dir():
        folder = Path(name)
        return SceneFolder(folder.resolve().name, folder, "the folder given")
    found = [folder for folder in (data / name, data / "nerf_synthetic" / name) if folder.is_dir()]
    for folder in sorted(found, key=_is_builtin):
        why = "the built-in scene" if _is_builtin(folder) else f"found under {folder.parent}"
        return SceneFolder(name, folder, why)
    if name == BUILTIN:
        from nerf.scenes.builtin import write_builtin_scene

        folder = data / name
        try:
            folder.parent.mkdir(parents=True, exist_ok=True)
            write_builtin_scene(folder)
        except OSError as error:
            raise InputError(f"{folder}: the built-in scene cannot be written ({error.strerror})") from None
        return SceneFolder(name, folder, "the built-in scene, written now")
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


def formats(folder: Path) -> list[str]:
    """Returns the formats that a folder holds, the one to take first; "photos" only if nothing has poses."""
    holds = {
        "blender": is_blender(folder),
        "transforms": is_transforms(folder),
        "colmap": find_model(folder) is not None,
        "llff": is_llff(folder),
    }
    found = [name for name, held in holds.items() if held]
    return found or ["photos"] * is_photos(folder)


def has_photographs(folder: Path) -> bool:
    """Returns whether what is read from a folder by default are photographs, not renders."""
    return formats(folder)[:1] not in ([], ["blender"])


def load_scene(place: SceneFolder, splits: tuple[str, ...], settings: SceneSettings) -> Scene:
    """Returns the scene with the splits asked for that it has; "train" it must have.

    Raises:
        InputError: the folder holds no known format, or a file of it is missing or damaged.
    """
    folder = place.folder
    found = formats(folder)
    kind = settings.format if settings.format != "auto" else (found or [""])[0]
    if kind not in found:
        expected = "a COLMAP model, transforms.json, poses_bounds.npy, transforms_train.json or photographs"
        has = f"has {', '.join(found)}, not {kind}" if found else f"nothing to learn from; expected {expected}"
        raise InputError(f"{folder}: {has} (see data/README.md)")
    also = [f"the folder also has {', '.join(found[1:])}: scene.format=... chooses"] if kind == found[0] else []
    if kind == "blender":
        there = [split for split in splits if split != "val" or (folder / "transforms_val.json").is_file()]
        return Scene(kind, {split: load_blender(folder, split, settings.downscale) for split in there})
    notes = find_poses(folder) if kind == "photos" else []
    if kind == "transforms":
        capture, downscale = load_transforms(folder), settings.downscale
    else:
        capture, downscale = (load_llff if kind == "llff" else load_colmap)(folder, settings.downscale)
    capture.notes[:] = notes + capture.notes + (also if len(found) > 1 else [])
    return scene_of(capture, splits, downscale, settings.holdout)


__all__ = ["BUILTIN", "SceneFolder", "Scene", "Views", "find_scene", "formats", "has_photographs", "load_scene"]
