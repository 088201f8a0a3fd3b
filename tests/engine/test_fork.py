"""A child of fork() has none of the threads of its parent's pool, and computes all the same."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from nerf import engine

PROGRAM = """
import os, signal, sys
import torch
from nerf.engine import bindings
from nerf.ops.spherical_harmonics import spherical_harmonics
from nerf.workflows.doctor import small_problem
from nerf.backends.choice import choose_backend

torch.set_num_threads(2)
model, rays = small_problem(choose_backend("native"))
color = model.engine()
before = model.unit_density(torch.rand(20000, 3, generator=torch.Generator().manual_seed(0)))
position = torch.rand(20000, 3, generator=torch.Generator().manual_seed(0))
for _ in range(2):  # a child, and its child
    child = os.fork()
    if child:
        break
    signal.alarm(60)
    after = model.unit_density(position)
    same = torch.equal(before, after)
    if not same:
        os._exit(3)
else:
    os._exit(0)
sys.exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""


@pytest.mark.skipif(not engine.available(), reason="the native engine was not built")
@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no fork")
def test_a_forked_process_computes_with_threads_of_its_own():
    done = subprocess.run([sys.executable, "-c", PROGRAM], cwd=Path(__file__).parents[2], timeout=200)
    assert done.returncode == 0
