"""Names of pictures: which files of a folder are pictures, which one a name means, and which names may name files."""

from __future__ import annotations

import os
import posixpath
import re
import unicodedata
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from functools import cached_property
from pathlib import Path, PurePosixPath

from nerf.errors import InputError
from nerf.scenes.pictures import SUFFIXES

UNREAD = (
    ".dng", ".cr2", ".cr3", ".nef", ".arw", ".raf", ".orf", ".rw2", ".exr", ".hdr", ".jxl", ".jp2", ".psd",
)  # suffixes of pictures that captures do not read  # fmt: skip
PICTURE_FOLDERS = ("images", "input")
NO_ORIGINALS = re.compile(r"images_\d+|(masks?|depths?|normals?)(_\d+)?|sparse|\..*", re.IGNORECASE)  # folders
DRIVE = re.compile(r"[A-Za-z]:/*")  # how the absolute names of another system begin
LONGEST_NAME = 255  # bytes of the name of a file or folder
MASK_BESIDE = "dynamic_mask_"  # how the name of a mask beside its picture begins (instant-ngp)


def is_picture(path: Path) -> bool:
    """Returns whether a file is a photograph by its name: no mask beside one, none of the system's own files."""
    return path.suffix.lower() in SUFFIXES and not path.name.startswith((".", MASK_BESIDE))


def picture_files(folder: Path, deep: bool = False) -> list[str]:
    """Returns the names of the photographs in a folder, sorted. deep: those of its sub-folders, too."""
    if deep:
        return sorted(path.relative_to(folder).as_posix() for path in files_under(folder) if is_picture(path))
    return sorted(path.name for path in folder.iterdir() if is_picture(path) and path.is_file())


def unread_note(folder: Path, deep: bool = False) -> list[str]:
    """Returns a note on files in a folder that look like pictures and are not read; none if there is no such file."""
    files = files_under(folder) if deep else folder.iterdir()
    names = sorted(path.name for path in files if path.suffix.lower() in UNREAD and not path.name.startswith("."))
    if not names:
        return []
    return [
        f"warning: files that look like pictures and are not read ({len(names)}): {some(names)}; "
        "convert them to JPEG or PNG if they belong to the capture"
    ]


def some(names: Sequence[str], most: int = 4) -> str:
    """Returns names in one line: the first few, and how many more there are."""
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more


def within(folder: Path, file: str) -> str:
    """Returns the path of a picture relative to its scene's folder or, if it lies beside that, to what holds both."""
    parts = PurePosixPath(Path(os.path.relpath(file, folder)).as_posix()).parts
    return PurePosixPath(*(part for part in parts if part != "..")).as_posix()


def files_under(folder: Path, skip: re.Pattern[str] | None = None) -> Iterator[Path]:
    """Yields the files in a folder and its sub-folders, links followed, each folder once.

    skip: names of sub-folders to leave out.
    """
    seen = set()
    for root, folders, files in os.walk(folder, followlinks=True):
        real = os.path.realpath(root)
        if real in seen:
            folders.clear()
            continue

        seen.add(real)
        folders[:] = sorted(name for name in folders if skip is None or not skip.fullmatch(name))
        yield from (Path(root, name) for name in sorted(files))


def key(text: str) -> str:
    """Returns what names have in common that differ in case or in how accents are composed."""
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", text).casefold())


def plain_name(text: str, where: str) -> str:
    """Returns a name that a scene's file holds, with slashes, without ``./``, ``a/..`` and a byte order mark.

    Raises:
        InputError: no file can have it.
    """
    try:
        longest = max(map(len, os.fsencode(text).replace(b"\\", b"/").split(b"/")))
    except UnicodeEncodeError:
        raise InputError(f"{where}: a picture's name has characters that no file name has; rename it") from None
    if "\0" in text:
        raise InputError(f"{where}: a picture's name has a zero byte")
    if longest > LONGEST_NAME:
        raise InputError(f"{where}: a picture's name has {longest} bytes; no file's is longer than {LONGEST_NAME}")
    return posixpath.normpath(text.removeprefix("\ufeff").replace("\\", "/"))


def inside(folder: Path, text: str, where: str) -> Path:
    """Returns the path of a file named in a scene's file. The name counts, not what links of the folder point to.

    Raises:
        InputError: it is no name of a file inside the scene's folder.
    """
    name = plain_name(text, where)
    for root in (folder.absolute(), folder.resolve()):
        if name.startswith(f"{root.as_posix()}/"):
            name = PurePosixPath(name).relative_to(root.as_posix()).as_posix()
    name = DRIVE.sub("", name, count=1) if DRIVE.match(name) else name
    if name.startswith("/") or name.split("/")[0] in ("..", "."):
        raise InputError(
            f'{where}: "{text}" leads out of the scene folder; pictures must lie inside it, named relative to it'
        )
    return folder / text if "\\" in text and (folder / text).is_file() else folder / name


def find_pictures(folder: Path, names: Sequence[str], where: str, moved: bool = True) -> list[Path]:
    """Returns where the pictures lie that a scene's file names; of a missing one, where it should be.

    A name means, in this order: the file of that name; the one that differs in case, in the composition of accents, or
    in a suffix that is missing or another picture format's; where none of the names of one folder is found there, the
    one picture elsewhere whose path ends alike or that lies in the folder of the pictures.

    Args:
        folder: what names are relative to.
        names: as the file has them, with backslashes or slashes.
        where: the file, for messages.
        moved: whether to look elsewhere.

    Raises:
        InputError: a name leads out of the folder, two files fit to one name, or one file to two names.
    """
    paths = [inside(folder, name, where) for name in names]
    claimed = {path for path in paths if path.is_file()}
    shelf = _Shelf(folder, claimed)
    missing = [index for index, path in enumerate(paths) if path not in claimed]
    near = {index: shelf.near(paths[index], names[index], where) for index in missing}

    # A folder that holds some of the pictures named there is where the others are missing.
    held = {path.parent for path in claimed}
    held |= {paths[index].parent for index, path in near.items() if path}
    for index in missing:
        if moved and near[index] is None and paths[index].parent not in held:
            near[index] = shelf.elsewhere(paths[index], names[index], where)

    named: dict[Path, str] = {}
    for index, path in near.items():
        if path is None:
            continue
        other = named.setdefault(path, names[index])
        if other != names[index]:
            raise InputError(f'{where}: "{other}" and "{names[index]}" both fit only to {path}; name them as they are')
        paths[index] = path
    return paths


class _Entries:
    """Some files, by what their names have in common with others."""

    def __init__(self, paths: Sequence[Path]) -> None:
        self.by_name: dict[str, list[Path]] = defaultdict(list)
        self.by_stem: dict[str, list[Path]] = defaultdict(list)  # of pictures
        for path in paths:
            self.by_name[key(path.name)].append(path)
            if is_picture(path):
                self.by_stem[key(path.stem)].append(path)


class _Shelf:
    """The files of a folder among which one is sought that fits to a name."""

    def __init__(self, folder: Path, claimed: set[Path]) -> None:
        """claimed: files that are named exactly, and so are nobody else's."""
        self.folder = folder
        self.claimed = claimed
        self._listed: dict[Path, _Entries] = {}

    def near(self, path: Path, name: str, where: str) -> Path | None:
        """Returns the file in the folder named whose name is nearly that of `path`."""
        folders = [self.folder]
        for part in path.relative_to(self.folder).parts[:-1]:
            folders = [entry for folder in folders for entry in self._list(folder).by_name.get(key(part), [])]
        return self._fitting(path, [self._list(folder) for folder in folders], lambda _: True, (name, where))

    def elsewhere(self, path: Path, name: str, where: str) -> Path | None:
        """Returns the picture in another folder that `path` must mean."""
        parts = path.relative_to(self.folder).parts[:-1]

        def alike(entry: Path) -> bool:
            folders = entry.relative_to(self.folder).parts[:-1]
            least = min(len(folders), len(parts))
            same = [*map(key, folders[len(folders) - least :])] == [*map(key, parts[len(parts) - least :])]
            return same or (len(folders) == 1 and folders[0] in PICTURE_FOLDERS)

        return self._fitting(path, [self._tree], alike, (name, where))

    def _list(self, folder: Path) -> _Entries:
        """Returns what a folder holds."""
        if folder not in self._listed:
            self._listed[folder] = _Entries(sorted(folder.iterdir()) if folder.is_dir() else [])
        return self._listed[folder]

    @cached_property
    def _tree(self) -> _Entries:
        """The pictures in the folder and its sub-folders, but for those that hold shrunk copies, masks and the like."""
        return _Entries([path for path in files_under(self.folder, NO_ORIGINALS) if is_picture(path)])

    def _fitting(
        self, path: Path, entries: Sequence[_Entries], may: Callable[[Path], bool], said: tuple[str, str]
    ) -> Path | None:
        """Returns the one file that fits best to a name; two that fit alike are refused.

        may: whether a file comes into question. said: the name as it is written, and where.
        """
        found = [
            [file for listed in entries for file in listed.by_name.get(key(path.name), [])],
            [file for listed in entries for file in listed.by_stem.get(key(path.name), [])],
            [file for listed in entries for file in listed.by_stem.get(key(path.stem), []) if is_picture(path)],
        ]
        for files in found:
            fitting = [file for file in files if file not in self.claimed and may(file) and file.is_file()]
            if len(fitting) > 1:
                two = " and ".join(file.relative_to(self.folder).as_posix() for file in fitting[:2])
                raise InputError(
                    f'{said[1]}: "{said[0]}" fits to both {two}; name the one that is meant, or remove one'
                )
            if fitting:
                return fitting[0]
        return None


def file_names(names: Sequence[str]) -> tuple[str, ...]:
    """Returns unique words that may name files, from names that may have folders and suffixes.

    A name loses its suffix if it is unique without.
    """
    stems = [Path(name).with_suffix("").as_posix() if Path(name).name else name for name in names]
    return unique_words(stems if len({key(_flat(stem)) for stem in stems}) == len(stems) else names)


def unique_words(names: Sequence[str]) -> tuple[str, ...]:
    """Returns names as words that may name files, made unique by a number at the end where they are not.

    Unique is what stays so without regard to case, and what is not another's name with ``_depth`` at the end, as depth
    maps are called.
    """
    taken: set[str] = set()
    words = []
    for name in map(_flat, names):
        word = name
        number = 1
        while {key(word), key(f"{word}_depth")} & taken:
            number += 1
            word = f"{name}-{number}"
        taken |= {key(word), key(f"{word}_depth")}
        words.append(word)
    return tuple(words)


def _flat(name: str) -> str:
    """Returns a name without folders."""
    return name.replace("\\", "/").removeprefix("./").replace("/", "_")
