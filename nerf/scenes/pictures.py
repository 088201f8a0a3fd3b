"""Picture files -> arrays. `open_picture` is the one gate through which the package opens a picture.

A file's first bytes tell what it is, and only that decoder of `KINDS` sees it: neither its name nor its content can
reach another. Its size is checked before a pixel is decoded.
"""

from __future__ import annotations

import os
import re
import struct
import threading
import zlib
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy
import torch
from torch import Tensor

from nerf.errors import InputError
from nerf.files import FILES_ONLY, check_readable, ffmpeg_name
from nerf.report import say
from nerf.scenes.room import check_room
from nerf.scenes.scene import box_average

if TYPE_CHECKING:
    from PIL.Image import Exif, Image
    from PIL.ImageFile import ImageFile

LARGEST_SIDE = 65536  # pixels; a header that claims more is refused before anything is allocated
MOST_PIXELS = 2**28  # likewise: up to 2 GiB, where they have four channels of 16 bits
SUFFIXES = (
    ".jpg", ".jpeg", ".jfif", ".png", ".webp", ".tif", ".tiff", ".bmp", ".avif", ".heic", ".heif",
)  # of the photographs of a capture  # fmt: skip

# Pillow's word for a format, and how files of it begin.
KINDS = {
    "JPEG": rb"\xff\xd8\xff",
    "PNG": rb"\x89PNG\r\n\x1a\n",
    "WEBP": rb"RIFF....WEBP",
    "TIFF": rb"II\*\0|MM\0\*|II\+\0|MM\0\+",
    "BMP": rb"BM",
    "GIF": rb"GIF8",
    "PPM": rb"P[1-6]\s",
    "AVIF": rb"....ftyp.{0,44}avi[fs]",
    "HEIF": rb"....ftyp.{0,44}(hei[cmsx]|hev[cmsx]|mif1|msf1)",
}
RAW = (".dng", ".cr2", ".nef", ".arw", ".pef", ".srw", ".3fr")  # suffixes of TIFF files that begin with a thumbnail
HEAD = 64  # bytes in which a file's kind is told
NO_HEIF = "HEIC and HEIF need pillow-heif: pip install 'nerf[heic]', or convert the picture to JPEG"
NO_AVIF = "this Pillow reads no AVIF: pip install --upgrade pillow, or convert the picture to JPEG"
EXR = b"\x76\x2f\x31\x01"  # how OpenEXR files begin

LONGEST_EXIF = 2**20  # bytes
EXIF_ORIENTATION = 0x0112
SIDEWAYS = (5, 6, 7, 8)  # values of it that ask to turn a picture by 90 degrees
CONTAINERS = {"PNG": "png_pipe", "TIFF": "tiff_pipe"}  # ffmpeg's words for what has 16 bits a channel
DEEP_PIXELS = {2: "ya16le", 3: "rgb48le", 4: "rgba64le"}  # and for such pixels, by the number of channels
DECODED_AT_ONCE = 2**29  # bytes of whole pictures
OPAQUE = 250 / 255  # alpha above is opaque: what lossy formats leave of 1
DAMAGE = (OSError, SyntaxError, ValueError, EOFError, KeyError, IndexError, TypeError, RuntimeError)

_opening = threading.Lock()  # while Pillow's own limit is lifted


@contextmanager
def open_picture(path: Path) -> Iterator[ImageFile]:
    """Yields a picture whose header has been read and whose size is bearable.

    Raises:
        InputError: the file is not a picture of `KINDS`, is damaged, whether that shows in the header or inside the
            block where it is decoded, or claims an absurd size.
    """
    from PIL import Image

    try:
        with _opened(path) as image:
            check_size(path, *image.size)
            yield image
    except (*DAMAGE, struct.error, zlib.error, Image.DecompressionBombError) as error:
        text = " ".join(str(error).split())
        raise InputError(f"{path}: not a readable picture ({text}); restore the file or remove its frame") from None


def check_size(path: Path, width: int, height: int) -> None:
    """Raises InputError if a picture's header claims an absurd size."""
    if max(width, height) > LARGEST_SIDE or width * height > MOST_PIXELS:
        raise InputError(
            f"{path}: claims {width} x {height} pixels; at most {LARGEST_SIDE} a side and {MOST_PIXELS} in all "
            "are read: shrink the picture"
        )


def _opened(path: Path) -> ImageFile:
    """Returns Pillow's picture, by the one decoder that its first bytes call for."""
    from PIL import Image

    kind = _kind(path)
    if kind == "TIFF" and path.suffix.lower() in RAW:
        raise InputError(f"{path}: a raw picture; develop it and save it as JPEG or PNG")
    if kind == "HEIF":
        try:
            from pillow_heif import register_heif_opener
        except ImportError:
            raise InputError(f"{path}: {NO_HEIF}") from None
        register_heif_opener()
    if kind == "AVIF" and kind not in Image.OPEN:
        Image.init()
        if kind not in Image.OPEN:
            raise InputError(f"{path}: {NO_AVIF}")

    # Pillow warns of large pictures; the limits here are checked by the caller.
    with _opening:
        before = Image.MAX_IMAGE_PIXELS
        Image.MAX_IMAGE_PIXELS = LARGEST_SIDE**2
        try:
            return Image.open(path, formats=[kind])
        finally:
            Image.MAX_IMAGE_PIXELS = before


def _kind(path: Path) -> str:
    """Returns Pillow's word for the format of a file."""
    check_readable(path)
    with open(path, "rb") as file:
        head = file.read(HEAD)
    for kind, start in KINDS.items():
        if re.match(start, head, re.DOTALL):
            return kind

    if head.startswith(EXR):
        raise InputError(f"{path}: an EXR holds linear light; convert the picture to PNG in display colours (sRGB)")
    what = "empty" if not head else f"none of {', '.join(KINDS)}"
    raise ValueError(what)


def exif_tags(image: ImageFile) -> Exif:
    """Returns the EXIF tags of a picture, from its header: none if they are damaged."""
    from PIL import Image

    # The method of PNG pictures would decode them to find tags behind the pixels.
    try:
        behind = _behind_pixels(image) if image.format == "PNG" and "exif" not in image.info else b""
        if behind:
            image.info["exif"] = b"Exif\0\0" + behind
        return Image.Image.getexif(image)
    except (SyntaxError, ValueError, struct.error):
        return Image.Exif()


def _behind_pixels(image: ImageFile) -> bytes:
    """Returns the EXIF chunk of a PNG that the header lacks, by the lengths of its chunks; empty if there is none."""
    file = image.fp
    if file is None:
        return b""

    found = b""
    position = file.tell()
    file.seek(8)
    while not found and len(head := file.read(8)) == 8:
        length, word = struct.unpack(">I4s", head)
        if word == b"eXIf":
            found = file.read(min(length, LONGEST_EXIF))
        file.seek(length + 4, os.SEEK_CUR)
    file.seek(position)
    return found


def orientation(image: ImageFile) -> int:
    """Returns how EXIF asks to turn a picture, 1 to 8: 1 is upright."""
    found = exif_tags(image).get(EXIF_ORIENTATION, 1)
    return found if found in range(1, 9) else 1


def upright(pixels: numpy.ndarray, turn: int) -> numpy.ndarray:
    """Returns pixels (H, W, C) turned and mirrored as EXIF's orientation `turn` asks for."""
    if turn in SIDEWAYS:
        pixels = pixels.transpose(1, 0, 2)
    if turn in (3, 4, 7, 8):
        pixels = pixels[::-1]
    if turn in (2, 3, 6, 7):
        pixels = pixels[:, ::-1]
    return pixels


def doubtful_turn(path: Path, shape_told: bool = True) -> int:
    """Returns how EXIF asks to turn a picture, if its camera's shape cannot tell whether the camera saw it so; else 1.

    shape_told: whether it is known apart from the picture.
    """
    with open_picture(path) as image:
        turn = orientation(image)
        return turn if not shape_told or _fits_both_ways(image, turn) else 1


def _fits_both_ways(image: ImageFile, turn: int) -> bool:
    """Returns whether a picture has the same shape, but for rounding, before and after a turn."""
    width, height = image.size
    return turn not in SIDEWAYS or abs(width - height) <= 1


def _turn(image: ImageFile, aspect: float | None, turned: bool) -> int:
    """Returns the orientation to apply: EXIF's where the camera's aspect agrees that the picture lies on its side.

    turned: whether it is applied where the aspect cannot tell.
    """
    turn = orientation(image)
    if aspect is None or _fits_both_ways(image, turn):
        return turn if turned else 1
    width, height = image.size
    return turn if (aspect > 1) != (width > height) else 1


def _has_alpha(image: Image) -> bool:
    return image.mode in ("RGBA", "LA", "PA", "RGBa", "La") or "transparency" in image.info


def is_deep(image: ImageFile) -> bool:
    """Returns whether a picture has 16 bits a channel."""
    return image.mode.startswith("I") or any(";16" in str(tile[-1]) for tile in image.tile)


def picture_size(path: Path, aspect: float | None = None, turned: bool = False) -> tuple[int, int, int]:
    """Returns width, height and channels (3 or 4) that `read_picture` will return, from the file's header."""
    with open_picture(path) as image:
        width, height = image.size
        if _turn(image, aspect, turned) in SIDEWAYS:
            width, height = height, width
        return width, height, 4 if _has_alpha(image) else 3


def read_picture(path: Path, aspect: float | None = None, turned: bool = False) -> numpy.ndarray:
    """Returns (H, W, 3 or 4) uint8: grey, palette, 16-bit and CMYK pictures are converted.

    aspect: width by height of the camera. EXIF may ask to turn a picture by 90 degrees: it is turned if the camera's
    aspect says that the camera's file saw it turned.
    turned: whether it is turned and mirrored where the aspect is not given or cannot tell, see `doubtful_turn`.

    Raises:
        InputError: the file is not a picture, is damaged, or claims an absurd size.
    """
    with open_picture(path) as image:
        turn = _turn(image, aspect, turned)
        pixels = _grey16(image, path) if image.mode.startswith(("I", "F")) else _bytes(image, ("RGB", "RGBA"))
    if pixels.dtype == numpy.uint16:
        pixels = numpy.repeat((pixels >> 8).astype(numpy.uint8), 3, axis=2)
    return numpy.ascontiguousarray(upright(pixels, turn))


def read_whole_picture(path: Path, aspect: float | None = None, turned: bool = True) -> numpy.ndarray:
    """Returns (H, W, C) uint8 or uint16 as the file holds it: C is 1 (grey), 2 (grey, alpha), 3 or 4; upright.

    Of several pictures in a file it is the first, which is said.

    aspect, turned: see `read_picture`; without them EXIF alone decides.

    Raises:
        InputError: as `open_picture`, or the pixels have more than 16 bits.
    """
    with open_picture(path) as image:
        if getattr(image, "is_animated", False):
            say("signal", f"warning: {path}: of several pictures in it the first is taken; nerf fit video takes films")
        turn = _turn(image, aspect, turned)
        if image.mode.startswith(("I", "F")):
            pixels = _grey16(image, path)
        elif is_deep(image) and image.format in CONTAINERS:
            pixels = _deep(image, path)
        else:
            pixels = _bytes(image, ("L", "LA", "RGB", "RGBA"))
    return numpy.ascontiguousarray(upright(pixels, turn))


def _bytes(image: Image, modes: tuple[str, ...]) -> numpy.ndarray:
    """Returns the pixels (H, W, C) uint8 of a picture, converted if its mode is none of `modes`."""
    if image.mode not in modes:
        image = image.convert("RGBA" if _has_alpha(image) else "RGB")
    pixels = numpy.array(image)
    return pixels[..., None] if pixels.ndim == 2 else pixels


def _grey16(image: Image, path: Path) -> numpy.ndarray:
    """Returns the pixels (H, W, 1) uint16 of a grey picture of 16 bits, whose mode has several names."""
    if image.mode.startswith("F") or (image.mode == "I" and image.format not in ("PNG", "PPM")):
        kind = "floating point" if image.mode.startswith("F") else "32 bits"
        raise InputError(f"{path}: pixels of {kind}; expected 8 or 16 bits a channel, convert the picture")
    return numpy.array(image).astype(numpy.uint16)[..., None]


def _deep(image: ImageFile, path: Path) -> numpy.ndarray:
    """Returns the pixels (H, W, 2 to 4) uint16 of a picture of which Pillow would keep 8 bits a channel."""
    from imageio_ffmpeg import read_frames

    width, height = image.size
    channels = 2 if "LA;16" in str(image.tile[0][-1]) else len(image.getbands())
    premultiplied = "a;16" in str(image.tile[0][-1])
    if premultiplied or channels not in DEEP_PIXELS or image.mode not in ("LA", "RGB", "RGBA"):
        raise InputError(f"{path}: {image.mode} of 16 bits a channel; expected grey or RGB, convert the picture")
    image.load()  # damage that ffmpeg would paint over is found by Pillow

    decoder = ["-noautorotate", "-f", CONTAINERS[str(image.format)]]
    frames = read_frames(
        ffmpeg_name(path),
        pix_fmt=DEEP_PIXELS[channels],
        bits_per_pixel=16 * channels,
        input_params=[*FILES_ONLY] + decoder,
    )

    try:
        size = next(frames)["size"]
        data = next(frames)
    except StopIteration:
        raise ValueError("its pixels cannot be decoded") from None
    finally:
        frames.close()
    if tuple(size) != (width, height):
        raise ValueError(f"{size[0]} x {size[1]} pixels where {width} x {height} were claimed")
    return numpy.frombuffer(data, "<u2").reshape(height, width, channels).astype(numpy.uint16)


@dataclass(frozen=True)
class PictureStack:
    """The pictures of a split, in one tensor; smaller ones lie in the upper left corner."""

    images: Tensor  # (F, H, W, C); C = 4: alpha shows silhouettes
    white: int  # the integer of 1.0
    size: Tensor  # (F, 2) int64, width and height of each picture
    holes: dict[int, Tensor]  # of few pictures that are transparent in places: (H, W) bool, by number
    notes: list[str]  # what was made of alpha and depth of colour


def read_pictures(
    paths: Sequence[Path], shapes: Sequence[tuple[int, int, int]], downscale: int, turned: bool = False
) -> PictureStack:
    """Returns pictures padded with 0 to the largest, after box averages by `downscale`.

    Rows and columns that fill no box are cut off. What alpha means, its values tell: where it is opaque in more than
    half of the pictures, the few others have holes; otherwise it shows silhouettes.

    shapes: what `picture_size` says of the files. turned: see `read_picture`.
    """
    size = torch.tensor([[width // downscale, height // downscale] for width, height, _ in shapes])
    if (size == 0).any():
        small = paths[int(size.amin(1).argmin())]
        raise InputError(f"{small}: smaller than --downscale {downscale}; choose a smaller factor")
    channels = max(shape[2] for shape in shapes)
    width, height = size.amax(0).tolist()
    check_room(paths[0], (len(paths), height, width, channels), downscale)

    # Averaging no picture at all tells the type of what averaging gives.
    like, white = box_average(torch.empty(0, downscale, downscale, channels, dtype=torch.uint8), 255, downscale)
    images = torch.zeros(len(paths), height, width, channels, dtype=like.dtype)
    transparent = [False] * len(paths)
    deep = [False] * len(paths)

    def read(index: int) -> None:
        columns, rows, _ = shapes[index]
        with open_picture(paths[index]) as image:
            deep[index] = is_deep(image)
        picture = torch.from_numpy(read_picture(paths[index], columns / rows, turned))
        transparent[index] = picture.shape[2] == 4 and picture[:, :, 3].min().item() < 255 * OPAQUE
        if picture.shape[2] < channels:
            picture = torch.cat([picture, torch.full_like(picture[:, :, :1], 255)], dim=2)

        columns, rows = size[index].tolist()
        whole = picture[None, : rows * downscale, : columns * downscale].contiguous()
        images[index, :rows, :columns] = box_average(whole, 255, downscale)[0][0]

    largest = max(columns * rows * 4 for columns, rows, _ in shapes)
    with ThreadPoolExecutor(max_workers=max(1, min(4, DECODED_AT_ONCE // largest))) as pool:
        for _ in pool.map(read, range(len(paths))):
            pass

    notes = []
    if any(deep):
        notes.append(f"colours: {sum(deep)} of {len(deep)} pictures have 16 bits a channel, of which 8 are used")
    if channels == 3 or 2 * sum(transparent) >= len(transparent):
        return PictureStack(images, white, size, {}, notes)

    holes = {index: images[index, :, :, 3] > white // 2 for index, is_so in enumerate(transparent) if is_so}
    words = f"{len(holes)} of {len(paths)} pictures are transparent in places, which are left out" if holes else ""
    notes.append(f"alpha: {words or 'opaque everywhere, so it shows no silhouette'}")
    return PictureStack(_without_alpha(images), white, size, holes, notes)


def _without_alpha(images: Tensor) -> Tensor:
    """Returns the colours (F, H, W, 3) of pictures (F, H, W, 4), whose memory they take over."""
    frames, height, width, _ = images.shape
    colors = images.view(-1)[: frames * height * width * 3].view(frames, height, width, 3)
    for frame in range(frames):
        colors[frame] = images[frame, :, :, :3].clone()
    return colors
