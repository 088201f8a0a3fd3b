"""What films that are written share, so that phones and browsers play them: even sides, 4:2:0 chroma, BT.709 colours.

H.264 with chroma of half the size wants even sides; full chroma is a profile that most players lack. The matrix that
turned RGB into luma and chroma is named in the file: players guess it by the size otherwise.
"""

from __future__ import annotations

from pathlib import Path

import numpy

from nerf.errors import InputError
from nerf.scenes.films import index_film

# Arguments of ffmpeg that turn RGB into limited-range BT.709 and say so. Its transfer curve is the one that players
# show like sRGB.
BT709_FILTER = "scale=out_color_matrix=bt709:out_range=tv"
BT709_TAGS = ("-colorspace", "bt709", "-color_primaries", "bt709", "-color_trc", "bt709", "-color_range", "tv")
BT709 = ("-vf", BT709_FILTER, *BT709_TAGS)


def padded_size(width: int, height: int) -> tuple[int, int]:
    """Returns the least even width and height that hold a frame."""
    return width + width % 2, height + height % 2


def padded(frame: numpy.ndarray, size: tuple[int, int]) -> numpy.ndarray:
    """Returns a frame (H, W, C) of a size (width, height) that is no smaller: the last column and row are repeated."""
    more = (size[1] - frame.shape[0], size[0] - frame.shape[1])
    return numpy.ascontiguousarray(numpy.pad(frame, ((0, more[0]), (0, more[1]), (0, 0)), mode="edge"))


def check_written(film: Path, count: int) -> None:
    """Raises OSError if a film has not so many frames: encoders do not say that a disk was full."""
    found = frames_in(film)
    if found != count:
        raise OSError(f"the encoder wrote {found} of {count} frames")


def frames_in(film: Path) -> int:
    """Returns how many frames a film has, 0 if it cannot be read."""
    try:
        return len(index_film(film))
    except InputError:
        return 0
