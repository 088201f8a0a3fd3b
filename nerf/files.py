"""Writing files so that a reader sees the old one or the new one, never half of one."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from nerf.errors import InputError


@contextmanager
def replacing(file: Path) -> Iterator[Path]:
    """Yields a path beside `file` to write to; renames it to `file` at the end, or removes it after an error.

    The suffix is kept, since many writers choose the format by it.

    Raises:
        InputError: the folder cannot be written to.
    """
    partial = file.with_name(f".{file.stem}.partial-{os.getpid()}{file.suffix}")
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        yield partial
        with open(partial, "rb") as written:
            os.fsync(written.fileno())
        os.replace(partial, file)
    except OSError as error:
        raise InputError(
            f"{file}: cannot be written ({error.strerror or error}); free some space or choose another place"
        ) from None
    finally:
        partial.unlink(missing_ok=True)


def write_text(file: Path, text: str) -> None:
    """Writes a text file atomically, UTF-8."""
    with replacing(file) as partial:
        partial.write_text(text, encoding="utf-8")
