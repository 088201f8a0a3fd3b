"""What a run says to its user: lines, each under a topic, told to whoever listens.

The console is the first listener. A viewer, a report or a log adds itself with `listen`; a process that shall be
silent, such as every rank but the first, takes the console away with `silence`.

Nothing else in this package writes to the terminal: what is shown is plain, and a terminal that is gone ends no work.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from stat import S_ISREG
from typing import IO, Any

from nerf.text import plain

Listener = Callable[[str, str], None]  # topic, text

ON_SCREEN, IN_A_FILE = 0.1, 10.0  # seconds after which a progress bar is drawn anew, at least


def console(topic: str, text: str) -> None:
    """Prints a line on standard output."""
    _show(text, sys.stdout)


def complain(text: str) -> None:
    """Prints a line on standard error."""
    _show(plain(text), sys.stderr)


def _show(line: str, stream: IO[str] | None) -> None:
    """Prints a line, unless nobody can see it: there is no stream, or what it leads to is closed."""
    try:
        print(line, file=stream, flush=True)
    except UnicodeEncodeError as error:  # a terminal of an old encoding
        _show(line.encode(error.encoding, "backslashreplace").decode(error.encoding), stream)
    except (OSError, ValueError):  # ValueError: it was closed on this side
        _let_go(stream)


def _let_go(stream: IO[str] | None) -> None:
    """Leads a stream whose reader is gone to nowhere, or Python would complain of it at the very end."""
    with suppress(OSError, ValueError, AttributeError):
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, stream.fileno())  # pyright: ignore[reportOptionalMemberAccess]
        os.close(nowhere)


class _Shown:
    """Standard error as progress bars take it: its errors are swallowed, a bar that nobody sees stops no work."""

    def __init__(self, stream: IO[str] | None) -> None:
        self._stream = stream

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def in_a_file(self) -> bool:
        """Returns whether what is written stays: a terminal, a pipe or a notebook shows it and lets it go."""
        with suppress(OSError, ValueError, AttributeError):
            return S_ISREG(os.fstat(self._stream.fileno()).st_mode)  # pyright: ignore[reportOptionalMemberAccess]
        return False

    def write(self, text: str) -> None:
        with suppress(OSError, ValueError, AttributeError):
            self._stream.write(text)  # pyright: ignore[reportOptionalMemberAccess]

    def flush(self) -> None:
        with suppress(OSError, ValueError, AttributeError):
            self._stream.flush()  # pyright: ignore[reportOptionalMemberAccess]


def progress(
    items: Iterable[Any] | None = None,
    *,
    title: str,
    unit: str = "it",
    total: float | None = None,
    done: float = 0,
    form: str | None = None,
    hidden: bool = False,
) -> Any:
    """Returns a progress bar, of tqdm, round `items` or to be updated by hand; in a file it is seldom drawn anew.

    title: what is done. total: of items, if they do not tell, or of what is updated. done: of that, before the bar
    begins. form: how the bar looks, if not as usual.
    """
    from tqdm import tqdm

    stream = _Shown(sys.stderr)
    seldom = IN_A_FILE if stream.in_a_file() else ON_SCREEN
    look: Any = {"desc": plain(title), "unit": unit, "bar_format": form, "disable": hidden, "file": stream}
    return tqdm(items, total=total, initial=done, mininterval=seldom, **look)


_listeners: list[Listener] = [console]


def say(topic: str, text: str) -> None:
    """Tells every listener a line.

    topic: what it is about, one word for programs: scene, bounds, memory, training, film, mesh and so on. The text is
    for people and stands for itself; listeners get it plain, see `nerf.text.plain`.
    """
    for listener in tuple(_listeners):
        listener(topic, plain(text))


@contextmanager
def listen(listener: Listener) -> Iterator[None]:
    """Inside, `listener` is told every line, too."""
    _listeners.append(listener)
    try:
        yield
    finally:
        _listeners.remove(listener)


@contextmanager
def silence() -> Iterator[None]:
    """Inside, nothing is printed; other listeners are told as before."""
    before = list(_listeners)
    _listeners[:] = [listener for listener in before if listener is not console]
    try:
        yield
    finally:
        _listeners[:] = before
