"""Pictures as float32 tensors (H, W, 1 to 4) from and to files: 8 and 16 bits in [0, 1], linear light from .exr."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy
import torch
from torch import Tensor

from nerf.errors import InputError
from nerf.files import check_readable, openexr, replacing, write_exr
from nerf.scenes.pictures import check_size, read_whole_picture

WRITTEN = (".png", ".jpg", ".jpeg", ".webp", ".tif", ".tiff", ".bmp", ".exr")
MODES = {1: "L", 2: "LA", 3: "RGB", 4: "RGBA"}


def read_float_picture(file: Path) -> tuple[Tensor, bool]:
    """Returns a picture (H, W, C) float32 and whether it is HDR (linear light without a peak).

    C is 1 (grey), 2 (grey, alpha), 3 or 4. 8 and 16 bits become [0, 1]. What EXIF asks to turn is turned.

    Raises:
        InputError: the file is not a picture, is damaged, claims an absurd size, or holds what is not a number.
    """
    if file.suffix.lower() == ".exr":
        return _read_exr(file), True
    values = read_whole_picture(file)
    return torch.from_numpy(values.astype(numpy.float32) / numpy.iinfo(values.dtype).max), False


def write_float_picture(file: Path, picture: Tensor, hdr: bool) -> None:
    """Writes a picture (H, W, C): 8 bits a channel, rounded to nearest, or half floats as .exr.

    Raises:
        InputError: the format is not known, or does not hold such a picture.
    """
    suffix = file.suffix.lower()
    if suffix not in WRITTEN:
        raise InputError(f'{file}: "{file.suffix}" is not a picture format; use one of {", ".join(WRITTEN)}')
    if suffix == ".exr":
        return _write_exr(file, picture)
    if hdr:
        raise InputError(f"{file}: the picture is HDR; write it as .exr")

    from PIL import Image

    values = (picture.clamp(0, 1) * 255 + 0.5).to(torch.uint8).numpy()
    image = Image.fromarray(values[..., 0] if values.shape[2] == 1 else values, MODES[values.shape[2]])
    if suffix in (".jpg", ".jpeg", ".bmp"):
        image = image.convert("L" if values.shape[2] < 3 else "RGB")
    with replacing(file) as partial:
        image.save(partial)


@contextmanager
def _opened_exr(file: Path, header_only: bool) -> Iterator[Any]:
    """Yields an EXR as the library opens it.

    Raises:
        InputError: it is damaged, whether that shows at once or inside the block, or the library is not installed.
    """
    library = openexr(file)
    check_readable(file)
    try:
        with library.File(str(file), separate_channels=True, header_only=header_only) as picture:
            yield picture
    except InputError:
        raise
    except Exception as error:  # the library raises plain RuntimeError and ValueError alike
        raise InputError(f"{file}: not a readable EXR ({' '.join(str(error).split())}); restore the file") from None


def exr_size(file: Path) -> tuple[int, int, int]:
    """Returns width, height and channels of an EXR from its header: no part is larger, and channels are of all parts.

    Raises:
        InputError: the file is damaged, or claims an absurd size.
    """
    sides = []
    channels = 0
    with _opened_exr(file, header_only=True) as picture:
        for part in picture.parts:
            low, high = part.header["dataWindow"]
            sides.append([int(last) - int(first) + 1 for first, last in zip(low, high)])
            channels += len(part.header["channels"])
        width, height = map(max, zip(*sides))

    check_size(file, width, height)
    return width, height, channels


def _read_exr(file: Path) -> Tensor:
    """Returns linear light (H, W, C)."""
    exr_size(file)
    with _opened_exr(file, header_only=False) as picture:
        channels = {name: channel.pixels for name, channel in picture.channels().items()}

    names = [name for name in "RGBA" if name in channels] or ["Y"]
    if not set(names) <= channels.keys() or len(names) == 2:
        raise InputError(f"{file}: channels {', '.join(channels)}; expected R, G, B, perhaps A, or Y")
    values = torch.from_numpy(numpy.stack([channels[name].astype(numpy.float32) for name in names], axis=-1))
    if not torch.isfinite(values).all():
        raise InputError(f"{file}: holds values that are not finite numbers; mend the picture")
    return values


def _write_exr(file: Path, picture: Tensor) -> None:
    """Writes linear light (H, W, C) as half floats."""
    names = {1: "Y", 2: "YA", 3: "RGB", 4: "RGBA"}[picture.shape[2]]
    values = picture.numpy().astype(numpy.float16)
    write_exr(file, {name: values[..., index] for index, name in enumerate(names)})
