"""Writing files so that a reader sees the old one or the new one, never half of one; reading JSON and YAML."""

from __future__ import annotations

import errno
import json
import math
import os
import platform
import re
import shutil
import stat
import tempfile
import time
import zlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from glob import escape
from pathlib import Path
from typing import Any

from nerf.errors import InputError

BESIDE_READ = 1024
LARGEST_YAML = 2**20  # bytes; settings take a few thousand
MOST_DIGITS = 18  # of a number that is read as a whole one: it fits 64 bits
LEFT_ALONE = 86400.0  # seconds
UNFINISHED = re.compile(r"\.(?:.*\.)?(?:partial|frames|sfm|fresh)-([0-9a-f]{8})-(\d{1,18})(?:[-.].*)?", re.DOTALL)
MENDS = {
    errno.ENOSPC: "free some space or choose another folder",
    errno.EDQUOT: "free some space or choose another folder",
    errno.ENAMETOOLONG: "choose a shorter name",
}
# Opening a link is an error, and opening a pipe does not wait for its other end; Windows has no such flags.
IN_PLACE = getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)
FILES_ONLY = ("-protocol_whitelist", "file")  # arguments of ffmpeg for what it reads


@contextmanager
def replacing(file: Path) -> Iterator[Path]:
    """Yields a path beside `file` to write to; renames it to `file` at the end, or removes it after an error.

    The suffix is kept, since many writers choose the format by it.

    Raises:
        InputError: the folder cannot be written to.
    """
    sweep(file.parent, f".{file.stem}.partial-")
    partial = file.with_name(f".{file.stem}.partial-{mark()}{file.suffix}")
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        partial.unlink(missing_ok=True)  # a link of that name would lead elsewhere
        yield partial
        with open(partial, "rb") as written:
            os.fsync(written.fileno())
        os.replace(partial, file)
        _keep_name(file.parent)
    except OSError as error:
        raise unwritable(file, error) from None
    finally:
        with suppress(OSError):  # a folder that cannot be written to cannot be cleaned either
            partial.unlink(missing_ok=True)


def _keep_name(folder: Path) -> None:
    """Makes the names in a folder survive a power failure, where the system can: a rename alone may be forgotten."""
    with suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def inside_run(folder: Path) -> Path:
    """Returns a folder inside a run folder that is about to be written into.

    Raises:
        InputError: it is a link, which may lead to somebody's own files.
    """
    if folder.is_symlink():
        raise InputError(f"{folder}: a link; what is in a run folder is not written through links, remove it")
    return folder


def opened_in_place(file: Path, flags: int) -> int:
    """Returns the descriptor of a file that is written where it lies, which is made if there is none.

    flags: of `os.open`.

    Raises:
        InputError: it cannot be written, or is a link, a pipe or a device: a run folder may be a stranger's.
    """
    try:
        descriptor = os.open(file, flags | os.O_CREAT | IN_PLACE, 0o644)
    except OSError as error:
        raise unwritable(file, error) from None
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise InputError(f"{file}: cannot be written (not a file); move it away or choose another folder")
    return descriptor


def mark() -> str:
    """Returns what tells this process from all others, as names of unfinished files and folders have it."""
    with suppress(OSError):  # two containers may have one name
        return f"{_hashed(platform.node() + os.readlink('/proc/self/ns/pid'))}-{os.getpid()}"
    return f"{_hashed(platform.node())}-{os.getpid()}"


def _hashed(text: str) -> str:
    return f"{zlib.crc32(text.encode('utf-8', 'replace')):08x}"


@contextmanager
def working_folder(start: str, place: Path) -> Iterator[Path]:
    """Yields a new folder in `place` whose name begins with `start`, and removes it at the end with all in it.

    What killed programs have left under such names is removed, too. OSError: the folder cannot be made.
    """
    sweep(place, start)
    with tempfile.TemporaryDirectory(prefix=f"{start}{mark()}-", dir=place, ignore_cleanup_errors=True) as work:
        yield Path(work)


@contextmanager
def whole_folder(folder: Path) -> Iterator[Path]:
    """Yields a new folder to write into; what is in it takes its place in `folder` at the end, nothing after an error.

    Raises:
        InputError: it cannot be written.
    """
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with working_folder(f".{folder.name}.partial-", folder.parent) as work:
            made = work / "new"
            made.mkdir()
            try:
                yield made
            except InputError as error:  # which says what the user named
                raise InputError(*(str(line).replace(str(made), str(folder)) for line in error.args)) from None
            folder.mkdir(exist_ok=True)
            for entry in made.iterdir():
                os.replace(entry, folder / entry.name)
    except OSError as error:
        raise unwritable(folder, error) from None


def sweep(folder: Path, start: str = "") -> None:
    """Removes what programs that were killed have left unfinished in a folder, of all names that begin with `start`.

    Their process is gone. Of another machine that writes on the same disk nobody here can tell; there a day is longer
    than anything is left alone while it is written.
    """
    if os.name != "posix":
        return
    with suppress(OSError):
        for left in folder.glob(f"{escape(start) or '.'}*"):
            marked = UNFINISHED.fullmatch(left.name)
            if marked is None or not _is_left(left, *marked.groups()):
                continue
            if left.is_dir() and not left.is_symlink():
                shutil.rmtree(left, ignore_errors=True)
            else:
                left.unlink()


def _is_left(path: Path, machine: str, process: str) -> bool:
    """Returns whether nobody writes any more what bears the mark of a process."""
    if machine == mark().split("-")[0]:
        return not _lives(int(process))
    return time.time() - path.lstat().st_mtime > LEFT_ALONE


def _lives(process: int) -> bool:
    """Returns whether there is a process of that number on this machine."""
    try:
        os.kill(process, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        return True
    return True


def unwritable(file: Path, error: OSError) -> InputError:
    """Returns the error, one line long, that says why a file cannot be written."""
    reason = " ".join(str(error.strerror or error).split())[:300]
    mend = MENDS.get(error.errno or 0, "choose another folder")
    return InputError(f"{file}: cannot be written ({reason}); {mend}")


def check_writable(file: Path) -> None:
    """Tries whether a file can be written, before the work that makes it; leaves nothing behind.

    Raises:
        InputError: it cannot.
    """
    try:
        if file.is_dir():
            raise InputError(f"{file}: a folder; name a file")
        file.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=file.parent):
            pass
    except OSError as error:
        raise unwritable(file, error) from None


def check_new_folder(folder: Path) -> None:
    """Raises InputError now if a folder cannot be made, or holds something already."""
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise InputError(f"{folder}: exists already; name a new folder")


def check_beside(file: Path, ours: Callable[[str], bool]) -> None:
    """Checks a file that is about to be written beside the one that the user named; one of ours may be replaced.

    ours: tells whether we wrote the file that is there, by its first BESIDE_READ bytes as text.

    Raises:
        InputError: it is there and not ours.
    """
    check_readable(file)
    try:
        with open(file, "rb") as there:
            if ours(there.read(BESIDE_READ).decode("utf-8", "replace")):
                return
    except FileNotFoundError:
        return
    except OSError as error:
        raise unwritable(file, error) from None
    raise InputError(
        f"{file}: exists already, not written by nerf, and would be replaced; move it or choose another name"
    )


def ffmpeg_name(file: Path) -> str:
    """Returns the name by which ffmpeg takes a file for a file: `12:30.mp4` and `http:a.mp4` look like addresses to it.

    Readers also get FILES_ONLY, so that what is in the file opens no address either.
    """
    return f"file:{file.absolute()}"


def write_text(file: Path, text: str) -> None:
    """Writes a text file atomically, UTF-8."""
    with replacing(file) as partial:
        partial.write_text(text, encoding="utf-8")


def check_readable(path: Path) -> None:
    """Refuses what is neither a file nor a folder: opening a pipe waits for ever, and a device has no end.

    Raises:
        InputError: it is such a thing, or no name of a file.
    """
    try:
        strange = path.exists() and not path.is_file() and not path.is_dir()
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from None
    if strange:
        raise InputError(f"{path}: neither a file nor a folder; name one")


def read_json(file: Path, mend: str, finite: bool = True) -> Any:
    """Returns what a JSON file holds: numbers are finite, and words can be names of files.

    Whole numbers of more digits than `MOST_DIGITS` become floats. mend: how an error's sentence ends. finite: whether
    other numbers are refused here; the reader who lets them through can say what they are.

    Raises:
        InputError: it cannot be read, or is not such JSON.
    """
    check_readable(file)
    try:
        return parsed_json(file.read_text(encoding="utf-8-sig"), finite)
    except OSError as error:
        raise InputError(f"{file}: cannot be read ({error.strerror}); {mend}") from None
    except (ValueError, RecursionError) as error:
        raise InputError(f"{file}: damaged, not valid JSON ({error}); {mend}") from None


def parsed_json(text: str, finite: bool = True) -> Any:
    """Returns what a JSON text says, see `read_json`.

    Raises:
        ValueError, RecursionError: it is not such JSON.
    """
    number = _finite if finite else float
    tree = json.loads(text, parse_float=number, parse_int=_whole, parse_constant=number)
    if re.search(r"\\u[dD][89a-fA-F]", text):
        json.dumps(tree, ensure_ascii=False).encode("utf-8")  # half of a UTF-16 pair has no UTF-8
    return tree


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(f"{text[:40]} is no finite number")
    return number


def _whole(text: str) -> int | float:
    return int(text) if len(text) <= MOST_DIGITS else _finite(text)


def read_yaml(file: Path, mend: str) -> Any:
    """Returns what a YAML file holds; aliases, by which a few lines stand for millions, are refused.

    mend: how an error's sentence ends.

    Raises:
        InputError: it cannot be read, is too large, or is not such YAML.
    """
    import yaml

    class Loader(yaml.SafeLoader):
        def compose_node(self, parent: Any, index: Any) -> Any:
            if self.check_event(yaml.AliasEvent):
                raise yaml.YAMLError("it has aliases, which settings do not need")
            return super().compose_node(parent, index)

    check_readable(file)
    try:
        if file.stat().st_size > LARGEST_YAML:
            raise ValueError(f"more than {LARGEST_YAML} bytes")
        return yaml.load(file.read_text(encoding="utf-8-sig"), Loader)
    except OSError as error:
        raise InputError(f"{file}: cannot be read ({error.strerror}); {mend}") from None
    # A value that contradicts its own tag, as in `!!int ""`, meets whatever error Python has for it.
    except (
        yaml.YAMLError,
        ValueError,
        ArithmeticError,
        LookupError,
        AttributeError,
        TypeError,
        RecursionError,
    ) as error:
        raise InputError(f"{file}: damaged, not valid YAML ({' '.join(str(error).split())}); {mend}") from None


def openexr(file: Path) -> Any:
    """Returns the library of .exr."""
    try:
        import OpenEXR
    except ImportError:
        raise InputError(f"{file}: .exr needs OpenEXR; pip install 'nerf[hdr]'") from None
    return OpenEXR


def write_exr(file: Path, channels: Mapping[str, Any]) -> None:
    """Writes a picture of named channels (H, W), numpy arrays of half or single floats, atomically.

    Raises:
        InputError: OpenEXR is not installed, or the file cannot be written.
    """
    library = openexr(file)
    header = {"compression": library.ZIP_COMPRESSION, "type": library.scanlineimage}
    # The library takes no array that skips.
    whole = {name: channel.copy(order="C") for name, channel in channels.items()}
    with replacing(file) as partial, library.File(header, whole) as written:
        written.write(str(partial))
