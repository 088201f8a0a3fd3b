"""Builds the native engine: one shared library per instruction set, of the same sources, with g++ or clang.

Needs no torch and no package outside the standard library: ``setup.py`` loads this file by its path.
``python nerf/engine/build.py`` builds in place.
"""

from __future__ import annotations

import importlib.util
import os
import platform
import shutil
import subprocess
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

SOURCES = Path(__file__).parent / "src"
# Contraction and free reordering of exceptions only: -ffast-math would change the arithmetic of the whole process.
FLAGS = (
    *("-std=c++20", "-O3", "-shared", "-fPIC", "-pthread", "-fvisibility=hidden"),
    *("-fno-math-errno", "-fno-trapping-math", "-ffp-contract=fast", "-Wno-psabi"),
    # A mistake in a buffer ends the process rather than being of use to whoever made the file.
    *("-fstack-protector-strong", "-U_FORTIFY_SOURCE", "-D_FORTIFY_SOURCE=2"),
)
# A template's weak symbols must not be shared between libraries of different instruction sets.
LINUX_FLAGS = ("-Wl,-Bsymbolic", "-Wl,--as-needed", "-Wl,-z,relro,-z,now", "-Wl,-z,noexecstack")


@dataclass(frozen=True)
class InstructionSet:
    """A library: its name and the flags that its processors understand."""

    name: str
    flags: tuple[str, ...]


AVX2 = ("-mavx2", "-mfma")
AVX512 = (*AVX2, "-mavx512f", "-mavx512bw", "-mavx512dq", "-mavx512vl")
X86_SETS = (
    InstructionSet("avx2", AVX2),
    InstructionSet("avx512", AVX512),
    InstructionSet("avx512bf16", (*AVX512, "-mavx512bf16")),
)


class BuildError(Exception):
    """The engine cannot be built; the message says what is missing."""


def instruction_sets() -> tuple[InstructionSet, ...]:
    """Returns what this kind of machine can be built for, slowest first."""
    more = X86_SETS if platform.machine().lower() in ("x86_64", "amd64") else ()
    return (InstructionSet("baseline", ()), *more)


def library_name(instruction_set: str) -> str:
    """Returns the file name of a library."""
    return f"libnerf_{instruction_set}.so"


def find_compiler() -> str:
    """Returns the C++ compiler: the one that CXX names, else g++, c++ or clang++.

    Raises:
        BuildError: there is none.
    """
    named = os.environ.get("CXX")
    candidates = [named] if named else ["g++", "c++", "clang++"]
    for candidate in candidates:
        path = shutil.which(candidate)
        if path:
            return path
    raise BuildError(
        f"no C++ compiler: {', '.join(candidates)} not found; install g++ (Debian, Ubuntu: apt install g++) "
        "or name one in CXX, and install again"
    )


def _abi() -> str:
    """Returns `ABI` of signatures.py, loaded by its path as this file is."""
    spec = importlib.util.spec_from_file_location("engine_signatures", SOURCES.parent / "signatures.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.ABI


def command(compiler: str, instruction_set: InstructionSet, output: Path, extra: Sequence[str] = ()) -> list[str]:
    """Returns the command line that builds one library."""
    told = f'-DNERF_ABI="{_abi()}"'
    system = LINUX_FLAGS if platform.system() == "Linux" else ()
    sources = sorted(str(source) for source in SOURCES.glob("*.cpp"))
    return [compiler, *FLAGS, told, *instruction_set.flags, *extra, *sources, *system, "-o", str(output)]


def build(target: Path, extra: Sequence[str] = ()) -> list[Path]:
    """Builds all libraries into a folder, as many at once as there are cores, and returns their paths.

    Raises:
        BuildError: there is no compiler, or it refused the sources.
    """
    compiler = find_compiler()
    target.mkdir(parents=True, exist_ok=True)

    def one(instruction_set: InstructionSet) -> Path:
        output = target / library_name(instruction_set.name)
        # Another process may have the old library mapped: it keeps its file, the new one takes the name.
        partial = output.with_suffix(f".{os.getpid()}.partial")
        result = subprocess.run(
            command(compiler, instruction_set, partial, extra), capture_output=True, text=True, check=False
        )
        if result.returncode != 0:
            partial.unlink(missing_ok=True)
            raise BuildError(f"{compiler} failed for {instruction_set.name}:\n{result.stderr.strip()}")
        os.replace(partial, output)
        return output

    with ThreadPoolExecutor(os.cpu_count() or 1) as pool:
        return list(pool.map(one, instruction_sets()))


if __name__ == "__main__":
    for built in build(Path(__file__).parent):
        print(built)
