"""What a run says to its user: lines, each under a topic, told to whoever listens.

The console is the first listener. A viewer, a report or a log adds itself with `listen`; a process that shall be
silent, such as every rank but the first, takes the console away with `silence`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

Listener = Callable[[str, str], None]  # topic, text


def console(topic: str, text: str) -> None:
    """Prints a line on standard output."""
    print(text, flush=True)


_listeners: list[Listener] = [console]


def say(topic: str, text: str) -> None:
    """Tells every listener a line.

    topic: what it is about, one word for programs: scene, bounds, memory, training, film, mesh and so on. The text is
    for people and stands for itself.
    """
    for listener in tuple(_listeners):
        listener(topic, text)


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
