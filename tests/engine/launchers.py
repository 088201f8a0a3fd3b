"""The devices that the kernels are tested on: the shim, the shim with its threads in the opposite order, and a GPU."""

from __future__ import annotations

import shutil
from functools import cache
from pathlib import Path
from tempfile import mkdtemp

import pytest

from nerf.engine import nvrtc
from nerf.engine.build import BuildError, find_compiler
from nerf.engine.driver import DriverLauncher, why_no_gpu
from nerf.engine.kernels import Launcher
from tests.engine.shim import ShimLauncher, build_shim

DEVICES = ["shim", "backwards", pytest.param("gpu", marks=pytest.mark.gpu)]


@cache
def shim_folder() -> Path:
    """Returns a folder for the shim's libraries, that lasts as long as the tests."""
    import atexit

    folder = Path(mkdtemp(prefix="nerf-shim-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder


@cache
def shim_library(features: int) -> Path:
    """Returns the shim's library; skips where there is no C++ compiler."""
    try:
        find_compiler()
    except BuildError as error:
        pytest.skip(str(error))
    return build_shim(shim_folder() / f"shim_{features}.so", features)


def launcher(device: str, features: int = 4) -> Launcher:
    """Returns a device; skips where it is not here."""
    if device != "gpu":
        return ShimLauncher(shim_library(features), backwards=device == "backwards")
    missing = why_no_gpu() or ("" if nvrtc.available() else "NVRTC is not installed")
    if missing:
        pytest.skip(f"gpu: {missing}")
    return DriverLauncher(features)
