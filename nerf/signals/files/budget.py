"""What a picture takes in memory, by its header, before a pixel of it is decoded."""

from __future__ import annotations

from pathlib import Path

from nerf.errors import InputError
from nerf.memory import machine_memory
from nerf.scenes.pictures import picture_size
from nerf.signals.files.pictures import exr_size

DECODED_BYTES = 6  # of a value: 8 or 16 bits as they are decoded, and float32


def check_picture_memory(file: Path) -> None:
    """Raises InputError if a picture is larger than the memory; a few bytes of a file may claim any size."""
    width, height, channels = exr_size(file) if file.suffix.lower() == ".exr" else picture_size(file)
    needed = width * height * channels * DECODED_BYTES
    if needed > machine_memory():
        raise InputError(
            f"{file}: {width} x {height} pixels take {needed / 2**30:.1f} GiB of memory, the machine has "
            f"{machine_memory() / 2**30:.1f}; shrink or cut the picture"
        )
