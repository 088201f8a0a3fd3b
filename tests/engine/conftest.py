"""Every instruction set and two numbers of threads, in turn."""

from __future__ import annotations

import pytest
import torch

from nerf import engine
from nerf.engine.build import instruction_sets


@pytest.fixture(params=[entry.name for entry in instruction_sets()])
def isa(request, monkeypatch) -> str:
    """Forces one instruction set; skips where the processor, or the build, lacks it."""
    if request.param not in engine.available():
        pytest.skip(f"this processor or build has no {request.param}")
    monkeypatch.setenv("NERF_ISA", request.param)
    return request.param


@pytest.fixture(params=[1, 2])
def threads(request) -> int:
    """Runs torch and the engine on so many threads."""
    before = torch.get_num_threads()
    torch.set_num_threads(request.param)
    yield request.param
    torch.set_num_threads(before)
