"""The CUDA kernels' very text on the CPU: built by the C++ compiler, launched by the same host code as on a GPU."""

from __future__ import annotations

import ctypes
import subprocess
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from nerf.engine.build import SOURCES, find_compiler
from nerf.engine.kernels import THREADS, Work

HERE = Path(__file__).parent
SANITIZED = ("-fsanitize=address,undefined", "-fno-sanitize-recover=undefined", "-O1", "-g")


def build_shim(library: Path, features: int, flags: Sequence[str] = ("-O2",)) -> Path:
    """Builds the kernels for the CPU; about a second."""
    command = [
        *(find_compiler(), "-std=c++20", "-fPIC", "-shared", "-ffp-contract=fast", "-Wall", "-Wno-unknown-pragmas"),
        *("-Werror", "-DNERF_ONE_LANE", f"-DNERF_FEATURES={features}", f"-I{SOURCES}"),
        *("-include", str(HERE / "shim.h"), *flags, str(HERE / "shim.cpp"), "-o", str(library)),
    ]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    return library


class ShimLauncher:
    """A `Launcher` whose device is the CPU. room: bytes that may be taken at once. launched: kernels, in order."""

    def __init__(self, library: Path, room: int = 2**62, backwards: bool = False) -> None:
        self.device, self.room, self.backwards = torch.device("cpu"), room, backwards
        self.launched: list[str] = []
        self._loaded = ctypes.CDLL(str(library))
        self._loaded.shim_work_bytes.restype = ctypes.c_uint64
        assert self._loaded.shim_work_bytes() == ctypes.sizeof(Work)

    def launch(self, kernel: str, work: Work, grid: tuple[int, int, int]) -> None:
        """Runs a kernel to its end."""
        self.launched.append(kernel)
        entry = ctypes.cast(getattr(self._loaded, kernel), ctypes.c_void_p)
        self._loaded.shim_run(entry, ctypes.byref(work), *grid, THREADS, self.backwards)

    def zeros(self, shape: Sequence[int], dtype: torch.dtype) -> Tensor:
        """Returns an array, unless it is larger than `room`."""
        if torch.Size(shape).numel() * dtype.itemsize > self.room:
            raise torch.OutOfMemoryError("the shim's room is taken")
        return torch.zeros(*shape, dtype=dtype)

    def free_bytes(self) -> int:
        """Returns `room`."""
        return self.room
