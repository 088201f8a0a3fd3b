"""Memory in bytes: what this machine has, and what the program takes before it holds any data."""

from __future__ import annotations

import os
import sys
from contextlib import suppress
from pathlib import Path

INTERPRETER_BYTES = 400 * 2**20  # Python with torch and its libraries loaded
CONTAINER_LIMIT = Path("/sys/fs/cgroup/memory.max")  # of cgroup v2: bytes, or "max"; absent outside containers
CONTAINER_LIMIT_1 = Path("/sys/fs/cgroup/memory/memory.limit_in_bytes")  # of cgroup v1: bytes; absent under v2
OWN_GROUP = Path("/proc/self/cgroup")  # in it "0::/path" is this process's group of cgroup v2


def machine_memory() -> int:
    """Returns the bytes of memory that this process may use: the machine's, its container's or its own if fewer.

    Where the system does not tell, that is `sys.maxsize`: no limit is known.
    """
    if not hasattr(os, "sysconf"):
        return sys.maxsize
    present = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")

    for limit in (*_own_limits(), CONTAINER_LIMIT, CONTAINER_LIMIT_1):
        with suppress(OSError, ValueError):
            present = min(present, int(limit.read_text()))
    return min(present, _address_space())


def _address_space() -> int:
    """Returns the bytes that ``ulimit -v`` and batch systems let this process have, `sys.maxsize` if they set none."""
    try:
        import resource
    except ImportError:  # Windows has no such limits
        return sys.maxsize
    limit, _ = resource.getrlimit(resource.RLIMIT_AS)
    return sys.maxsize if limit == resource.RLIM_INFINITY else limit


def _own_limits() -> list[Path]:
    """Returns the files that limit this process's group, and those that it is in, where it is not the container's."""
    with suppress(OSError, StopIteration):
        line = next(line for line in OWN_GROUP.read_text().splitlines() if line.startswith("0::/"))
        group = Path(line.removeprefix("0::/"))
        if ".." not in group.parts:
            groups = [CONTAINER_LIMIT.parent / part for part in (group, *group.parents)]
            return [folder / CONTAINER_LIMIT.name for folder in groups]
    return []


def use_huge_pages() -> None:
    """Asks torch to ask Linux for huge pages, which it does if it is told so before its first tensor.

    Tables and pictures are read at random: huge pages save most page-table walks.
    """
    os.environ.setdefault("THP_MEM_ALLOC_ENABLE", "1")


# How libraries that raise RuntimeError say it: C++ and the native engine, torch on Linux and Windows, torch and the
# driver on a GPU.
_NO_MEMORY = (
    "bad_alloc",
    "DefaultCPUAllocator: can't allocate memory",
    "DefaultCPUAllocator: not enough memory",
    "CUDA out of memory",
    "CUDA_ERROR_OUT_OF_MEMORY",
)


def is_out_of_memory(error: BaseException) -> bool:
    """Returns whether an error says that there is not enough memory, in the words of whichever library met it."""
    if isinstance(error, RuntimeError):
        return any(words in str(error) for words in _NO_MEMORY)
    return isinstance(error, MemoryError)
