"""Which code computes the field: chosen once, printed, never substituted silently."""

from __future__ import annotations

from nerf.errors import InputError

BACKENDS = ("auto", "native", "cuda", "tcnn", "reference")
DEVICES = ("auto", "cpu", "cuda")

_MISSING = {
    "native": "is not part of this version; use --backend reference",
    "cuda": "is not part of this version; use --backend reference",
    "tcnn": "is not part of this version; use --backend reference",
}


def choose_backend(backend: str, device: str) -> str:
    """Returns the backend that will compute, for what the user asked.

    Raises:
        InputError: what was asked for is not here.
    """
    if device == "cuda":
        raise InputError("--device cuda: no CUDA backend in this version; use --device cpu")
    if backend in _MISSING:
        raise InputError(f"--backend {backend}: {_MISSING[backend]}")
    return "reference"
