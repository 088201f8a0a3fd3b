"""Settings of the fields that are fitted to signals, and the defaults that go with each."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from nerf.config import setting

# The smooth fields want Adam as its authors set it, and smaller steps than a table of features.
_SMOOTH = {"width": 256, "layers": 3}
_ADAM = {"learning_rate": 2e-3, "final_factor": 0.02, "beta2": 0.99, "epsilon": 1e-8}

# By `field.kind`: sections of `nerf.signals.settings.FitSettings` with what differs from them.
FIELD_DEFAULTS: dict[str, dict[str, dict[str, Any]]] = {
    "hash": {"optimizer": {"final_factor": 0.1}},
    "siren": {"field": _SMOOTH, "optimizer": _ADAM | {"learning_rate": 1e-3}},
    "encoding": {"field": _SMOOTH, "optimizer": _ADAM},
    "fourier": {"field": _SMOOTH, "optimizer": _ADAM},
    "relu": {"field": _SMOOTH, "optimizer": _ADAM},
}


@dataclass(frozen=True)
class CoordinateFieldSettings:
    """The function that is fitted: position -> values."""

    kind: str = setting("hash", "what makes the position a function's input", choices=tuple(FIELD_DEFAULTS))
    width: int = setting(64, "neurons of a hidden layer", 1, 4096)
    layers: int = setting(2, "hidden layers", 1, 16)
    omega: float = setting(30.0, "siren: frequency of its sines", 0.0, 1e5)
    octaves: int = setting(9, "encoding: frequencies pi, 2 pi, 4 pi, ... per side of the signal's box", 1, 20)
    fourier_scale: float = setting(10.0, "fourier: standard deviation of the frequencies, cycles per side", 0.0, 1e5)
    levels: int = setting(8, "hash: levels of the grid", 1, 32)
    features_per_level: int = setting(4, "hash: features of a grid vertex (1, 2, 4 or 8)", 1, 8)
    log2_table_size: int = setting(16, "hash: log2 of the largest number of vertices stored in a level", 8, 24)
    base_resolution: int = setting(16, "hash: resolution of the coarsest level", 2, 1024)
    finest_resolution: int = setting(512, "hash: resolution of the finest level", 2, 65536)
