"""Every setting of ``nerf fit``: those of any fit, and one section for each signal that has settings of its own.

The order of authority is: defaults below, those of the field (`FIELD_DEFAULTS`), those of the signal
(`Signal.defaults`), a YAML file, words of the command line. The help lists all settings, so that nothing here may
import torch.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nerf.config import OptimizerSettings, TrainSettings, read_settings, settings_from_dict
from nerf.fields.settings import FIELD_DEFAULTS, CoordinateFieldSettings
from nerf.signals.ct_settings import TomographySettings
from nerf.signals.image_settings import ImageSettings
from nerf.signals.mri_settings import MriSettings
from nerf.signals.video_settings import VideoSettings


@dataclass(frozen=True)
class FitSettings:
    """Every setting of a fit, by section."""

    field: CoordinateFieldSettings = CoordinateFieldSettings()
    optimizer: OptimizerSettings = OptimizerSettings(horizon=2000)
    train: TrainSettings = TrainSettings(steps=2000, samples=2**16, preview_seconds=0.0)
    image: ImageSettings = ImageSettings()
    video: VideoSettings = VideoSettings()
    tomography: TomographySettings = TomographySettings()
    mri: MriSettings = MriSettings()

    def to_dict(self) -> dict[str, dict[str, Any]]:
        """Returns all settings as plain nested dictionaries, in the order of this file."""
        return dataclasses.asdict(self)


# Of a signal, by `field.kind`: sections with settings that differ from `FitSettings`. Those under "any" hold with every
# field. The first field that is named is the one that the signal takes unless told.
SignalDefaults = Mapping[str, Mapping[str, Mapping[str, Any]]]


def read_fit_settings(file: Path | None, overrides: Sequence[str], defaults: SignalDefaults) -> FitSettings:
    """Returns the settings of a fit: defaults of the field and of the signal, a YAML file, command-line words.

    Raises:
        InputError: as `nerf.config.read_settings`.
    """
    # Which field's defaults hold is known only after the user has been heard.
    first = next(name for name in defaults if name != "any")
    base = settings_from_dict({"field": {"kind": first}}, "defaults", FitSettings())
    chosen = read_settings(file, overrides, base).field.kind

    for sections in (FIELD_DEFAULTS[chosen], defaults.get("any", {}), defaults.get(chosen, {})):
        base = settings_from_dict(sections, "defaults", base)
    return read_settings(file, overrides, base)
