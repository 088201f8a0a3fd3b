"""The kinds of signals that `nerf fit` knows: each one's class, loaded when it is used, and its defaults."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib import import_module
from typing import TYPE_CHECKING, Any

from nerf.errors import InputError, nearest

if TYPE_CHECKING:
    from nerf.signals.signal import Signal


@dataclass(frozen=True)
class Kind:
    """place: module:class. summary: for the help. defaults: see `nerf.signals.settings.read_fit_settings`."""

    place: str
    summary: str
    defaults: Mapping[str, Mapping[str, Any]] = field(default_factory=lambda: {"hash": {}})

    def load(self) -> type[Signal]:
        """Returns the class."""
        module, _, name = self.place.partition(":")
        return getattr(import_module(module), name)


IMAGE = {"any": {"train": {"samples": 2**11}}, "hash": {"field": {"layers": 1}, "train": {"samples": 2**15}}}
# Sound oscillates thousands of times a second: frequencies that suit a picture see none of it.
AUDIO = {
    "any": {"train": {"samples": 2**14}},
    "hash": {
        "field": {
            "levels": 10,
            "features_per_level": 2,
            "log2_table_size": 14,
            "base_resolution": 256,
            "finest_resolution": 2**16,
            "width": 32,
            "layers": 1,
        }
    },
    "siren": {"field": {"omega": 3000.0}},
    "encoding": {"field": {"octaves": 18}},
    "fourier": {"field": {"fourier_scale": 4000.0}},
}
VIDEO = {"hash": {"field": {"log2_table_size": 15, "finest_resolution": 512, "layers": 1}}}
# Defaults of kinds whose classes are loaded from above this floor.
SDF = {
    "hash": {
        "field": {"levels": 8, "log2_table_size": 19, "finest_resolution": 512},
        "optimizer": {"learning_rate": 5e-3, "final_factor": 0.02, "horizon": 2000},
        "train": {"steps": 2000, "samples": 2**15},
    }
}
TOMOGRAPHY = {
    "hash": {
        "field": {"levels": 6, "base_resolution": 8, "finest_resolution": 128, "log2_table_size": 18, "width": 32},
        "optimizer": {"learning_rate": 1e-2, "final_factor": 0.03, "beta2": 0.99, "horizon": 400},
        "train": {"steps": 400, "samples": 2**16},
    }
}
MRI = {
    "hash": {
        "field": {"base_resolution": 8, "finest_resolution": 256, "log2_table_size": 19},
        "optimizer": {"learning_rate": 1e-2, "final_factor": 0.03, "beta2": 0.99, "horizon": 500},
        "train": {"steps": 500, "samples": 3 * 2**16},
    }
}

KINDS = {
    "image": Kind("nerf.signals.image:Image", "a picture: .png, .jpg, .webp, .tif, .exr (HDR)", IMAGE),
    "video": Kind("nerf.signals.video:Video", "a film: .mp4, .webm, .mov and what else ffmpeg reads", VIDEO),
    "audio": Kind("nerf.signals.audio:Audio", "a sound: .wav", AUDIO),
    "sdf": Kind("nerf.signals.sdf:SignedDistance", "a closed mesh, or points with normals: .obj, .ply, ...", SDF),
    "tomography": Kind("nerf.signals.ct:Tomography", "CT: .nii, .dcm, .npy, or sinograms in .npz", TOMOGRAPHY),
    "mri": Kind("nerf.signals.mri:MagneticResonance", "MRI from part of k-space: .nii, .dcm, .npy", MRI),
}


def find_kind(name: str) -> Kind:
    """Returns a kind by its name.

    Raises:
        InputError: there is no such kind.
    """
    if name not in KINDS:
        raise InputError(f'"{name}" is not a kind of signal{nearest(name, KINDS)}')
    return KINDS[name]
