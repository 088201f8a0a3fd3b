"""Volumes of voxels: NIfTI, DICOM (a slice, or a folder of them) and .npy are read, NIfTI is written.

A volume's axes are those of its array; `affine` takes a voxel's index to patient coordinates in mm, x to the right, y
to the front, z to the head (RAS, as NIfTI has them; DICOM's LPS is turned here and only here). Where the gantry was
tilted, the third axis leans from the normal of the slices; the affine has it so, too.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy

from nerf.errors import InputError
from nerf.files import replacing
from nerf.report import say
from nerf.scenes.picture_names import some

MOST_VOXELS = 2**28  # 1 GiB of float32; a header may claim any number
MOST_INFLATED = 2**29  # bytes of all deflated DICOM files together
MOST_META = 2**16  # bytes in which a DICOM file names its compression
DEFLATED = b"1.2.840.10008.1.2.1.99"
AT_ONCE = 2**20  # bytes that are inflated
LEAST_SPACING = 1e-6  # mm
MOST_SPACING = 1e6
MOST_STRETCH = 1000.0  # of the distances of voxels along two axes
LEAST_LEAN = 1.0  # degrees by which the third axis leans from the normal of the slices that are worth a word
MOST_SIDEWAYS = 0.5  # of a pixel: slices that lie farther than that beside their row are no row
MOST_LOOKED_AT = 1000  # files inside a folder, when looking where in it DICOM files are
MISSING = "{file}: needs the package {package}; pip install 'nerf[medical]'"


@dataclass(frozen=True)
class VoxelVolume:
    """A volume, and where it lies."""

    values: numpy.ndarray  # (X, Y, Z) float32, finite
    affine: numpy.ndarray  # (4, 4) float64, mm from index
    source: str = ""  # the file, for messages

    @property
    def spacing(self) -> numpy.ndarray:
        """Distances (3,) of neighbouring voxels along the array's axes, mm."""
        return numpy.linalg.norm(self.affine[:3, :3], axis=0)

    @property
    def lean(self) -> float:
        """How far the third axis leans from the normal of the slices, degrees; 0 of a single slice."""
        if self.values.shape[2] == 1:
            return 0.0
        normal = numpy.cross(self.affine[:3, 0], self.affine[:3, 1])
        along = abs(normal @ self.affine[:3, 2])
        aside = numpy.linalg.norm(numpy.cross(normal, self.affine[:3, 2]))
        return float(numpy.degrees(numpy.arctan2(aside, along)))

    def middle(self, number: int) -> VoxelVolume:
        """Returns so many slices in the middle of the third axis, where they lie; 0 = all."""
        slices = self.values.shape[2]
        first = slices // 2 - number // 2
        if not 0 < number < slices:
            return self
        moved = self.affine.copy()
        moved[:3, 3] += first * self.affine[:3, 2]
        return VoxelVolume(self.values[:, :, first : first + number], moved, self.source)


def read_volume(path: Path) -> VoxelVolume:
    """Returns the volume in a .nii, .nii.gz, .dcm or .npy file, or in a folder of DICOM slices.

    Raises:
        InputError: it cannot be read, is too large, or a voxel is not a finite number.
    """
    if not path.exists():
        raise InputError(f"{path}: not found")

    name = path.name.lower()
    if name.endswith((".nii", ".nii.gz")):
        volume = _read_nifti(path)
    elif name.endswith(".npy"):
        volume = _read_npy(path)
    elif path.is_dir() or name.endswith((".dcm", ".ima")) or _has_dicom_mark(path):
        volume = _read_dicom(path)
    else:
        raise InputError(f"{path}: not a volume; expected .nii, .nii.gz, .dcm, .npy or a folder of DICOM slices")

    wrong = volume.values.size - int(numpy.isfinite(volume.values).sum())
    if wrong:
        raise InputError(f"{path}: {wrong} of {volume.values.size} voxels are not finite numbers; fill or cut them out")
    if volume.values.min() == volume.values.max():
        raise InputError(f"{path}: every voxel is {volume.values.flat[0]:g}; there is nothing to fit")
    _check_spacing(path, volume)
    if volume.lean > LEAST_LEAN:
        say(
            "signal",
            f"warning: {path}: the slices lie aslant, {volume.lean:.1f} degrees off their normal, as of a tilted "
            "gantry: each is computed for itself as it lies, and what is written lies as they do",
        )
    return volume


def _check_spacing(path: Path, volume: VoxelVolume) -> None:
    """Raises InputError if the header's distances of voxels cannot be those of a scan."""
    steps = [float(step) for step, side in zip(volume.spacing, volume.values.shape) if side > 1]
    whole = numpy.isfinite(volume.affine).all() and min(steps) >= LEAST_SPACING and max(steps) <= MOST_SPACING
    if not whole or max(steps) > MOST_STRETCH * min(steps):
        raise InputError(
            f"{path}: its header puts voxels {' x '.join(f'{step:g}' for step in steps)} mm apart; correct the header"
        )


def write_nifti(file: Path, volume: VoxelVolume) -> None:
    """Writes a volume as NIfTI (.nii or .nii.gz), float32, mm, with its affine; atomically."""
    nibabel = _nibabel(file)
    image = nibabel.Nifti1Image(numpy.asarray(volume.values, numpy.float32), volume.affine)
    image.header.set_xyzt_units("mm")
    with replacing(file) as partial:
        partial.write_bytes(_gzipped(image.to_bytes(), file))


def check_shape(file: Path, shape: tuple[int, ...]) -> tuple[int, int, int]:
    """Returns the shape as three lengths.

    Raises:
        InputError: it has not two or three dimensions (more of length 1 are dropped), or too many voxels.
    """
    sides = tuple(int(side) for side in shape)
    while len(sides) > 3 and sides[-1] == 1:
        sides = sides[:-1]
    if len(sides) == 2:
        sides = (*sides, 1)

    if len(sides) != 3 or min(sides) < 1:
        raise InputError(
            f"{file}: expected a picture or a volume, got {' x '.join(map(str, shape)) or 'nothing'} voxels"
        )
    x, y, z = sides
    if x * y * z > MOST_VOXELS:
        raise InputError(f"{file}: {x} x {y} x {z} voxels are more than {MOST_VOXELS}; cut or coarsen it")
    if min(x, y) < 8:
        raise InputError(f"{file}: slices of {x} x {y} voxels are too small; expected 8 x 8 or more")
    return x, y, z


@contextmanager
def _readable(path: Path) -> Iterator[None]:
    """Turns whatever a reader says of a damaged file into one line: each has errors of its own for some damage."""
    try:
        yield
    except (InputError, MemoryError):
        raise
    except Exception as error:
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise InputError(f"{path}: cannot be read, damaged or cut off ({reason})") from None


def _nibabel(file: Path) -> Any:
    """Returns the library of NIfTI."""
    try:
        import nibabel
    except ImportError:
        raise InputError(MISSING.format(file=file, package="nibabel")) from None
    return nibabel


def _pydicom(file: Path) -> Any:
    """Returns the library of DICOM."""
    try:
        import pydicom
    except ImportError:
        raise InputError(MISSING.format(file=file, package="pydicom")) from None
    return pydicom


def _gzipped(data: bytes, file: Path) -> bytes:
    """Returns the bytes compressed if the file's name says so, the same ones every time."""
    import gzip

    return gzip.compress(data, 6, mtime=0) if file.name.lower().endswith(".gz") else data


def _read_nifti(path: Path) -> VoxelVolume:
    nibabel = _nibabel(path)
    with _readable(path):
        try:
            image = nibabel.load(path)
        except (nibabel.filebasedimages.ImageFileError, nibabel.spatialimages.HeaderDataError) as error:
            raise ValueError(str(error)) from None
        shape = check_shape(path, image.shape)
        if image.get_data_dtype().fields or image.get_data_dtype().kind == "c":
            raise InputError(f"{path}: its voxels are colours or complex numbers; expected one real number a voxel")
        values = numpy.asarray(image.dataobj, numpy.float32).reshape(shape)
    return VoxelVolume(values, numpy.asarray(image.affine, numpy.float64), str(path))


def _read_npy(path: Path) -> VoxelVolume:
    with _readable(path):
        stored = numpy.load(path, mmap_mode="r")
        if stored.dtype.kind not in "iuf":
            raise InputError(f"{path}: expected real numbers, got {stored.dtype}")
        shape = check_shape(path, stored.shape)
        values = numpy.array(stored, numpy.float32).reshape(shape)
    return VoxelVolume(values, numpy.eye(4), str(path))


def _read_dicom(path: Path) -> VoxelVolume:
    pydicom = _pydicom(path)
    files = sorted(file for file in path.iterdir() if file.is_file()) if path.is_dir() else [path]

    slices = []
    inflated = 0
    for file in files:
        with _readable(file):
            inflated += _inflated_bytes(file)
            if inflated > MOST_INFLATED:
                raise InputError(f"{file}: inflates to more than {MOST_INFLATED >> 20} MiB; save it uncompressed")
            try:
                slices.append(_slice(file, pydicom.dcmread(file)))
            except pydicom.errors.InvalidDicomError:
                if len(files) == 1:
                    raise InputError(f"{file}: not a DICOM file") from None
    if not slices:
        deeper = _dicom_folders(path)
        hint = f", but in {some(deeper)} inside it: give one such folder" if deeper else ""
        raise InputError(f"{path}: no DICOM file in it{hint}")
    return _stacked(path, slices)


def _dicom_folders(path: Path) -> list[str]:
    """Returns the folders inside a folder in which DICOM files lie, relative to it; looks at only so many files."""
    files = (Path(folder) / name for folder, _, names in os.walk(path) for name in sorted(names))
    found = []
    for file in islice(files, MOST_LOOKED_AT):
        folder = file.parent.relative_to(path).as_posix()
        with suppress(InputError):
            if folder not in found and file.is_file() and _has_dicom_mark(file):
                found.append(folder)
    return sorted(found)


def _has_dicom_mark(path: Path) -> bool:
    """Returns whether a file begins like DICOM: scanners give its files no suffix."""
    with _readable(path), open(path, "rb") as opened:
        return opened.read(132)[128:] == b"DICM"


def _inflated_bytes(file: Path) -> int:
    """Returns how many bytes a deflated DICOM file inflates to, no more than are needed to refuse it; 0 of others.

    The reader would inflate it whole before any size is known.
    """
    import zlib

    with open(file, "rb") as opened:
        head = opened.read(MOST_META)
        if head[128:132] != b"DICM" or DEFLATED not in head or head[132:140] != b"\x02\x00\x00\x00UL\x04\x00":
            return 0
        opened.seek(144 + int.from_bytes(head[140:144], "little"))
        inflate = zlib.decompressobj(-zlib.MAX_WBITS)
        size = 0
        while size <= MOST_INFLATED and not inflate.eof:
            data = inflate.unconsumed_tail or opened.read(AT_ONCE)
            if not data:
                break
            size += len(inflate.decompress(data, AT_ONCE))
    return size


@dataclass(frozen=True)
class _Slice:
    """A DICOM slice, and what its header says, in mm and LPS: the library reads an element when it is asked for."""

    file: Path
    data: Any  # the library's
    series: str
    size: tuple[int, int]  # columns and rows
    across: numpy.ndarray  # (2, 3), the steps of a column and of a row
    origin: numpy.ndarray  # (3,), the first voxel
    height: float  # of it along the normal
    thickness: float


def _slice(file: Path, data: Any) -> _Slice:
    """Returns a slice, whose header is read here and nowhere else; raises what the library does if it is damaged."""
    spacing = numpy.array(data.get("PixelSpacing", (1, 1)), float)
    axes = numpy.array(data.get("ImageOrientationPatient", (1, 0, 0, 0, 1, 0)), float).reshape(2, 3)
    origin = numpy.array(data.get("ImagePositionPatient", (0, 0, 0)), float)
    return _Slice(
        file,
        data,
        series=str(data.get("SeriesInstanceUID", "")),
        size=(int(data.get("Columns", 0)), int(data.get("Rows", 0))),
        across=axes * spacing[::-1, None],
        origin=origin,
        height=float(origin @ numpy.cross(axes[0], axes[1])),
        thickness=float(data.get("SliceThickness", 0) or 1),
    )


def _stacked(path: Path, slices: list[_Slice]) -> VoxelVolume:
    """Returns the volume of DICOM slices, ordered by their height along the normal."""
    ordered = sorted(slices, key=lambda one: one.height)
    first = ordered[0]

    series = {one.series for one in ordered}
    if len(series) > 1:
        raise InputError(f"{path}: slices of {len(series)} series; keep those of one series in a folder")
    sizes = {one.size for one in ordered}
    if len(sizes) > 1:
        raise InputError(f"{path}: slices of {len(sizes)} sizes; keep those of one series in a folder")
    check_shape(path, (*first.size, len(ordered)))
    values = numpy.stack([_hounsfield(one.file, one.data) for one in ordered], axis=2)

    steps = numpy.diff([one.height for one in ordered])
    if len(steps) and (steps.min() <= 0 or numpy.ptp(steps) > 0.01 * steps.mean()):
        raise InputError(
            f"{path}: slices are not evenly spaced ({steps.min():g} to {steps.max():g} mm); one is missing"
        )

    affine = numpy.eye(4)
    affine[:3, :2] = first.across.T
    affine[:3, 2] = _step_of_slices(path, ordered)
    affine[:3, 3] = first.origin
    affine[:2] *= -1  # left, back -> right, front
    return VoxelVolume(values, affine, str(path))


def _step_of_slices(path: Path, slices: list[_Slice]) -> numpy.ndarray:
    """Returns the way (3,) from a slice to the next, mm, LPS: along the normal, unless the gantry was tilted.

    slices: evenly spaced, in order.

    Raises:
        InputError: they do not lie in a row.
    """
    first = slices[0]
    pixel = numpy.linalg.norm(first.across, axis=1)
    if len(slices) == 1:
        column, row = first.across / pixel[:, None]
        return numpy.cross(column, row) * first.thickness

    origins = numpy.stack([one.origin for one in slices])
    step = (origins[-1] - origins[0]) / (len(slices) - 1)
    aside = numpy.linalg.norm(origins - origins[0] - numpy.arange(len(slices))[:, None] * step, axis=1).max()
    if aside > MOST_SIDEWAYS * pixel.min():
        raise InputError(
            f"{path}: the slices do not lie in a row: their corners are up to {aside:.3g} mm beside one; keep those of "
            "one scan in a folder"
        )
    return step


def _hounsfield(file: Path, data: Any) -> numpy.ndarray:
    """Returns values (columns, rows) float32 of a slice, after slope and intercept."""
    with _readable(file):
        if "PixelData" not in data:
            raise InputError(f"{file}: a DICOM file without pixel data; give the file of a slice")
        try:
            stored = data.pixel_array
        except MemoryError:
            raise
        except Exception as error:
            syntax = getattr(getattr(data, "file_meta", None), "TransferSyntaxUID", None)
            if syntax is None or not syntax.is_compressed:
                raise ValueError(str(error)) from None
            raise InputError(
                f"{file}: its pixels are compressed as {syntax.name}, and no decoder here reads them; decompress it "
                "first (gdcmconv --raw), or restore it if it is damaged"
            ) from None
        if stored.ndim != 2:
            raise InputError(f"{file}: expected one grey slice, got {' x '.join(map(str, stored.shape))} values")
        slope = float(data.get("RescaleSlope", 1))
        intercept = float(data.get("RescaleIntercept", 0))
        return (stored.astype(numpy.float32) * slope + intercept).T
