"""What the CUDA kernels are given, and how they are launched: by the driver, or on the CPU by the tests' shim.

The structs stand in ``src/cuda/work.h``, with what each field means; pointers are addresses of the launcher's device.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import torch
from torch import Tensor

from nerf.engine.signatures import FieldShape, Pixels, Struct, fields, number

BLOCK = number("BLOCK")  # samples that lie side by side
GROUP = number("GROUP")  # rows that lie side by side
THREADS = number("THREADS")  # of a launch's blocks


class SampleArrays(Struct):
    """Where packed samples are."""

    _fields_ = fields("SampleArrays")


class LayerArrays(Struct):
    """Where one layer's weights, moments and activations are."""

    _fields_ = fields("LayerArrays")


class FieldArrays(Struct):
    """The field: its sizes, its layers and its table."""

    _fields_ = fields("FieldArrays", LayerArrays, FieldShape)


class RayArrays(Struct):
    """Where what is known of each ray is."""

    _fields_ = fields("RayArrays")


class SampleNumbers(Struct):
    """Where what is computed for each sample is."""

    _fields_ = fields("SampleNumbers")


class CellArrays(Struct):
    """Where what is known of each cell of the occupancy grid is."""

    _fields_ = fields("CellArrays")


class Contraction(Struct):
    """The scene box, and how space is contracted into it; a radius of 0: not at all."""

    _fields_ = fields("Contraction")


class MarchNumbers(Struct):
    """How rays are marched."""

    _fields_ = fields("MarchNumbers", Contraction)


class StepNumbers(Struct):
    """What is peculiar to a training step, or to an update of the occupancy grid."""

    _fields_ = fields("StepNumbers")


class Work(Struct):
    """Everything of one model and one batch. The fields of its parts are its own too: ``work.origin``."""

    _anonymous_ = ("field", "rays", "values", "cells", "march", "training")
    _fields_ = fields(
        "Work", Pixels, SampleArrays, FieldArrays, RayArrays, SampleNumbers, CellArrays, MarchNumbers, StepNumbers
    )


# Every kernel of src/cuda/*.cu.
KERNELS = (
    *(
        "draw_rays",
        "march_count",
        "march_fill",
        "weigh",
        "gather",
        "composite_rays",
        "weights_losses",
        "composite_rays_vjp",
    ),
    *(
        "surface_rays",
        "photometric",
        "encode",
        "density",
        "shade",
        "network_vjp",
        "encode_vjp",
        "observe",
        "weights_vjp_tiles",
    ),
    *("begin_step", "adam_table", "pack_table", "adam_network", "pack_network"),
    *("samples_vjp", "rays_vjp", "codes_vjp"),
    *("decay_cells", "probe_cells", "choose_cells", "pack_cells", "mark_blocks"),
)


class Launcher(Protocol):
    """A device: its memory, and its kernels for one number of features a vertex."""

    device: torch.device

    def launch(self, kernel: str, work: Work, grid: tuple[int, int, int]) -> None:
        """Starts blocks of THREADS threads on the current stream."""
        ...

    def zeros(self, shape: Sequence[int], dtype: torch.dtype) -> Tensor:
        """Returns an array of the device.

        Raises:
            torch.OutOfMemoryError: there is no room for it.
        """
        ...

    def free_bytes(self) -> int:
        """Returns the device's memory that nobody has taken."""
        ...


def grid_of(threads: int, across: int = 1, deep: int = 1) -> tuple[int, int, int]:
    """Returns the grid of at least so many threads.

    Raises:
        ValueError: CUDA has no such grid.
    """
    blocks = -(-threads // THREADS)
    if blocks >= 2**31 or across >= 2**16 or deep >= 2**16:
        raise ValueError(f"a grid of {blocks} x {across} x {deep} blocks is larger than CUDA takes")
    return blocks, across, deep


def padded(count: int, to: int = GROUP) -> int:
    """Returns the next multiple."""
    return -(-count // to) * to
