"""The radiance fields that can be chosen: one row each, `field.kind` -> what makes it.

A field is a torch module with the methods of `nerf.fields.radiance.RadianceField`: density, color, levels, coarsest,
plain, load_tensors, portable and own. The reference backend computes any of them; a faster backend says in words which
ones it does not (`nerf.backends.choice`).
"""

from __future__ import annotations

from collections.abc import Callable

import torch

from nerf.config import FieldSettings
from nerf.errors import InputError, nearest
from nerf.fields.radiance import RadianceField

FieldMaker = Callable[[FieldSettings, torch.Generator, int], RadianceField]

FIELDS: dict[str, FieldMaker] = {
    "hash": RadianceField,
}


def check_field(kind: str) -> None:
    """Refuses a kind of field that is not in the table, with the nearest name.

    Raises:
        InputError: there is no such field.
    """
    if kind not in FIELDS:
        raise InputError(f'field.kind: "{kind}" is not a radiance field{nearest(kind, FIELDS)}')


def new_field(settings: FieldSettings, generator: torch.Generator, code_size: int = 0) -> RadianceField:
    """Returns the field that the settings choose, its parameters drawn from a generator.

    Raises:
        InputError: there is no such field.
    """
    check_field(settings.kind)
    return FIELDS[settings.kind](settings, generator, code_size)
