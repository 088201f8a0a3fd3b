"""The native engine: C++ libraries, one per instruction set, called through a flat C interface.

The best one that the processor can run is chosen when first needed; the environment variable NERF_ISA
(baseline, avx2, avx512 or avx512bf16) overrides the choice.
"""

from __future__ import annotations

import ctypes
import os
from functools import cache
from pathlib import Path

from nerf.engine.build import instruction_sets, library_name
from nerf.engine.signatures import ABI, FUNCTIONS, check_fits
from nerf.errors import InputError, nearest
from nerf.memory import is_out_of_memory

FOLDER = Path(__file__).parent


class Library:
    """One loaded library: `call` is how its functions are called."""

    def __init__(self, name: str, path: Path) -> None:
        """Loads a library.

        Raises:
            InputError: it was built from sources of another version.
            OSError: it does not load.
        """
        self.name = name
        self._loaded = ctypes.CDLL(str(path), mode=os.RTLD_LOCAL)
        told = getattr(self._loaded, "nerf_abi", None)  # libraries of old have no such function
        if told is not None:
            told.restype = ctypes.c_char_p
        if told is None or told() != ABI.encode():
            raise InputError(
                f"native engine: {path} was built from another version of the sources; "
                "build it again: pip install -e . (or python nerf/engine/build.py)"
            )

        for function, (result, arguments) in FUNCTIONS.items():
            entry = getattr(self._loaded, function)
            entry.restype = result
            entry.argtypes = arguments

    def call(self, function: str, *arguments: object) -> int | bytes | None:
        """Returns what the C function returns.

        Raises:
            MemoryError: there was not enough.
            RuntimeError: it failed otherwise, or refused what it was given: the message names the field.
            ValueError: an integer does not fit its argument.
        """
        result, kinds = FUNCTIONS[function]
        for kind, argument in zip(kinds, arguments):
            check_fits(function, kind, argument)
        value = getattr(self._loaded, function)(*arguments)
        failed = value is None if result is ctypes.c_void_p else result is ctypes.c_int and value != 0
        if failed and function != "nerf_processor_has":
            error = RuntimeError(f"{function}: {self._loaded.nerf_last_error().decode()}")
            raise MemoryError(str(error)) if is_out_of_memory(error) else error
        return value


@cache
def load(name: str) -> Library:
    """Returns the library of an instruction set.

    Raises:
        InputError: it was not built, or from other sources; it does not load, or the processor cannot run it.
    """
    path = FOLDER / library_name(name)
    if not path.is_file():
        raise InputError(
            f"native engine: {path} is not there: it is built when nerf is installed, if there is a C++ compiler; "
            "install g++ or clang and run pip install again, or use --backend reference"
        )
    if name != "baseline" and not load("baseline").call("nerf_processor_has", name.encode()):
        raise InputError(f"native engine: this processor cannot run {name}; it has {', '.join(available())}")
    try:
        return Library(name, path)
    except OSError as error:
        raise InputError(
            f"native engine: {path} does not load ({error}); run pip install again, or use --backend reference"
        ) from error


def available() -> list[str]:
    """Returns the instruction sets that this processor can run, slowest first; empty if the engine was not built."""
    if not (FOLDER / library_name("baseline")).is_file():
        return []
    has = load("baseline").call
    return [
        entry.name
        for entry in instruction_sets()
        if has("nerf_processor_has", entry.name.encode()) and (FOLDER / library_name(entry.name)).is_file()
    ]


def library() -> Library:
    """Returns the library that computes: the one that NERF_ISA names, else the fastest.

    Raises:
        InputError: there is none, or NERF_ISA names none.
    """
    asked = os.environ.get("NERF_ISA")
    if asked:
        known = [entry.name for entry in instruction_sets()]
        if asked not in known:
            raise InputError(f'NERF_ISA: "{asked}" is not an instruction set{nearest(asked, known)}')
        return load(asked)
    return load((available() or ["baseline"])[-1])
