"""Memory in bytes: what this machine has, and what the program takes before it holds any data."""

from __future__ import annotations

import os
import sys
from pathlib import Path

INTERPRETER_BYTES = 400 * 2**20  # Python with torch and its libraries loaded
CONTAINER_LIMIT = Path("/sys/fs/cgroup/memory.max")  # of cgroup v2: bytes, or "max"; absent outside containers


def machine_memory() -> int:
    """Returns the bytes of memory that this process may use: the machine's, or its container's if they are fewer.

    Where the system does not tell, that is `sys.maxsize`: no limit is known.
    """
    if not hasattr(os, "sysconf"):
        return sys.maxsize
    present = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")

    try:
        return min(present, int(CONTAINER_LIMIT.read_text()))
    except (OSError, ValueError):
        return present


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
