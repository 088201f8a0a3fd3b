"""Magnetic resonance imaging from part of k-space: slices of a volume, measured as in `nerf.signals.scanners.mri`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy
import torch
from torch import Tensor

from nerf.errors import InputError
from nerf.seeding import generator
from nerf.signals import baselines
from nerf.signals.files.voxels import VoxelVolume, read_volume
from nerf.signals.measured_volume import MeasuredVolume, lattice_of, volume_psnr
from nerf.signals.scanners.mri import k_space, slice_masks
from nerf.signals.settings import FitSettings, SignalDefaults

WEIGHTS = (1e-5, 3e-5, 1e-4, 3e-4, 1e-3, 3e-3, 1e-2)  # of total variation, of which the best is taken
ITERATIONS = 600  # of total variation


@dataclass(frozen=True)
class MeasuredKSpace:
    """What a scanner measures of a volume (X, Y, Z)."""

    k: Tensor  # (Z, X, Y) complex, 0 where not measured
    mask: Tensor  # (Z, X, Y) bool, what is measured
    truth: Tensor  # (X, Y, Z), largest 1
    scale: float  # the file's numbers are the truth times this
    affine: numpy.ndarray  # (4, 4), mm from index


def measured(volume: VoxelVolume, mask: str, acceleration: float, noise: float = 0, seed: int = 0) -> MeasuredKSpace:
    """Returns what a scanner measures of a volume at 1 / `acceleration` of the frequencies.

    noise: standard deviation of each part of a measured value, in parts of the largest voxel.

    Raises:
        InputError: a voxel is below 0.
    """
    if volume.values.min() < 0:
        raise InputError(f"{volume.source}: voxels below 0 ({volume.values.min():g}); give magnitudes")
    scale = float(volume.values.max())
    truth = torch.from_numpy(volume.values) / scale
    x, y, z = truth.shape

    random = generator(seed, "k-space")
    masks = slice_masks(mask, (x, y, z), acceleration, random)
    values = k_space(truth.permute(2, 0, 1))
    if noise:
        real = torch.randn(values.shape, generator=random)
        imaginary = torch.randn(values.shape, generator=random)
        values = values + noise * torch.complex(real, imaginary)
    return MeasuredKSpace(values * masks, masks, truth, scale, volume.affine)


class MagneticResonance(MeasuredVolume):
    """Magnitudes, largest 1, learned from part of k-space."""

    defaults: ClassVar[SignalDefaults] = {
        "hash": {
            "field": {"base_resolution": 8, "finest_resolution": 256, "log2_table_size": 19},
            "optimizer": {"learning_rate": 1e-2, "final_factor": 0.03, "beta2": 0.99, "horizon": 500},
            "train": {"steps": 500, "samples": 3 * 2**16},
        }
    }

    def __init__(self, measurement: MeasuredKSpace, variation: float) -> None:
        """variation: weight of the total variation."""
        x, y, z = measurement.truth.shape
        super().__init__((x, y, z), measurement.affine, variation)
        self.measurement = measurement
        self.truth = measurement.truth

    @classmethod
    def read(cls, file: Path, settings: FitSettings) -> MagneticResonance:
        """Returns the measurement of a volume, or of its middle slices."""
        chosen = settings.mri
        volume = read_volume(file).middle(chosen.slices)
        measurement = measured(volume, chosen.mask, chosen.acceleration, chosen.noise, settings.train.seed)
        return cls(measurement, chosen.variation)

    @classmethod
    def recall(cls, record: dict[str, Any], settings: FitSettings) -> MagneticResonance:
        """Returns where a fitted volume lies."""
        shape, affine = lattice_of(record)
        nothing = torch.zeros(1, 1, 1)
        truth = torch.zeros(1).expand(shape)
        return cls(MeasuredKSpace(nothing, nothing, truth, float(record["scale"]), affine), 0.0)

    def record(self) -> dict[str, Any]:
        """Returns where the volume lies, and its largest value."""
        return {**super().record(), "scale": self.measurement.scale}

    def describe(self) -> str:
        """Returns what is measured, in words."""
        share = self.measurement.mask.float().mean().item()
        return f"{' x '.join(map(str, self.shape))} voxels, {share:.1%} of k-space measured, slice by slice"

    def misfit(self, values: Tensor, first: int, random: torch.Generator) -> Tensor:
        """Returns the mean over voxels of the squared error of what was measured."""
        part = slice(first, first + values.shape[2])
        residual = (k_space(values.permute(2, 0, 1)) - self.measurement.k[part]) * self.measurement.mask[part]
        return residual.abs().square().mean()

    def baseline_scores(self) -> dict[str, float]:
        """Returns PSNR, dB, of zero filling, and of total variation in slices and in the volume.

        Its weights are the best by the truth, in favour of the baseline.
        """
        k = self.measurement.k
        mask = self.measurement.mask
        scores = {"zero-filled": volume_psnr(baselines.zero_filled(k).permute(1, 2, 0), self.truth)}

        methods = {"tv of slices": 2} if self.shape[2] == 1 else {"tv of slices": 2, "tv of the volume": 3}
        for name, axes in methods.items():
            by_weight = {}
            for weight in WEIGHTS:
                slices = baselines.total_variation_reconstruction(k, mask, weight, ITERATIONS, axes)
                by_weight[weight] = volume_psnr(slices.permute(1, 2, 0), self.truth)
            best = max(by_weight, key=by_weight.__getitem__)
            scores[f"{name} ({best:g})"] = by_weight[best]
        return scores

    def in_units_of_file(self, values: Tensor) -> Tensor:
        """Returns the file's numbers."""
        return values * self.measurement.scale
