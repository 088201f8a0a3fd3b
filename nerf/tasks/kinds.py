"""The kinds of signals that `nerf fit` knows: each one's class, loaded when it is used, and its defaults."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib import import_module
from typing import Any

from nerf.errors import InputError, nearest
from nerf.tasks.signal import Signal


@dataclass(frozen=True)
class Kind:
    """place: module:class. summary: for the help. defaults: see `nerf.fit_settings.read_fit_settings`."""

    place: str
    summary: str
    defaults: Mapping[str, Mapping[str, Any]] = field(default_factory=lambda: {"hash": {}})

    def load(self) -> type[Signal]:
        """Returns the class."""
        module, _, name = self.place.partition(":")
        return getattr(import_module(module), name)


KINDS = {
    "image": Kind("nerf.tasks.image:Image", "a picture: .png, .jpg, .webp, .tif, .exr (HDR)"),
}


def find_kind(name: str) -> Kind:
    """Returns a kind by its name.

    Raises:
        InputError: there is no such kind.
    """
    if name not in KINDS:
        raise InputError(f'"{name}" is not a kind of signal{nearest(name, KINDS)}')
    return KINDS[name]
