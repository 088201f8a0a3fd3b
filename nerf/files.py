"""Writing files so that a reader sees the old one or the new one, never half of one."""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from glob import escape
from pathlib import Path

from nerf.errors import InputError

BESIDE_READ = 1024
LEFT_ALONE = 3600.0  # seconds
FILES_ONLY = ("-protocol_whitelist", "file")  # arguments of ffmpeg for what it reads


@contextmanager
def replacing(file: Path) -> Iterator[Path]:
    """Yields a path beside `file` to write to; renames it to `file` at the end, or removes it after an error.

    The suffix is kept, since many writers choose the format by it.

    Raises:
        InputError: the folder cannot be written to.
    """
    _sweep(file)
    partial = file.with_name(f".{file.stem}.partial-{os.getpid()}{file.suffix}")
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        yield partial
        with open(partial, "rb") as written:
            os.fsync(written.fileno())
        os.replace(partial, file)
    except OSError as error:
        raise unwritable(file, error) from None
    finally:
        with suppress(OSError):  # a folder that cannot be written to cannot be cleaned either
            partial.unlink(missing_ok=True)


def _sweep(file: Path) -> None:
    """Removes what programs that were killed while they wrote a file have left of it.

    Their process is gone, and an hour is longer than any file is left alone while it is written, by another machine
    on the same disk perhaps.
    """
    if os.name != "posix":
        return
    with suppress(OSError):
        for left in file.parent.glob(f".{escape(file.stem)}.partial-*{escape(file.suffix)}"):
            number = left.name.removeprefix(f".{file.stem}.partial-").removesuffix(file.suffix)
            if number.isdigit() and not _lives(int(number)) and time.time() - left.stat().st_mtime > LEFT_ALONE:
                left.unlink()


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
    return InputError(f"{file}: cannot be written ({reason}); free some space or choose another folder")


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


def check_beside(file: Path, ours: Callable[[str], bool]) -> None:
    """Checks a file that is about to be written beside the one that the user named; one of ours may be replaced.

    ours: tells whether we wrote the file that is there, by its first BESIDE_READ bytes as text.

    Raises:
        InputError: it is there and not ours.
    """
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
