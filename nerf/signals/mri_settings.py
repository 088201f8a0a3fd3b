"""The settings of `nerf fit mri`."""

from __future__ import annotations

from dataclasses import dataclass

from nerf.config import setting


@dataclass(frozen=True)
class MriSettings:
    """What an MRI scanner measures, and how its volume is found."""

    mask: str = setting("radial", "what is measured of k-space", choices=("radial", "cartesian"))
    acceleration: float = setting(4.0, "one of so many frequencies is measured", 1.0, 32.0)
    noise: float = setting(0.0, "standard deviation of measured values, parts of the largest voxel", 0.0, 1.0)
    slices: int = setting(4, "slices that are fitted, in the middle of the volume; 0 = all", 0)
    variation: float = setting(0.6, "weight of the total variation", 0.0, 100.0)
