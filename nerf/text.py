"""A stranger's words made fit to be shown: names from files may hold terminal escapes, faked lines, or no end."""

from __future__ import annotations

import reprlib

LONGEST = 2000  # letters of a message; of longer ones the beginning and the end are shown
_KEPT_END = 400  # letters of that end, where the mend stands

_short = reprlib.Repr()
_short.maxstring = _short.maxother = 80
_short.maxlevel = 3


def plain(text: str) -> str:
    r"""Returns a text as one line that a terminal shows as it stands: what is not printable becomes \xNN or \uNNNN.

    Escape sequences, line breaks, marks that turn the direction of writing, and halves of UTF-16 pairs are among it.
    """
    return text if text.isprintable() else "".join(letter if letter.isprintable() else _code(letter) for letter in text)


def _code(letter: str) -> str:
    number = ord(letter)
    if number < 0x100:
        return f"\\x{number:02x}"
    return f"\\u{number:04x}" if number < 0x10000 else f"\\U{number:08x}"


def clipped(text: str) -> str:
    """Returns a text of at most about `LONGEST` letters: of a longer one its beginning and its end."""
    if len(text) <= LONGEST:
        return text
    return f"{text[: LONGEST - _KEPT_END]} ... {text[-_KEPT_END:]}"


def short(value: object) -> str:
    """Returns how a value looks in Python, cut to a line: lists and words may be as long as their author likes."""
    return _short.repr(value)
