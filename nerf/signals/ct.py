"""Computed tomography from few views: a volume is scanned, or given sinograms are read; Hounsfield units come out."""

from __future__ import annotations

import math
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy
import torch
from torch import Tensor

from nerf.errors import InputError
from nerf.fields.coordinate import CoordinateField
from nerf.report import say
from nerf.seeding import generator
from nerf.signals import baselines
from nerf.signals.files.voxels import LEAST_LEAN, MOST_VOXELS, VoxelVolume, read_volume
from nerf.signals.measured_volume import MeasuredVolume, check_contrast, lattice_of, volume_psnr
from nerf.signals.scanners.ct import (
    Scan,
    SystemMatrix,
    attenuation,
    check_beam,
    hounsfield,
    line_integrals,
    noise_variance,
    ray_weights,
    scan_of,
    with_photon_noise,
)
from nerf.signals.settings import FitSettings, SignalDefaults

WORSE = 0.3  # dB below its best, SART will not be better again: it has begun to fit the noise
FINE = 4.0  # samples a voxel by which a volume is scanned: four times as fine as the field's line integrals are
LEAST_AIR = -300.0  # Hounsfield units: a volume without less has no air and no lung
SINOGRAM = "expected the arrays sinogram (views, detectors[, slices]), in mm of water, and angles (views), in degrees"


@dataclass(frozen=True)
class MeasuredSinogram:
    """What a scanner measures of a volume (X, Y, Z)."""

    scan: Scan
    sinogram: Tensor  # (V, D, Z) float32, mm of water
    photons: float  # of a ray before the patient; 0 = no noise
    affine: numpy.ndarray  # (4, 4), mm from index
    truth: Tensor | None = None  # attenuation (X, Y, Z), where it is known


def scanned(volume: VoxelVolume, beam: str, views: int, photons: float = 0, seed: int = 0) -> MeasuredSinogram:
    """Returns what a scanner measures of a volume in Hounsfield units.

    Raises:
        InputError: there is no such beam, too few views, or nothing to see; or a cone beam crosses slices that lie
            aslant.
    """
    check_beam(beam, views)
    if beam == "cone" and volume.lean > LEAST_LEAN:
        raise InputError(
            f"{volume.source}: a cone beam crosses slices, and these lie aslant by {volume.lean:.1f} degrees; resample "
            "them to right angles, or take tomography.beam=fan"
        )
    truth = attenuation(torch.from_numpy(volume.values))
    check_contrast(truth, volume.source)
    x, y, z = truth.shape
    scan = scan_of((x, y, z), volume.spacing, beam, views)

    parts = [line_integrals(scan, truth, view, FINE) for view in torch.arange(views).split(8)]
    sinogram = torch.cat(parts)
    if photons:
        sinogram = with_photon_noise(sinogram, photons, generator(seed, "photons"))
    return MeasuredSinogram(scan, sinogram, photons, volume.affine, truth)


def read_sinogram(file: Path, beam: str, pitch: float, photons: float = 0) -> MeasuredSinogram:
    """Returns the measurement in a .npz file: `sinogram` (V, D) or (V, D, Z), mm of water, and `angles`, degrees.

    pitch: mm between detectors, and so between the voxels of what is reconstructed, D on a side.

    Raises:
        InputError: the file is damaged or holds something else.
    """
    sinogram, angles = _read_arrays(file)
    check_beam(beam, len(angles))
    detectors, slices = sinogram.shape[1:]
    if detectors % 2 == 0:
        raise InputError(f"{file}: {detectors} detectors; expected an odd number, the middle one on the axis")

    radians = torch.from_numpy(numpy.radians(angles))
    scan = Scan(beam, radians, (detectors, detectors, slices), (pitch, pitch, pitch), detectors)
    return MeasuredSinogram(scan, torch.from_numpy(sinogram), photons, numpy.diag([pitch] * 3 + [1.0]))


def _read_arrays(file: Path) -> tuple[numpy.ndarray, numpy.ndarray]:
    """Returns the sinogram (V, D, Z) and the angles (V,), float32, degrees, of a .npz file."""
    try:
        if sum(entry.file_size for entry in zipfile.ZipFile(file).infolist()) > 8 * MOST_VOXELS:
            raise InputError(f"{file}: larger than {8 * MOST_VOXELS >> 30} GiB; bin the detectors")
        with numpy.load(file) as arrays:
            sinogram = numpy.asarray(arrays["sinogram"], numpy.float32)
            angles = numpy.asarray(arrays["angles"], numpy.float32)
    except (OSError, ValueError, KeyError, EOFError, TypeError, zipfile.BadZipFile) as error:
        raise InputError(f"{file}: {SINOGRAM} ({' '.join(str(error).split())[:120]})") from None

    if sinogram.ndim == 2:
        sinogram = sinogram[..., None]
    if sinogram.ndim != 3 or angles.shape != sinogram.shape[:1] or min(sinogram.shape) < 1:
        raise InputError(f"{file}: {SINOGRAM}, got {sinogram.shape} and {angles.shape}")
    if not (numpy.isfinite(sinogram).all() and numpy.isfinite(angles).all()):
        raise InputError(f"{file}: the sinogram or the angles are not all finite numbers")
    return sinogram, angles


def _say_units(file: Path, volume: VoxelVolume) -> None:
    """Says that values are taken as Hounsfield units where they do not look like it: air would be about -1000."""
    low = float(volume.values.min())
    high = float(volume.values.max())
    if low > LEAST_AIR:
        say(
            "signal",
            f"warning: {file}: values from {low:g} to {high:g} are taken as Hounsfield units, so nothing in it is air "
            "(-1000); if they are stored with an offset, subtract it first (often 1024)",
        )


class Tomography(MeasuredVolume):
    """Attenuation relative to water, learned from line integrals.

    The residual is filtered by the square root of the ramp before it is squared: then the misfit is nearly the mean
    squared error of the image, and all frequencies are learned at one speed (the filter of filtered back-projection,
    Ramachandran and Lakshminarayanan 1971). With noise of known strength, Wiener's gain keeps frequencies that it
    drowns from being learned, and squared residuals weigh by the root of how many photons came through: between the
    inverse variances, by which what lies deep inside is learned too slowly, and none.
    """

    defaults: ClassVar[SignalDefaults] = {
        "hash": {
            "field": {"levels": 6, "base_resolution": 8, "finest_resolution": 128, "log2_table_size": 18, "width": 32},
            "optimizer": {"learning_rate": 1e-2, "final_factor": 0.03, "beta2": 0.99, "horizon": 400},
            "train": {"steps": 400, "samples": 2**16},
        }
    }

    def __init__(self, measurement: MeasuredSinogram, variation: float, iterations: int) -> None:
        """variation: weight of the total variation. iterations: of SART, at most."""
        scan = measurement.scan
        super().__init__(scan.shape, measurement.affine, variation)
        self.measurement = measurement
        self.iterations = iterations
        if measurement.truth is not None:
            self.truth = measurement.truth
        self._matrix: SystemMatrix | None = None

        weight = ray_weights(measurement.sinogram, measurement.photons).sqrt()
        self._root_weight = (weight / weight.mean()).sqrt()

        # The mean is measured too: the ramp's floor, a quarter of a frequency, keeps it from being forgotten.
        size = 2 * scan.detectors
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
            _say_units(file, volume)
            measurement = scanned(volume, chosen.beam, chosen.views, chosen.photons, settings.train.seed)
        return cls(measurement, chosen.variation, chosen.sart_iterations)

    @classmethod
    def recall(cls, record: dict[str, Any], settings: FitSettings) -> Tomography:
        """Returns where a fitted volume lies."""
        shape, affine = lattice_of(record)
        scan = Scan("parallel", torch.zeros(1), shape, (1.0, 1.0, 1.0), 1)
        return cls(MeasuredSinogram(scan, torch.zeros(1, 1, 1), 0.0, affine), 0.0, 1)

    def evaluate(self, field: CoordinateField) -> dict[str, Any]:
        """Returns psnr against the truth, and that of the classical methods; without a truth, psnr of the sinogram."""
        if self.measurement.truth is not None:
            return super().evaluate(field)
        fitted = volume_psnr(self._projected(self.values(field)), self.measurement.sinogram)
        return {"psnr": fitted, "psnr_of": "the sinogram: no truth is known"}

    def _projected(self, values: Tensor) -> Tensor:
        """Returns the line integrals (V, D, K) of a slab's values (X, Y, K)."""
        scan = self.measurement.scan
        if scan.beam == "cone":
            return line_integrals(scan, values, torch.arange(len(scan.angles)), 1.0)
        if self._matrix is None:
            self._matrix = SystemMatrix(scan, 1.0)
        return self._matrix(values)

    def _wiener_gain(self, size: int) -> Tensor:
        """Returns what part (size // 2 + 1,) of the sinogram is signal, by frequency along the detectors (power)."""
        sinogram = self.measurement.sinogram
        photons = self.measurement.photons
        if not photons:
            return torch.ones(size // 2 + 1)
        power = torch.fft.rfft(sinogram * self._root_weight, n=size, dim=1).abs().square().mean((0, 2))
        noise = (noise_variance(sinogram, photons) * self._root_weight.square()).sum(1).mean()
        return (1 - noise / power).clamp(min=0)

    def describe(self) -> str:
        """Returns what is measured, in words, and why no classical method stands beside it, if so."""
        scan = self.measurement.scan
        photons = self.measurement.photons
        sides = " x ".join(map(str, self.shape))
        noise = f"{photons:g} photons a ray" if photons else "no noise"
        text = f"{sides} voxels, {len(scan.angles)} {scan.beam} views of {scan.detectors} detectors, {noise}"

        missing = baselines.missing_baselines(scan)
        if self.measurement.truth is not None and missing:
            text += f"; no baselines: {missing}"
        return text

    def slab(self, n_samples: int) -> int:
        """Returns how many slices a step takes: all of a cone beam, whose rays cross them."""
        return self.shape[2] if self.measurement.scan.beam == "cone" else super().slab(n_samples)

    def misfit(self, values: Tensor, first: int, random: torch.Generator) -> Tensor:
        """Returns about the mean squared error of a slab's attenuation."""
        scan = self.measurement.scan
        last = first + values.shape[2]
        residual = self._projected(values) - self.measurement.sinogram[:, :, first:last]
        weighted = residual / scan.pitch * self._root_weight[:, :, first:last]

        # Parseval: a spectrum of real numbers holds half of its energy.
        size = 2 * scan.detectors
        spectrum = torch.fft.rfft(weighted, n=size, dim=1) * self._root_filter
        return math.pi / len(scan.angles) * 2 / size * spectrum.abs().square().sum() / values.numel()

    def baseline_scores(self) -> dict[str, float]:
        """Returns PSNR, dB, of FBP with its best filter and of SART after its best number of iterations.

        Both are the best by the truth, in favour of the baselines. Nothing where scikit-image cannot reconstruct.
        """
        scan = self.measurement.scan
        sinogram = self.measurement.sinogram
        if baselines.missing_baselines(scan):
            return {}

        by_filter = {
            name: volume_psnr(baselines.filtered_back_projection(scan, sinogram, name), self.truth)
            for name in baselines.FILTERS
        }
        best = max(by_filter, key=by_filter.__getitem__)

        scores = []
        for image in baselines.sart_iterations(scan, sinogram, self.iterations):
            scores.append(volume_psnr(image, self.truth))
            if scores[-1] < max(scores) - WORSE:
                break
        count = max(range(len(scores)), key=scores.__getitem__) + 1
        return {f"fbp ({best})": by_filter[best], f"sart ({count} iterations)": max(scores)}

    def in_units_of_file(self, values: Tensor) -> Tensor:
        """Returns Hounsfield units."""
        return hounsfield(values)
