"""How large tensors lie in memory."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

# The flag "hg" is that of mappings for which huge pages were asked; whether the system has any is its own affair.
PROGRAM = """
import nerf, torch
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
