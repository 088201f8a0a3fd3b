"""Magnetic resonance imaging from part of k-space: slices of a volume, measured as in `nerf.signals.scanners.mri`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy
import torch
from torch import Tensor

from nerf.errors import InputError
from nerf.seeding import generator
from nerf.signals import baselines
from nerf.signals.files.voxels import VoxelVolume, read_volume
from nerf.signals.measured_volume import MeasuredVolume, placed, psnr
from nerf.signals.scanners.mri import k_space, slice_masks
from nerf.signals.settings import FitSettings

WEIGHTS = (1e-5, 3e-5, 1e-4, 3e-4, 1e-3, 3e-3, 1e-2)  # of total variation, of which the best is taken
ITERATIONS = 600


@dataclass(frozen=True)
class Measurement:
    """k: (Z, X, Y) complex k-space, 0 where `mask` (Z, X, Y) bool is not. truth: (X, Y, Z), largest 1. scale: of it."""

    k: Tensor
    mask: Tensor
    truth: Tensor
    scale: float
    affine: numpy.ndarray


def measured(volume: VoxelVolume, mask: str, acceleration: float, noise: float = 0, seed: int = 0) -> Measurement:
    """Returns what a scanner measures of a volume at 1 / `acceleration` of the frequencies.

    noise: standard deviation of each part of a measured value, in parts of the largest voxel.

    Raises:
        InputError: a voxel is below 0.
    """
    if volume.values.min() < 0:
        raise InputError(f"{volume.source}: voxels below 0 ({volume.values.min():g}); give magnitudes")
    scale = float(volume.values.max())
    truth = torch.from_numpy(volume.values) / scale
    random = generator(seed, "k-space")
    masks = slice_masks(mask, tuple(truth.shape), acceleration, random)
    values = k_space(truth.permute(2, 0, 1))
    if noise:
        values = values + noise * torch.complex(*(torch.randn(values.shape, generator=random) for _ in range(2)))
    return Measurement(values * masks, masks, truth, scale, volume.affine)


class MagneticResonance(MeasuredVolume):
    """Magnitudes, largest 1, learned from part of k-space."""

    def __init__(self, measurement: Measurement, variation: float) -> None:
        self.measurement = measurement
        super().__init__(tuple(measurement.truth.shape), measurement.affine, variation)
        self.truth = measurement.truth

    @classmethod
    def read(cls, file: Path, settings: FitSettings) -> MagneticResonance:
        """Returns the measurement of a volume, or of its middle slices."""
        chosen = settings.mri
        volume = read_volume(file).middle(chosen.slices)
        return cls(
            measured(volume, chosen.mask, chosen.acceleration, chosen.noise, settings.train.seed), chosen.variation
        )

    @classmethod
    def recall(cls, record: dict[str, Any], settings: FitSettings) -> MagneticResonance:
        """Returns where a fitted volume lies."""
        shape, affine = placed(record)
        nothing = torch.zeros(1, 1, 1)
        return cls(Measurement(nothing, nothing, torch.zeros(1).expand(shape), float(record["scale"]), affine), 0.0)

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
        k, mask, truth = self.measurement.k, self.measurement.mask, self.truth
        scores = {"zero-filled": psnr(baselines.zero_filled(k).permute(1, 2, 0), truth)}
        for axes, name in ((2, "tv of slices"), (3, "tv of the volume"))[: 1 if self.shape[2] == 1 else 2]:
            by_weight = {
                weight: psnr(baselines.total_variation(k, mask, weight, ITERATIONS, axes).permute(1, 2, 0), truth)
                for weight in WEIGHTS
            }
            best = max(by_weight, key=by_weight.get)
            scores[f"{name} ({best:g})"] = by_weight[best]
        return scores

    def in_units_of_file(self, values: Tensor) -> Tensor:
        """Returns the file's numbers."""
        return values * self.measurement.scale
