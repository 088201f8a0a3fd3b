"""The signals that `nerf fit` knows: one row each, with a function that imports its class when it is used.

To add a signal: a file with a subclass of `nerf.signals.signal.Signal`, and a row here. Settings of its own stand in a
file beside the class that does not import torch, since the help shows them, and take a line in
`nerf.signals.settings.FitSettings`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from nerf.errors import InputError, nearest

if TYPE_CHECKING:
    from nerf.signals.signal import Signal


@dataclass(frozen=True)
class SignalRow:
    """What the command line knows of a signal before torch is loaded."""

    summary: str  # for the help: what it is, and which files hold one
    load: Callable[[], type[Signal]]  # imports and returns the class


def _image() -> type[Signal]:
    from nerf.signals.image import Image

    return Image


def _video() -> type[Signal]:
    from nerf.signals.video import Video

    return Video


def _audio() -> type[Signal]:
    from nerf.signals.audio import Audio

    return Audio


def _sdf() -> type[Signal]:
    from nerf.signals.sdf import SignedDistance

    return SignedDistance


def _tomography() -> type[Signal]:
    from nerf.signals.ct import Tomography

    return Tomography


def _mri() -> type[Signal]:
    from nerf.signals.mri import MagneticResonance

    return MagneticResonance


SIGNALS = {
    "image": SignalRow("a picture: .png, .jpg, .webp, .tif, .exr (HDR)", _image),
    "video": SignalRow("a film: .mp4, .webm, .mov and what else ffmpeg reads", _video),
    "audio": SignalRow("a sound: .wav", _audio),
    "sdf": SignalRow("a closed mesh, or points with normals: .obj, .ply, ...", _sdf),
    "tomography": SignalRow("CT: .nii, .dcm, .npy, or sinograms in .npz", _tomography),
    "mri": SignalRow("MRI from part of k-space: .nii, .dcm, .npy", _mri),
}


def signal_class(name: str) -> type[Signal]:
    """Returns the class of a signal by the name of its row.

    Raises:
        InputError: there is no such row.
    """
    if name not in SIGNALS:
        raise InputError(f'"{name}" is not a kind of signal{nearest(name, SIGNALS)}')
    return SIGNALS[name].load()
