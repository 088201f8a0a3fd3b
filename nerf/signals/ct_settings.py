"""The settings of `nerf fit tomography`."""

from __future__ import annotations

from dataclasses import dataclass

from nerf.config import setting


@dataclass(frozen=True)
class TomographySettings:
    """What a CT scanner measures, and how its volume is found."""

    beam: str = setting("parallel", "shape of the beam of rays", choices=("parallel", "fan", "cone"))
    views: int = setting(50, "views over half a turn (parallel) or a whole one; a sinogram file has its own", 2, 4096)
    slices: int = setting(0, "slices that are fitted, in the middle of the volume; 0 = all", 0)
    photons: float = setting(0.0, "photons of each ray before the patient; 0 = no noise", 0.0, 1e12)
    pitch: float = setting(1.0, "mm between detectors of a sinogram file", 1e-3, 1e3)
    variation: float = setting(0.5, "weight of the total variation", 0.0, 100.0)
    sart_iterations: int = setting(40, "iterations of SART beside it, at most: the best is taken", 1, 1000)
