"""Tensors of a checkpoint, checked before they are used: a stranger may have written them."""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import Tensor

from nerf.errors import InputError


def checked(tensors: Mapping[str, Tensor], name: str, shape: torch.Size) -> Tensor:
    """Returns a tensor of a checkpoint.

    Raises:
        InputError: it is missing, has another shape, or holds a number that is not finite.
    """
    if name not in tensors or tensors[name].shape != shape:
        raise misfit(name, shape, tensors[name].shape if name in tensors else None)
    if not torch.isfinite(tensors[name]).all():
        raise InputError(
            f'checkpoint: tensor "{name}" holds values that are not finite numbers: the training has diverged; '
            "train again with a lower optimizer.learning_rate"
        )
    return tensors[name]


def misfit(name: str, shape: torch.Size, found: torch.Size | None) -> InputError:
    """Returns the error of a tensor that has another shape, or is not there."""
    return InputError(
        f'checkpoint: tensor "{name}": expected {tuple(shape)}, found {"nothing" if found is None else tuple(found)}; '
        "it is of other settings or of another version of this program: train anew"
    )


def checked_whole_number(tensors: Mapping[str, Tensor], name: str, low: int, high: int) -> int:
    """Returns a number of a checkpoint that becomes a size or a count.

    Raises:
        InputError: it is missing, not a whole number, or not in [low, high].
    """
    value = checked(tensors, name, torch.Size([])).item()
    if isinstance(value, complex) or not low <= value <= high or value != math.floor(value):
        raise InputError(
            f'checkpoint: tensor "{name}" is {value}, expected a whole number from {low} to {high}; '
            "restore it or train again"
        )
    return int(value)
