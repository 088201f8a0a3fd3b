"""The one exception that a user's mistake raises."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches


class InputError(Exception):
    """A mistake in what the user gave: a file, a value, a name.

    The message is one line that names the file, the value and the mend. The command line prints it
    without a traceback and exits with status 2.
    """


def nearest(word: str, known: Iterable[str]) -> str:
    """Returns ``; did you mean "x"?`` for the known word nearest to `word`, or the list of known words."""
    known = sorted(known)
    close = get_close_matches(word, known, n=1, cutoff=0.6)
    if close:
        return f'; did you mean "{close[0]}"?'
    return f" (known: {', '.join(known)})"
