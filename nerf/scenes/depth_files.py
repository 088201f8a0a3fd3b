"""Depth maps beside photographs, as phones with LiDAR take them: along the camera's axis, in a known unit."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy
import torch
from torch import Tensor

from nerf.errors import InputError
from nerf.files import check_readable
from nerf.scenes.pictures import check_size, read_whole_picture

MILLIMETRES = 1e-3  # of a count of a picture, unless its file says otherwise; arrays hold metres
SURE = 96  # of 255: a confidence below it is low; Polycam writes 0 (or 54), 127 and 255
FARTHEST = 1e6  # metres that are believed


@dataclass(frozen=True)
class DepthFile:
    """The depth map of a photograph: a grey picture of 16 bits, or an array (.npy). 0 is nothing."""

    path: Path
    unit: float  # metres of a count
    confidence: Path | None = None  # a picture that is dark where the depth is not to be relied on


def read_depth(file: DepthFile) -> Tensor:
    """Returns depths along the camera's axis, (h, w) float32 metres; 0 where there is none, or none to rely on.

    Raises:
        InputError: it cannot be read, or its confidence has another size.
    """
    if file.path.suffix.lower() == ".npy":
        counts = _array(file.path)
    else:
        counts = read_whole_picture(file.path, turned=False)
        if counts.shape[2] != 1:
            raise InputError(
                f"{file.path}: {counts.shape[2]} channels; a depth map is grey, of 16 bits: export it again"
            )
        if counts.dtype == numpy.uint8 and file.unit == MILLIMETRES:
            raise InputError(
                f"{file.path}: 8 bits, which hold no millimetres: a picture of depths? export 16 bits, or say "
                'in "depth_unit_scale_factor" how many metres a count is'
            )
        counts = counts[..., 0]
    depth = torch.from_numpy(counts.astype(numpy.float32)) * file.unit

    if file.confidence is not None:
        sure = torch.from_numpy(read_whole_picture(file.confidence, turned=False)[..., 0].astype(numpy.float32))
        if sure.shape != depth.shape:
            raise InputError(f"{file.confidence}: its size differs from that of {file.path.name}; export both again")
        depth = torch.where(sure >= SURE, depth, 0)
    return torch.where((depth > 0) & (depth < FARTHEST), depth, 0)


def _array(path: Path) -> numpy.ndarray:
    """Returns an array (h, w) of numbers.

    Raises:
        InputError: it is none, or claims an absurd size.
    """
    check_readable(path)
    try:
        array = numpy.load(path, mmap_mode="r")
        if array.ndim == 3 and array.shape[2] == 1:
            array = array[..., 0]
        if array.ndim != 2 or array.dtype.kind not in "uif" or not array.size:
            raise ValueError(f"shape {array.shape} of {array.dtype}; expected rows and columns of numbers")
        check_size(path, array.shape[1], array.shape[0])
        return numpy.array(array)
    except (InputError, MemoryError):
        raise
    except Exception as error:  # each damage has an error of its own
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise InputError(f"{path}: no depth map ({reason}); restore it or remove it from its frame") from None
