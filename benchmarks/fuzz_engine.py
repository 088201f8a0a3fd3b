"""Makes random calls of every function of the engine, built with the address and undefined-behaviour sanitizers.

    python benchmarks/fuzz_engine.py [--seed N] [--cases N] [--first N] [--isa NAME]

The library is built into a temporary folder from the sources of this checkout. Calls of `tests.engine.call_fuzz`
are made in a child process, whose end is this program's. Prints how many calls of each function were computed and how
many refused. What a sanitizer finds ends the child; its report and the case stand in standard error.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

REPOSITORY = Path(__file__).parents[1]
sys.path.insert(0, str(REPOSITORY))  # nerf and tests of this checkout

from nerf import engine  # noqa: E402
from nerf.engine.build import command, find_compiler, instruction_sets, library_name  # noqa: E402
from tests.engine.shim import SANITIZED  # noqa: E402


def build(isa: str, folder: Path) -> Path:
    """Returns the sanitized library of an instruction set."""
    library = folder / library_name(isa)
    entry = next(entry for entry in instruction_sets() if entry.name == isa)
    subprocess.run(command(find_compiler(), entry, library, SANITIZED), check=True)
    return library


def runtime() -> str:
    """Returns the libraries that must be loaded before Python: the sanitizer's, and C++'s, whose throw it watches."""
    found = []
    for name in ("libasan.so", "libstdc++.so.6"):
        asked = [find_compiler(), f"-print-file-name={name}"]
        found.append(subprocess.run(asked, capture_output=True, text=True, check=True).stdout.strip())
    return ":".join(found)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--first", type=int, default=0, help="number of the first case")
    parser.add_argument("--cases", type=int, default=20000)
    parser.add_argument("--isa", default=engine.available()[-1], choices=engine.available())
    arguments = parser.parse_args()

    with tempfile.TemporaryDirectory() as folder:
        library = build(arguments.isa, Path(folder))
        print(f"{arguments.isa}, seed {arguments.seed}, {arguments.cases} cases", flush=True)
        numbers = [f"--{name}={getattr(arguments, name)}" for name in ("seed", "first", "cases")]
        # Arrays are to lie apart, with something forbidden between; Python itself never frees what it keeps to its end.
        environment = os.environ | {
            "LD_PRELOAD": runtime(),
            "PYTHONMALLOC": "malloc",
            "ASAN_OPTIONS": "detect_leaks=0",
            "UBSAN_OPTIONS": "print_stacktrace=1",
        }
        start = time.perf_counter()
        child = [sys.executable, "-m", "tests.engine.call_fuzz", str(library), *numbers]
        status = subprocess.run(child, cwd=REPOSITORY, env=environment, check=False).returncode
        print(f"exit status {status} after {time.perf_counter() - start:.0f} s")
    return status


if __name__ == "__main__":
    sys.exit(main())
