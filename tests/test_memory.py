"""How large tensors lie in memory, and how much of it there is."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from nerf import memory

# The flag "hg" is that of mappings for which huge pages were asked; whether the system has any is its own affair.
PROGRAM = """
from nerf.memory import use_huge_pages
use_huge_pages()
import torch
tensor = torch.ones(1 << 24)
size = 0
for line in open("/proc/self/smaps"):
    if line.startswith("Size:"):
        size = int(line.split()[1])
    if line.startswith("VmFlags:") and " hg" in line:
        print(size)
"""


@pytest.mark.skipif(
    not Path("/sys/kernel/mm/transparent_hugepage").exists() or not Path("/proc/self/smaps").exists(),
    reason="this system has no huge pages",
)
def test_huge_pages_are_asked_for_large_tensors():
    environment = {name: value for name, value in os.environ.items() if name != "THP_MEM_ALLOC_ENABLE"}
    run = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True, env=environment)
    assert max((int(size) for size in run.stdout.split()), default=0) >= 64 << 10, "KiB of the tensor"


@pytest.mark.parametrize("limit", ["1048576\n", "max\n", None])
def test_a_container_has_no_more_memory_than_its_limit(tmp_path, monkeypatch, limit):
    monkeypatch.setattr(memory, "CONTAINER_LIMIT", tmp_path / "none")
    machine = memory.machine_memory()
    assert machine > 2**20

    file = tmp_path / "memory.max"
    if limit is not None:
        file.write_text(limit)
    monkeypatch.setattr(memory, "CONTAINER_LIMIT", file)
    assert memory.machine_memory() == (2**20 if limit == "1048576\n" else machine)


def test_a_limit_of_this_process_alone_counts(monkeypatch):
    resource = pytest.importorskip("resource")
    machine = memory.machine_memory()
    monkeypatch.setattr(resource, "getrlimit", lambda _: (2**20, resource.RLIM_INFINITY))
    assert memory.machine_memory() == 2**20 < machine
    monkeypatch.setattr(resource, "getrlimit", lambda _: (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    assert memory.machine_memory() == machine
