"""Picture files of all kinds -> 8-bit RGB or RGBA arrays."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

import numpy
import torch
from torch import Tensor

from nerf.errors import InputError
from nerf.scenes.room import check_room
from nerf.scenes.scene import box_average

if TYPE_CHECKING:
    from PIL.Image import Image

LARGEST_SIDE = 16384  # pixels; a header that claims more is refused before anything is allocated
SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".tif", ".tiff", ".bmp")
EXIF_ORIENTATION = 0x0112
SIDEWAYS = (5, 6, 7, 8)  # values of it that ask to turn a picture by 90 degrees


def read_picture(path: Path, aspect: float | None = None) -> numpy.ndarray:
    """Returns (H, W, 3 or 4) uint8: grey, palette, 16-bit and CMYK pictures are converted.

    aspect: width by height of the camera. EXIF may ask to turn a picture by 90 degrees: it is turned if the camera's
    aspect says that the camera's file saw it turned.

    Raises:
        InputError: the file is not a picture, is damaged, or claims an absurd size.
    """
    from PIL import Image

    try:
        with Image.open(path) as image:
            if max(image.size) > LARGEST_SIDE:
                raise InputError(
                    f"{path}: claims {image.size[0]} x {image.size[1]} pixels; at most {LARGEST_SIDE} a side"
                )
            return _eight_bits(_turned(image, aspect), path)
    except InputError:
        raise
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        text = " ".join(str(error).split())
        raise InputError(f"{path}: not a readable picture ({text}); restore the file or remove its frame") from None


def _turned(image: Image, aspect: float | None) -> Image:
    """Returns the picture upright where EXIF and the camera's aspect agree that it lies on its side."""
    from PIL import ImageOps

    sideways = image.getexif().get(EXIF_ORIENTATION, 1) in SIDEWAYS
    if aspect is None or not sideways:
        return image
    width, height = image.size
    return ImageOps.exif_transpose(image) if (aspect > 1) != (width > height) else image


def _eight_bits(image: Image, path: Path) -> numpy.ndarray:
    """Returns the pixels (H, W, 3 or 4) uint8 of a picture."""
    if image.mode.startswith("I"):  # 16-bit grey, which has several names
        grey = numpy.asarray(image).astype(numpy.int64)
        if grey.min() < 0 or grey.max() > 65535:
            raise InputError(f"{path}: {image.mode} pixels of 32 bits; expected 8 or 16 bits a channel")
        return numpy.repeat((grey >> 8).astype(numpy.uint8)[:, :, None], 3, axis=2)

    if image.mode.startswith("F"):
        raise InputError(f"{path}: {image.mode} pixels; expected 8 or 16 bits a channel, convert the picture")

    has_alpha = image.mode in ("RGBA", "LA", "PA") or "transparency" in image.info
    return numpy.array(image.convert("RGBA" if has_alpha else "RGB"))


def picture_size(path: Path, aspect: float | None = None) -> tuple[int, int, int]:
    """Returns width, height and channels (3 or 4) that `read_picture` will return, from the file's header."""
    from PIL import Image

    try:
        with Image.open(path) as image:
            width, height = image.size
            sideways = image.getexif().get(EXIF_ORIENTATION, 1) in SIDEWAYS
            if aspect is not None and sideways and (aspect > 1) != (width > height):
                width, height = height, width
            has_alpha = image.mode in ("RGBA", "LA", "PA") or "transparency" in image.info
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        text = " ".join(str(error).split())
        raise InputError(f"{path}: not a readable picture ({text}); restore the file or remove its frame") from None

    if max(width, height) > LARGEST_SIDE:
        raise InputError(f"{path}: claims {width} x {height} pixels; at most {LARGEST_SIDE} a side")
    return width, height, 4 if has_alpha else 3


def read_pictures(
    paths: Sequence[Path], shapes: Sequence[tuple[int, int, int]], downscale: int
) -> tuple[Tensor, int, Tensor]:
    """Returns pictures (F, H, W, C) padded with 0 to the largest, the integer of 1.0, and their sizes (F, 2) int64.

    Sizes are width and height after box averages by `downscale`; rows and columns that fill no box are cut off. C is 4
    if any picture has alpha. shapes: what `picture_size` says of the files.
    """
    size = torch.tensor([[width // downscale, height // downscale] for width, height, _ in shapes])
    if (size == 0).any():
        raise InputError(f"{paths[0]}: smaller than --downscale {downscale}; choose a smaller factor")
    channels = max(shape[2] for shape in shapes)
    width, height = size.amax(0).tolist()
    check_room(paths[0], (len(paths), height, width, channels), downscale)

    # Averaging no picture at all tells the type of what averaging gives.
    like, white = box_average(torch.empty(0, downscale, downscale, channels, dtype=torch.uint8), 255, downscale)
    images = torch.zeros(len(paths), height, width, channels, dtype=like.dtype)

    def read(index: int) -> None:
        columns, rows, _ = shapes[index]
        picture = torch.from_numpy(read_picture(paths[index], columns / rows))
        if picture.shape[2] < channels:
            picture = torch.cat([picture, torch.full_like(picture[:, :, :1], 255)], dim=2)

        columns, rows = size[index].tolist()
        whole = picture[None, : rows * downscale, : columns * downscale].contiguous()
        images[index, :rows, :columns] = box_average(whole, 255, downscale)[0][0]

    with ThreadPoolExecutor(max_workers=4) as pool:
        for _ in pool.map(read, range(len(paths))):
            pass
    return images, white, size


def read_mask(path: Path, width: int, height: int) -> Tensor:
    """Returns (height, width) bool: where a mask file is not black, resampled to the nearest pixel."""
    mask = torch.from_numpy(read_picture(path, width / height).max(axis=2)) > 127
    row = ((torch.arange(height) + 0.5) * mask.shape[0] / height).long()
    column = ((torch.arange(width) + 0.5) * mask.shape[1] / width).long()
    return mask[row][:, column]
