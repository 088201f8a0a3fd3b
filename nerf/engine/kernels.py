"""What the CUDA kernels are given, and how they are launched: by the driver, or on the CPU by the tests' shim.

`Work` has the layout of its namesake in ``src/cuda/work.h``; pointers are plain addresses of the launcher's device.
"""

from __future__ import annotations

from collections.abc import Sequence
from ctypes import Structure, c_float, c_int32, c_int64, c_uint64, c_void_p
from typing import Protocol

import torch
from torch import Tensor

from nerf.engine.signatures import DENSITY_LAYERS, MOST_COLOR_LAYERS, MOST_LEVELS, FieldShape, Pixels

MOST_LAYERS = DENSITY_LAYERS + MOST_COLOR_LAYERS
BLOCK, GROUP = 64, 4  # samples, and rows, that lie side by side: see src/arithmetic.h and src/layer.h
THREADS = 128  # of a launch's blocks


def _addresses(*names: str) -> list[tuple[str, type]]:
    return [(name, c_void_p) for name in names]


class SampleArrays(Structure):
    """Where packed samples are."""

    _fields_ = [*_addresses("x", "y", "z", "t", "density", "ray", "first"), ("n", c_int64)]


class LayerArrays(Structure):
    """Where one layer's weights, moments and activations are."""

    _fields_ = [
        *_addresses("weights", "forward", "transposed", "first_moment", "second_moment", "grad_weights"),
        *_addresses("in_", "out", "grad_out"),
        *[(name, c_int32) for name in ("outputs", "inputs", "split", "padding")],
    ]


class Contraction(Structure):
    """The scene's cube, and how space is contracted into it; a radius of 0: not at all."""

    _fields_ = [
        ("center", c_float * 3),
        ("radius", c_float),
        ("near", c_float),
        ("corner", c_float * 3),
        ("side", c_float),
    ]


class Work(Structure):
    """Everything of one model and one batch."""

    _fields_ = [
        ("pixels", Pixels),
        ("samples", SampleArrays),
        ("marched", SampleArrays),
        ("layers", LayerArrays * MOST_LAYERS),
        ("shape", FieldShape),
        ("n_layers", c_int32),
        ("first_row", c_int64 * MOST_LEVELS),
        *_addresses("table", "table_first_moment", "table_second_moment", "grad_table", "packed", "grad_encoding"),
        *_addresses("origin", "direction", "offset", "rgba", "count", "pixel", "grad_pixel", "loss"),
        *_addresses("least", "code", "distance", "grad_origin", "grad_direction", "grad_code", "weight"),
        *_addresses("passing", "reaching", "grad_thickness", "marched_at", "grad_weight", "grad_place", "grad_inputs"),
        *_addresses("hull", "occupied", "bits", "empty", "value", "mean", "hull_cells", "probed", "adam", "total_loss"),
        *[(name, c_uint64) for name in ("seed", "update")],
        *[(name, c_int64) for name in ("first_ray", "number", "n_rays", "n_hull_cells")],
        ("space", Contraction),
        *[(name, c_float) for name in ("step", "greatest_thickness", "minimum_weight", "light_left", "loss_scale")],
        *[(name, c_float) for name in ("distortion", "near", "rate", "beta1", "beta2", "epsilon")],
        *[(name, c_int32) for name in ("background", "resolution", "levels")],
    ]


# Every kernel of src/cuda/kernels.cu.
KERNELS = (
    *("draw_rays", "march_count", "march_fill", "weigh", "gather", "composite_rays", "distort", "composite_rays_vjp"),
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

    def zeros(self, shape: Sequence[int], dtype: torch.dtype) -> Tensor:
        """Returns an array of the device.

        Raises:
            torch.OutOfMemoryError: there is no room for it.
        """

    def free_bytes(self) -> int:
        """Returns the device's memory that nobody has taken."""


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
