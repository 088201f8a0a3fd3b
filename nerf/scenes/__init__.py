"""From a name or a folder to a `Scene`."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from nerf.config import SceneSettings
from nerf.errors import InputError, nearest
from nerf.geometry.origin import NO_ORIGIN, Origin, relative
from nerf.scenes.formats import check_format, chosen_format, ground_of, has_poses
from nerf.scenes.picture_names import PICTURE_FOLDERS
from nerf.scenes.scene import Scene, Views

BUILTIN = "lego"  # the name under which the built-in scene is written


@dataclass(frozen=True)
class SceneFolder:
    """The folder of a scene."""

    name: str  # what the user calls the scene
    folder: Path
    why: str  # how the folder was found, as the user is told


def find_scene(name: str, data: Path = Path("data")) -> SceneFolder:
    """Returns the folder that `name` stands for: an existing path, a folder under `data`, or the built-in scene.

    The built-in scene is written on first use, under ``data/<name>``. A data set put there or under
    ``data/nerf_synthetic/<name>`` is taken as it is, and before the built-in scene.

    Raises:
        InputError: nothing is found under the name.
    """
    if Path(name).is_dir():
        folder = Path(name)
        above = folder.resolve().parent
        if folder.resolve().name in PICTURE_FOLDERS and not has_poses(folder) and has_poses(above):
            return SceneFolder(above.name, above, "the folder above the pictures given, which has their poses")
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


def load_scene(
    scene_folder: SceneFolder, splits: tuple[str, ...], settings: SceneSettings, finds_poses: bool = True
) -> Scene:
    """Returns the scene with the splits asked for that it has; "train" it must have.

    finds_poses: whether the poses of bare photographs may be found, which writes into the folder.

    Raises:
        InputError: the folder holds no known format, or a file of it is missing or damaged.
    """
    row, also = chosen_format(scene_folder.folder, settings.format)
    if not (row.poses or finds_poses):
        raise InputError(f"{scene_folder.folder}: photographs without poses, which only nerf train and check find")
    capture = row.open(scene_folder.folder, settings)
    if "train" in splits and "train" not in capture.read:
        raise InputError(f"{scene_folder.folder}: no picture is left to learn from; give scene.holdout=8, or 0")
    views = {split: capture.read[split]() for split in splits if split in capture.read}
    origin = next((each.cameras.origin for each in views.values()), NO_ORIGIN)
    views = {split: replace(each, cameras=each.cameras.about(origin)) for split, each in views.items()}
    points = None if capture.points is None else relative(capture.points, origin)

    found = [_of_split(note, split) for split in views for note in views[split].notes]
    notes = (*capture.notes, *also, *found, *_origin_note(origin))
    return Scene(capture.kind, views, points, notes, row.ground(scene_folder.folder))


def _of_split(note: str, split: str) -> str:
    """Returns a note on a split's pictures that says of which split, if it is not the one that is learned from."""
    warning = "warning: " if note.startswith("warning: ") else ""
    return note if split == "train" else f"{warning}{split} split: {note.removeprefix(warning)}"


def _origin_note(origin: Origin) -> list[str]:
    """Returns what to say of an origin, if there is one."""
    if origin == NO_ORIGIN:
        return []
    place = ", ".join(f"{value:.12g}" for value in origin)
    return [
        f"origin: the cameras stand far from that of their coordinates; computed is from ({place}), which everything "
        "written gets back"
    ]


__all__ = [
    "BUILTIN",
    "Scene",
    "SceneFolder",
    "Views",
    "check_format",
    "find_scene",
    "ground_of",
    "load_scene",
]
