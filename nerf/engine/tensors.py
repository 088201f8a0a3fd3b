"""Tensors as the engine takes them: an address, after a look at what lies there."""

from __future__ import annotations

import torch
from torch import Tensor


def address(tensor: Tensor, dtype: torch.dtype = torch.float32) -> int:
    """Returns where a tensor's numbers are; the caller keeps it alive.

    Raises:
        TypeError: it is not a contiguous CPU tensor of that type.
    """
    if tensor.dtype != dtype or tensor.device.type != "cpu" or not tensor.is_contiguous():
        raise TypeError(f"expected a contiguous {dtype} tensor on the CPU, got {tensor.dtype} on {tensor.device}")
    return tensor.data_ptr()
