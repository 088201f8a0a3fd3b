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
