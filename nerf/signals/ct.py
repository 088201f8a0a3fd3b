"""Computed tomography from few views: a volume is scanned, or given sinograms are read; Hounsfield units come out."""

from __future__ import annotations

import math
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy
import torch
from torch import Tensor

from nerf.errors import InputError
from nerf.fields.coordinate import SignalField
from nerf.seeding import generator
from nerf.signals import baselines
from nerf.signals.files.voxels import MOST_VOXELS, VoxelVolume, read_volume
from nerf.signals.measured_volume import MeasuredVolume, placed, psnr
from nerf.signals.scanners import ct as tomography
from nerf.signals.settings import FitSettings

WORSE = 0.3  # dB below its best, SART will not be better again: it has begun to fit the noise
FINE = 4.0  # samples a voxel by which a volume is scanned: four times as fine as the field's line integrals are
SINOGRAM = "expected the arrays sinogram (views, detectors[, slices]), in mm of water, and angles (views), in degrees"


@dataclass(frozen=True)
class Measurement:
    """sinogram: (V, D, Z) float32, mm of water. photons: a ray, 0 = no noise. truth: attenuation (X, Y, Z), or None."""

    scan: tomography.Scan
    sinogram: Tensor
    photons: float
    affine: numpy.ndarray
    truth: Tensor | None = None


def scanned(volume: VoxelVolume, beam: str, views: int, photons: float = 0, seed: int = 0) -> Measurement:
    """Returns what a scanner measures of a volume in Hounsfield units.

    Raises:
        InputError: there is no such beam, or too few views.
    """
    tomography.check_beam(beam, views)
    truth = tomography.attenuation(torch.from_numpy(volume.values))
    scan = tomography.scan_of(tuple(truth.shape), volume.spacing, beam, views)
    parts = [tomography.line_integrals(scan, truth, view, FINE) for view in torch.arange(views).split(8)]
    sinogram = torch.cat(parts)
    if photons:
        sinogram = tomography.with_photon_noise(sinogram, photons, generator(seed, "photons"))
    return Measurement(scan, sinogram, photons, volume.affine, truth)


def read_sinogram(file: Path, beam: str, pitch: float, photons: float = 0) -> Measurement:
    """Returns the measurement in a .npz file: `sinogram` (V, D) or (V, D, Z), mm of water, and `angles`, degrees.

    pitch: mm between detectors, and so between the voxels of what is reconstructed, D on a side.

    Raises:
        InputError: the file is damaged or holds something else.
    """
    try:
        if sum(entry.file_size for entry in zipfile.ZipFile(file).infolist()) > 8 * MOST_VOXELS:
            raise InputError(f"{file}: larger than {8 * MOST_VOXELS >> 30} GiB; bin the detectors")
        with numpy.load(file) as arrays:
            sinogram, angles = (numpy.asarray(arrays[name], numpy.float32) for name in ("sinogram", "angles"))
    except (OSError, ValueError, KeyError, EOFError, TypeError, zipfile.BadZipFile) as error:
        raise InputError(f"{file}: {SINOGRAM} ({' '.join(str(error).split())[:120]})") from None
    if sinogram.ndim == 2:
        sinogram = sinogram[..., None]
    if sinogram.ndim != 3 or angles.shape != sinogram.shape[:1] or min(sinogram.shape) < 1:
        raise InputError(f"{file}: {SINOGRAM}, got {sinogram.shape} and {angles.shape}")
    if not (numpy.isfinite(sinogram).all() and numpy.isfinite(angles).all()):
        raise InputError(f"{file}: the sinogram or the angles are not all finite numbers")
    tomography.check_beam(beam, len(angles))
    detectors, slices = sinogram.shape[1:]
    if detectors % 2 == 0:
        raise InputError(f"{file}: {detectors} detectors; expected an odd number, the middle one on the axis")
    angles = torch.from_numpy(numpy.radians(angles))
    scan = tomography.Scan(beam, angles, (detectors, detectors, slices), (pitch,) * 3, detectors)
    return Measurement(scan, torch.from_numpy(sinogram), photons, numpy.diag([pitch] * 3 + [1.0]))


class Tomography(MeasuredVolume):
    """Attenuation relative to water, learned from line integrals.

    The residual is filtered by the square root of the ramp before it is squared: then the misfit is nearly the mean
    squared error of the image, and all frequencies are learned at one speed (the filter of filtered back-projection,
    Ramachandran and Lakshminarayanan 1971). With noise of known strength, Wiener's gain keeps frequencies that it
    drowns from being learned, and squared residuals weigh by the root of how many photons came through: between the
    inverse variances, by which what lies deep inside is learned too slowly, and none.
    """

    def __init__(self, measurement: Measurement, variation: float, iterations: int) -> None:
        scan = measurement.scan
        super().__init__(scan.shape, measurement.affine, variation)
        self.measurement, self.iterations, self.truth = measurement, iterations, measurement.truth
        self._matrix: tomography.SystemMatrix | None = None
        weight = tomography.ray_weights(measurement.sinogram, measurement.photons).sqrt()
        self._root_weight = (weight / weight.mean()).sqrt()
        size = 2 * scan.detectors
        # The mean is measured too: the ramp's floor, a quarter of a frequency, keeps it from being forgotten.
        ramp = torch.fft.rfftfreq(size).clamp(min=0.25 / size)
        self._root_filter = (ramp * self._wiener_gain(size)).sqrt()[:, None]

    @classmethod
    def read(cls, file: Path, settings: FitSettings) -> Tomography:
        """Returns the scan of a volume (NIfTI, DICOM, .npy), or the measurement in a .npz file."""
        chosen = settings.tomography
        if file.suffix.lower() == ".npz":
            measurement = read_sinogram(file, chosen.beam, chosen.pitch, chosen.photons)
        else:
            volume = read_volume(file).middle(chosen.slices)
            measurement = scanned(volume, chosen.beam, chosen.views, chosen.photons, settings.train.seed)
        return cls(measurement, chosen.variation, chosen.sart_iterations)

    @classmethod
    def recall(cls, record: dict[str, Any], settings: FitSettings) -> Tomography:
        """Returns where a fitted volume lies."""
        shape, affine = placed(record)
        scan = tomography.Scan("parallel", torch.zeros(1), shape, (1.0, 1.0, 1.0), 1)
        return cls(Measurement(scan, torch.zeros(1, 1, 1), 0.0, affine), 0.0, 1)

    def evaluate(self, field: SignalField) -> dict[str, Any]:
        """Returns psnr against the truth, and that of the classical methods; without a truth, psnr of the sinogram."""
        if self.truth is not None:
            return super().evaluate(field)
        fitted = psnr(self._projected(self.values(field)), self.measurement.sinogram)
        return {"psnr": fitted, "psnr_of": "the sinogram: no truth is known"}

    def _projected(self, values: Tensor) -> Tensor:
        """Returns the line integrals (V, D, K) of a slab's values (X, Y, K)."""
        scan = self.measurement.scan
        if scan.beam == "cone":
            return tomography.line_integrals(scan, values, torch.arange(len(scan.angles)), 1.0)
        if self._matrix is None:
            self._matrix = tomography.SystemMatrix(scan, 1.0)
        return self._matrix(values)

    def _wiener_gain(self, size: int) -> Tensor:
        """Returns what part (size // 2 + 1,) of the sinogram is signal, by frequency along the detectors (power)."""
        sinogram, photons = self.measurement.sinogram, self.measurement.photons
        if not photons:
            return torch.ones(size // 2 + 1)
        power = torch.fft.rfft(sinogram * self._root_weight, n=size, dim=1).abs().square().mean((0, 2))
        noise = (tomography.noise_variance(sinogram, photons) * self._root_weight.square()).sum(1).mean()
        return (1 - noise / power).clamp(min=0)

    def describe(self) -> str:
        """Returns what is measured, in words."""
        scan, measurement = self.measurement.scan, self.measurement
        noise = f"{measurement.photons:g} photons a ray" if measurement.photons else "no noise"
        sides = " x ".join(map(str, self.shape))
        return f"{sides} voxels, {len(scan.angles)} {scan.beam} views of {scan.detectors} detectors, {noise}"

    def slab(self, n_samples: int) -> int:
        """Returns how many slices a step takes: all of a cone beam, whose rays cross them."""
        return self.shape[2] if self.measurement.scan.beam == "cone" else super().slab(n_samples)

    def misfit(self, values: Tensor, first: int, random: torch.Generator) -> Tensor:
        """Returns about the mean squared error of a slab's attenuation."""
        scan, last = self.measurement.scan, first + values.shape[2]
        residual = self._projected(values) - self.measurement.sinogram[:, :, first:last]
        weighted = residual / scan.pitch * self._root_weight[:, :, first:last]
        size = 2 * scan.detectors
        spectrum = torch.fft.rfft(weighted, n=size, dim=1) * self._root_filter
        # Parseval: a spectrum of real numbers holds half of its energy.
        return math.pi / len(scan.angles) * 2 / size * spectrum.abs().square().sum() / values.numel()

    def baseline_scores(self) -> dict[str, float]:
        """Returns PSNR, dB, of FBP with its best filter and of SART after its best number of iterations.

        Both are the best by the truth, in favour of the baselines. Nothing where scikit-image cannot reconstruct.
        """
        scan, sinogram, truth = self.measurement.scan, self.measurement.sinogram, self.truth
        try:
            baselines.check_baselines(scan)
        except InputError as error:
            print(f"no baselines: {error}")
            return {}
        by_filter = {
            name: psnr(baselines.filtered_back_projection(scan, sinogram, name), truth) for name in baselines.FILTERS
        }
        best = max(by_filter, key=by_filter.get)
        scores = []
        for image in baselines.sart_iterations(scan, sinogram, self.iterations):
            scores.append(psnr(image, truth))
            if scores[-1] < max(scores) - WORSE:
                break
        count = max(range(len(scores)), key=scores.__getitem__) + 1
        return {f"fbp ({best})": by_filter[best], f"sart ({count} iterations)": max(scores)}

    def in_units_of_file(self, values: Tensor) -> Tensor:
        """Returns Hounsfield units."""
        return tomography.hounsfield(values)
