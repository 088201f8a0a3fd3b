"""The one exception that a user's mistake raises."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches

from nerf.text import clipped, plain

_LONGEST_WORD = 100  # letters that are compared, which takes their square in time


class InputError(Exception):
    """A mistake in what the user gave: a file, a value, a name.

    The message is one line that names the file, the value and the mend, fit to be shown (`nerf.text.plain`); of several
    mistakes it is a line each. The command line prints it without a traceback and exits with status 2.
    """

    def __init__(self, *lines: str) -> None:
        super().__init__(*(plain(clipped(line)) for line in lines))

    def __str__(self) -> str:
        return "\n".join(self.args)


def nearest(word: str, known: Iterable[str]) -> str:
    """Returns ``; did you mean "x"?`` for the known word nearest to `word`, or the list of known words."""
    known = sorted(known)
    close = get_close_matches(word[:_LONGEST_WORD], known, n=1, cutoff=0.6)
    if close:
        return f'; did you mean "{close[0]}"?'
    return f" (known: {', '.join(known)})"
