"""Outputs written one after another: what fails is said at the end, and does not keep the others from being written."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from nerf.errors import InputError
from nerf.memory import is_out_of_memory
from nerf.report import say

OUT_OF_MEMORY = "not enough memory; lower --resolution, --size, --texture or --count"


class OutputError(InputError):
    """Outputs that could not be written, a line each; the others were."""

    def __init__(self, failures: list[InputError]) -> None:
        super().__init__(*map(str, failures))
        self.failures = failures  # each with its cause


class Attempts:
    """Tries outputs in turn, and remembers what failed."""

    def __init__(self) -> None:
        self.failures: list[InputError] = []

    def write(self, name: str, path: Path, output: Callable[[], str]) -> None:
        """Writes one output and says the sentence that it returns.

        name: what the user asked for it by, an option or a setting.
        """
        try:
            sentence = output()
        except Exception as error:
            self.failures.append(_failure(f"{name} {path}", path, error))
        else:
            say("output", sentence)

    def finish(self) -> None:
        """Ends the turn.

        Raises:
            OutputError: some outputs could not be written.
        """
        if self.failures:
            raise OutputError(self.failures) from self.failures[0].__cause__


def _failure(asked: str, path: Path, error: Exception) -> InputError:
    """Returns the error, one line long, that says which output failed and why; its cause is the error that it met."""
    if isinstance(error, InputError):
        reason = str(error).removeprefix(f"{path}: ")
    elif is_out_of_memory(error):
        reason = OUT_OF_MEMORY
    else:
        reason = " ".join(f"{type(error).__name__}: {error}".split())
    failure = InputError(f"{asked}: {reason}")
    failure.__cause__ = error
    return failure
