"""The CUDA kernels on a GPU: loaded by the driver, launched on torch's current stream."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from nerf.engine import nvrtc
from nerf.engine.kernels import KERNELS, THREADS, Work
from nerf.errors import InputError
from nerf.report import say


def why_no_gpu() -> str:
    """Returns why torch cannot compute on a GPU here, or an empty text where it can."""
    if torch.version.cuda is None:
        return (
            f"torch {torch.__version__} is a build for the CPU; install one with CUDA (pip install torch, without +cpu)"
        )
    if not torch.cuda.is_available():
        return "torch finds no NVIDIA GPU: no device, or no driver for it (nvidia-smi tells)"
    return ""


class DriverLauncher:
    """The GPU that torch has current, and the kernels on it."""

    def __init__(self, features: int) -> None:
        """Compiles the kernels, or takes them from the disk, and loads them.

        Raises:
            InputError: there is no GPU, no compiler, or the driver does not take what it made.
        """
        reason = why_no_gpu()
        if reason:
            raise InputError(f"CUDA: {reason}")
        self.device = torch.device("cuda", torch.cuda.current_device())
        major, minor = torch.cuda.get_device_capability(self.device)
        torch.zeros(1, device=self.device)  # makes the context that the kernels are loaded into
        architecture = f"sm_{major}{minor}"
        cubin, compiled = nvrtc.cached_cubin(architecture, features)
        from cuda.bindings import driver  # pyright: ignore[reportAttributeAccessIssue]  compiled, no stubs

        self._driver = driver
        if compiled:
            say("engine", f"CUDA: kernels compiled for {architecture}, kept in {nvrtc.cache_folder()}")
        with torch.cuda.device(self.device):
            error, self._module = driver.cuModuleLoadData(cubin)
            if error and not compiled:  # what was kept may be another driver's
                error, self._module = driver.cuModuleLoadData(nvrtc.cached_cubin(architecture, features, anew=True)[0])
            if error:
                raise InputError(
                    f"CUDA: the driver does not take kernels of NVRTC {nvrtc.available()} ({error.name}); "
                    "update the driver, or install a cuda-bindings and nvidia-cuda-nvrtc of its version"
                )
            self._functions = {
                name: self._checked(driver.cuModuleGetFunction(self._module, name.encode())) for name in KERNELS
            }

    def launch(self, kernel: str, work: Work, grid: tuple[int, int, int]) -> None:
        """Starts blocks of THREADS threads on the current stream.

        Raises:
            RuntimeError: the driver refused.
        """
        if 0 in grid:
            return
        parameters = (ctypes.c_void_p * 1)(ctypes.addressof(work))
        with torch.cuda.device(self.device):
            stream = torch.cuda.current_stream(self.device).cuda_stream
            launched = self._driver.cuLaunchKernel(
                self._functions[kernel], *grid, THREADS, 1, 1, 0, stream, ctypes.addressof(parameters), 0
            )
        self._checked(launched, kernel)

    def zeros(self, shape: Sequence[int], dtype: torch.dtype) -> Tensor:
        """Returns an array on the GPU."""
        return torch.zeros(*shape, dtype=dtype, device=self.device)

    def free_bytes(self) -> int:
        """Returns the GPU's free memory, with what torch holds and does not use."""
        unused = torch.cuda.memory_reserved(self.device) - torch.cuda.memory_allocated(self.device)
        return torch.cuda.mem_get_info(self.device)[0] + unused

    def _checked(self, result: tuple[Any, ...], what: str = "CUDA") -> Any:
        error, *values = result
        if error:
            raise RuntimeError(f"{what}: {error.name}")
        return values[0] if values else None
