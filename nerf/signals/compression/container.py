"""A compressed picture as a file: header, network, coefficients; a checksum over all of it.

``NRFP``, version, then the header of `Header.FORMAT`, the network's weights, the entropy coder's 32-bit words, and the
first 16 bytes of the SHA-256 of all before. Little-endian. Sizes are checked before anything is allocated.
"""

from __future__ import annotations

import hashlib
import math
import struct
from dataclasses import dataclass
from pathlib import Path

import numpy

from nerf.errors import InputError
from nerf.files import replacing
from nerf.memory import machine_memory
from nerf.signals.compression.coding import Reader, code
from nerf.signals.compression.network import ONE, PROBABILITY, Network
from nerf.signals.compression.wavelet import band_shapes, deepest, synthesis

MAGIC = b"NRFP"
VERSION = 1
CHECK = 16  # bytes of the checksum
MOST_PIXELS = 2**28
MOST_LEVELS = 8
# Of a value: half of what a coefficient costs at least, the other half for the coder's rounding; and bytes of memory.
LEAST_BITS = -0.5 * math.log2(1 - PROBABILITY.min() / ONE)
SPARE_BITS = 1024
BYTES_A_VALUE = 100
CENTRE_UNIT = 256  # counts of `Header.centre` in a quantiser step


@dataclass
class Header:
    """Sizes, the quantiser, and the colour transform."""

    width: int
    height: int
    levels: int  # of the wavelet
    step: float  # of the quantiser
    # Where in its cell a coefficient of magnitude 1, and a larger one, is restored; counts of 1 / 256 below the middle.
    centre: tuple[int, int]
    mean: numpy.ndarray  # (C,), of the colours, in [0, 1]
    basis: numpy.ndarray  # (C, C), orthonormal rows

    FORMAT = "<4sBBBIIfBB"

    @property
    def channels(self) -> int:
        return len(self.mean)

    @property
    def shapes(self) -> list[tuple[int, int]]:
        return band_shapes(self.height, self.width, self.levels)

    def to_bytes(self) -> bytes:
        """Returns the header as it stands in the file."""
        sizes = (self.channels, self.levels, self.width, self.height)
        start = struct.pack(self.FORMAT, MAGIC, VERSION, *sizes, self.step, *self.centre)
        return start + self.mean.astype("<f4").tobytes() + self.basis.astype("<f4").tobytes()


def write_compressed(file: Path, header: Header, network: Network, words: numpy.ndarray) -> None:
    """Writes a compressed picture."""
    data = header.to_bytes() + network.to_bytes() + words.astype("<u4").tobytes()
    with replacing(file) as partial:
        partial.write_bytes(data + hashlib.sha256(data).digest()[:CHECK])


def read_compressed(file: Path) -> tuple[Header, Network, numpy.ndarray]:
    """Returns what `write_compressed` wrote.

    Raises:
        InputError: the file is not a compressed picture, or any of its bytes has changed.
    """
    try:
        data = file.read_bytes()
    except OSError as error:
        raise InputError(f"{file}: cannot be read ({error.strerror})") from None

    # Is it such a file, and whole?
    start = struct.calcsize(Header.FORMAT)
    if len(data) < start + CHECK or data[:4] != MAGIC:
        raise InputError(f"{file}: not a picture that nerf compress wrote")
    body = data[:-CHECK]
    check = data[-CHECK:]
    if hashlib.sha256(body).digest()[:CHECK] != check:
        raise InputError(f"{file}: damaged: the checksum does not fit; restore the file")

    # Sizes, before anything is allocated by them.
    _, version, channels, levels, width, height, step, below_one, below_larger = struct.unpack_from(Header.FORMAT, body)
    if version != VERSION:
        raise InputError(f"{file}: version {version}, this program reads {VERSION}; use the one that wrote it")
    sane = 1 <= channels <= 4 and 0 < width * height <= MOST_PIXELS and step > 0
    sane = sane and levels <= min(MOST_LEVELS, deepest(height, width))
    n_bands = channels * (3 * levels + 1)
    ends = start + 4 * channels + 4 * channels**2 + Network.size(n_bands)
    if not sane or ends > len(body) or (len(body) - ends) % 4:
        raise InputError(f"{file}: impossible sizes in its header; restore the file")

    # What is claimed must be paid for: even a coefficient that was expected to be 0 takes its part of a bit.
    values = width * height * channels
    claimed = values * LEAST_BITS - 8 * (len(body) - ends)
    if claimed > SPARE_BITS:
        raise InputError(f"{file}: claims {width} x {height} pixels, which it is too short for; restore the file")
    if values * BYTES_A_VALUE > machine_memory():
        raise InputError(
            f"{file}: {width} x {height} pixels take about {values * BYTES_A_VALUE / 2**30:.1f} GiB of memory, the "
            f"machine has {machine_memory() / 2**30:.1f}; decode it on a larger one"
        )

    numbers = numpy.frombuffer(body, "<f4", channels + channels**2, start).astype(numpy.float64)
    mean = numbers[:channels]
    basis = numbers[channels:].reshape(channels, -1)
    header = Header(width, height, levels, step, (below_one, below_larger), mean, basis)
    network = Network.from_bytes(body[start + numbers.nbytes // 2 : ends], n_bands)
    return header, network, numpy.frombuffer(body, "<u4", offset=ends).astype(numpy.uint32)


def restored(header: Header, coefficients: list[list[numpy.ndarray]]) -> numpy.ndarray:
    """Returns the picture (H, W, C) uint8 of quantised coefficients by channel and band."""
    # Coefficients from whole numbers, and planes from coefficients.
    planes = []
    for bands in coefficients:
        values = []
        for band in bands:
            magnitude = numpy.abs(band).astype(numpy.float64)
            below = numpy.where(magnitude == 1, header.centre[0], header.centre[1]) / CENTRE_UNIT
            values.append(numpy.sign(band) * numpy.maximum(magnitude - below, 0) * header.step)
        planes.append(synthesis(values))

    # Colours from planes, one after the other: the order is part of the bits.
    picture = numpy.empty((header.height, header.width, header.channels), numpy.uint8)
    for channel in range(header.channels):
        value = numpy.full((header.height, header.width), header.mean[channel])
        for plane, weight in zip(planes, header.basis[:, channel]):
            value = value + weight * plane
        picture[:, :, channel] = numpy.clip(numpy.floor(value * 255 + 0.5), 0, 255)
    return picture


def decompressed(file: Path) -> numpy.ndarray:
    """Returns the picture (H, W, C) uint8 of a compressed file.

    Raises:
        InputError: the file is not whole, or the entropy coder is not installed.
    """
    header, network, words = read_compressed(file)
    return restored(header, code(Reader(words), network, header.shapes))


def decompress(file: Path, out: Path) -> str:
    """Writes the picture of a compressed file, lossless formats only, and returns what it wrote, in words."""
    from PIL import Image

    if out.suffix.lower() not in (".png", ".tif", ".tiff", ".bmp"):
        raise InputError(f'{out}: "{out.suffix}" would change the pixels; use .png, .tif or .bmp')
    picture = decompressed(file)
    with replacing(out) as partial:
        Image.fromarray(picture[..., 0] if picture.shape[2] == 1 else picture).save(partial)
    return f"picture: {out} ({picture.shape[1]} x {picture.shape[0]})"
