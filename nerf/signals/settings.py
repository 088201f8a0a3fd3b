"""Settings of ``nerf fit``: the field of a signal, and one section for each kind that has choices of its own.

Defaults come in this order: below, then those of the field (`FIELDS`), then those of the kind
(`nerf.signals.registry`).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nerf.config import OptimizerSettings, TrainSettings, read_settings, setting, settings_from_dict
from nerf.fields.settings import FIELDS, SignalFieldSettings


@dataclass(frozen=True)
class ImageSettings:
    """How a picture is fitted."""

    downscale: int = setting(1, "fit the picture box-averaged by this factor (super-resolution)", 1, 16)
    area: int = setting(1, "points along a pixel's side whose mean is its colour; 1 = its centre alone", 1, 8)
    mask: str = setting("", "picture, not black where pixels are known; the others are filled in")


@dataclass(frozen=True)
class VideoSettings:
    """How a film is fitted."""

    frames: int = setting(0, "fit the first so many frames; 0 = all", 0)


@dataclass(frozen=True)
class TomographySettings:
    """What a CT scanner measures, and how its volume is found."""

    beam: str = setting("parallel", "of rays", choices=("parallel", "fan", "cone"))
    views: int = setting(50, "spread over half a turn (parallel) or a whole one; a sinogram file has its own", 2, 4096)
    slices: int = setting(0, "in the middle of the volume; 0 = all", 0)
    photons: float = setting(0.0, "of a ray before the patient; 0 = no noise", 0.0, 1e12)
    pitch: float = setting(1.0, "mm between detectors of a sinogram file", 1e-3, 1e3)
    variation: float = setting(0.5, "weight of the total variation", 0.0, 100.0)
    sart_iterations: int = setting(40, "of SART beside it, at most: the best is taken", 1, 1000)


@dataclass(frozen=True)
class MriSettings:
    """What an MRI scanner measures, and how its volume is found."""

    mask: str = setting("radial", "of k-space", choices=("radial", "cartesian"))
    acceleration: float = setting(4.0, "one of so many frequencies is measured", 1.0, 32.0)
    noise: float = setting(0.0, "standard deviation of measured values, parts of the largest voxel", 0.0, 1.0)
    slices: int = setting(4, "in the middle of the volume; 0 = all", 0)
    variation: float = setting(0.6, "weight of the total variation", 0.0, 100.0)


@dataclass(frozen=True)
class FitSettings:
    """Every setting of a fit, by section."""

    field: SignalFieldSettings = SignalFieldSettings()
    optimizer: OptimizerSettings = OptimizerSettings(horizon=2000)
    train: TrainSettings = TrainSettings(steps=2000, samples=2**16, preview_seconds=0.0)
    image: ImageSettings = ImageSettings()
    video: VideoSettings = VideoSettings()
    tomography: TomographySettings = TomographySettings()
    mri: MriSettings = MriSettings()

    def to_dict(self) -> dict[str, dict[str, Any]]:
        """Returns all settings as plain nested dictionaries, in the order of this file."""
        return dataclasses.asdict(self)


def read_fit_settings(
    file: Path | None, overrides: Sequence[str], by_field: Mapping[str, Mapping[str, Any]]
) -> FitSettings:
    """Returns the settings of a fit: defaults of the chosen field and of the kind, a YAML file, command-line words.

    by_field: the kind's defaults, common ones under "any", then those with a certain field; the first field named is
    the one that the kind takes unless told.

    Raises:
        InputError: as `nerf.config.read_settings`.
    """
    first = next(name for name in by_field if name != "any")
    base = settings_from_dict({"field": {"kind": first}}, "defaults", FitSettings())
    chosen = read_settings(file, overrides, base).field.kind
    for defaults in (FIELDS[chosen], by_field.get("any", {}), by_field.get(chosen, {})):
        base = settings_from_dict(defaults, "defaults", base)
    return read_settings(file, overrides, base)
