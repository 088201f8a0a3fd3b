"""What volumes measured indirectly share: the field is asked at their voxels, and its values are kept above 0.

Each voxel takes part in many measurements: asking the field there once a step is cheaper, by that number, than along
every ray. A step takes a slab of neighbouring slices; they share the field, and so what was measured of each. The
misfit is square-rooted before total variation is added (the square-root lasso, Belloni et al. 2011): the best weight
then does not depend on the noise, and one serves all files; nothing is chosen by looking at a truth.
"""

from __future__ import annotations

import math
from abc import abstractmethod
from pathlib import Path
from typing import Any

import numpy
import torch
from torch import Tensor
from torch.nn.functional import softplus

from nerf.errors import InputError
from nerf.fields.coordinate import CoordinateField
from nerf.signals.files.voxels import MOST_VOXELS, VoxelVolume, write_nifti
from nerf.signals.signal import DecodeRequest, Signal, decibels

SMOOTHEST = 1e-3  # a difference of values that total variation rounds off, so that it has a gradient at 0
LEAST_MISFIT = 1e-9  # its square root has a gradient
SHARPNESS = 10.0  # of the softplus


def positive(value: Tensor) -> Tensor:
    """Returns values above 0 of a field's."""
    return softplus(value, beta=SHARPNESS)


def total_variation(values: Tensor) -> Tensor:
    """Returns the mean over voxels (X, Y, Z) of the length of the gradient, in differences of neighbours."""
    x = values.diff(dim=0)[:, :-1]
    y = values.diff(dim=1)[:-1]
    square = x.square() + y.square()
    if values.shape[2] > 1:
        square = square[:, :, :-1] + values.diff(dim=2)[:-1, :-1].square()
    return (square + SMOOTHEST**2).sqrt().mean()


def voxel_positions(shape: tuple[int, int, int], spacing: numpy.ndarray) -> Tensor:
    """Returns positions (X, Y, Z, 3) of voxels in the unit cube, in proportion, the longest side filling it."""
    extent = max(side * float(step) for side, step in zip(shape, spacing))
    axes = [(torch.arange(n) - (n - 1) / 2) * (float(mm) / extent) + 0.5 for n, mm in zip(shape, spacing)]
    return torch.stack(torch.meshgrid(*axes, indexing="ij"), -1)


def volume_psnr(values: Tensor, truth: Tensor) -> float:
    """Returns the peak signal-to-noise ratio, dB, where the peak is the range of the truth; infinite if equal."""
    error = (values.double() - truth.double()).square().mean().item()
    return decibels(error / float(truth.max() - truth.min()) ** 2)


def check_contrast(values: Tensor, source: object) -> None:
    """Raises InputError if a volume has one value everywhere. source: its file, for the message."""
    if not values.max() > values.min():
        raise InputError(f"{source}: every voxel counts as {values.flatten()[0]:g}: there is nothing to reconstruct")


class MeasuredVolume(Signal):
    """A volume (X, Y, Z) of which something else than its voxels is measured."""

    options = ("resolution",)
    suffix = ".nii.gz"
    outputs = 1

    truth: Tensor  # (X, Y, Z), for the scores alone; absent if none is known

    def __init__(self, shape: tuple[int, int, int], affine: numpy.ndarray, variation: float = 0.0) -> None:
        """affine: (4, 4), mm from index. variation: weight of the total variation."""
        self.shape = shape
        self.affine = affine
        self.variation = variation
        self.inputs = 3 if shape[2] > 1 else 2  # a single slice needs no third: its grid is smaller, and quicker
        self.samples = math.prod(shape)
        self._baselines: dict[str, float] | None = None

    @abstractmethod
    def misfit(self, values: Tensor, first: int, random: torch.Generator) -> Tensor:
        """Returns about the mean squared error of a slab's values (X, Y, K) from slice `first` on."""

    @abstractmethod
    def baseline_scores(self) -> dict[str, float]:
        """Returns PSNR, dB, of the classical methods by name, against the truth."""

    @abstractmethod
    def in_units_of_file(self, values: Tensor) -> Tensor:
        """Returns a field's values as the file has them."""

    @property
    def spacing(self) -> numpy.ndarray:
        """Distances (3,) of neighbouring voxels, mm."""
        return numpy.linalg.norm(self.affine[:3, :3], axis=0)

    def slab(self, n_samples: int) -> int:
        """Returns how many slices a step of so many voxels takes, at least 2."""
        return min(self.shape[2], max(2, n_samples // (self.shape[0] * self.shape[1])))

    def loss(self, field: CoordinateField, n_samples: int, random: torch.Generator) -> tuple[Tensor, float]:
        """Returns the root of a slab's misfit with its total variation, and the misfit."""
        count = self.slab(n_samples)
        first = int(torch.randint(self.shape[2] - count + 1, (), generator=random))
        position = voxel_positions(self.shape, self.spacing)[:, :, first : first + count, : self.inputs]
        values = positive(field(position.reshape(-1, self.inputs))).view(position.shape[:3])
        misfit = self.misfit(values, first, random)
        return (misfit + LEAST_MISFIT).sqrt() + self.variation * total_variation(values), misfit.item()

    def values(self, field: CoordinateField, shape: tuple[int, int, int] | None = None) -> Tensor:
        """Returns the field's values at the voxels, or at those of a finer or coarser lattice of the same extent."""
        shape = shape or self.shape
        spacing = self.spacing * numpy.array(self.shape) / numpy.array(shape)
        position = voxel_positions(shape, spacing)[..., : self.inputs].reshape(-1, self.inputs)
        return positive(field.values(position)).view(shape)

    def evaluate(self, field: CoordinateField) -> dict[str, Any]:
        """Returns psnr against the truth, and that of the classical methods."""
        if self._baselines is None:
            self._baselines = self.baseline_scores()
        return {"psnr": volume_psnr(self.values(field), self.truth), **self._baselines}

    def export(self, field: CoordinateField, file: Path, request: DecodeRequest) -> str:
        """Writes the volume as NIfTI, where the file's volume lies."""
        if not file.name.lower().endswith((".nii", ".nii.gz")):
            raise InputError(f"{file}: volumes are written as .nii or .nii.gz")

        factor = request.resolution / max(self.shape) if request.resolution else 1.0
        x, y, z = (max(1, round(side * factor)) if side > 1 else 1 for side in self.shape)
        if x * y * z > MOST_VOXELS:
            raise InputError(f"--resolution {request.resolution}: {x * y * z} voxels are more than {MOST_VOXELS}")

        # The voxels' outer faces stay where they are.
        step = numpy.array(self.shape) / numpy.array((x, y, z))
        affine = self.affine.copy()
        affine[:3, :3] *= step
        affine[:3, 3] += self.affine[:3, :3] @ ((step - 1) / 2)

        values = self.in_units_of_file(self.values(field, (x, y, z))).numpy()
        write_nifti(file, VoxelVolume(values, affine))
        return f"{file}: {x} x {y} x {z} voxels, {values.min():.4g} to {values.max():.4g}"

    def record(self) -> dict[str, Any]:
        """Returns where the volume lies."""
        return {"shape": list(self.shape), "affine": self.affine.tolist()}


def lattice_of(record: dict[str, Any]) -> tuple[tuple[int, int, int], numpy.ndarray]:
    """Returns the shape (X, Y, Z) and the affine (4, 4) that `MeasuredVolume.record` wrote.

    Raises:
        ValueError: they are not such.
    """
    x, y, z = (int(side) for side in record["shape"])
    affine = numpy.array(record["affine"], numpy.float64)
    if min(x, y, z) < 1 or x * y * z > MOST_VOXELS or affine.shape != (4, 4):
        raise ValueError(f"shape {(x, y, z)}, affine {affine.shape}")
    return (x, y, z), affine
