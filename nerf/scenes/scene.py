"""What a scene is once it has been read: pictures with their cameras, in the frame of the input poses."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from nerf.color import over
from nerf.config import PLACE
from nerf.geometry.cameras import Cameras

if TYPE_CHECKING:
    from nerf.scenes.depth_files import DepthFile

SPLITS = ("train", "val", "test")
SUMMED_AT_ONCE = 2**22  # values: sums need four bytes each
CHECKED_ROWS = 64  # of each picture, by which pictures are known again


@dataclass(frozen=True)
class Views:
    """The pictures of one split. Smaller pictures lie in the upper left corner of (H, W), see `Cameras.size`."""

    names: tuple[str, ...]  # F, unique, usable as file names
    # (F, H, W, C) uint8 or int16, C = 3 (RGB) or 4 (RGB and straight alpha), display colours (sRGB) as stored.
    images: Tensor
    white: int  # the integer that stands for 1.0, so that a box average of uint8 pictures is kept exactly
    cameras: Cameras
    used: Tensor | None = None  # (F, H, W) bool, pixels to learn from and to score; None: all
    unbounded: bool = False  # whether the pictures show what lies all around, not one thing alone
    depths: Tensor | None = None  # (F, 2) float32, least and greatest depth of what each picture shows, scene units
    tracked: Tensor | None = None  # (F, 2) float32, known points that each picture sees; their mean error, pixels
    files: tuple[str, ...] = ()  # F, paths of the pictures' files, or none where the format does not tell
    notes: Sequence[str] = ()  # what was found in the files' pixels, and warnings, one line each
    # By frame, how EXIF asks to turn pictures that are held as stored, where the camera's shape does not tell whether
    # it saw them so: 2 to 8.
    turns: Mapping[int, int] = field(default_factory=dict)
    depth_files: tuple[DepthFile | None, ...] = ()  # F, of the pictures, or none

    def __len__(self) -> int:
        return len(self.names)

    @property
    def has_alpha(self) -> bool:
        return self.images.shape[-1] == 4

    def pixels(self, frame: Tensor | int, row: Tensor | slice, column: Tensor | slice) -> Tensor:
        """Returns colours (..., C) float32 in [0, 1]."""
        return self.images[frame, row, column].float() / self.white

    def checksum(self) -> int:
        """Returns a number by which these pictures are known again: of some rows of each, whatever their size."""
        step = max(1, self.images.shape[1] // CHECKED_ROWS)
        found = 0
        for image in self.images:
            found = zlib.crc32(image[::step].numpy().tobytes(), found)
        return found

    def picture(self, frame: int, background: str) -> Tensor:
        """Returns a whole picture (H, W, 3) float32 over ``white`` or ``black``."""
        width, height = self.cameras.size[frame].tolist()
        return over(self.pixels(frame, slice(height), slice(width)), background)


@dataclass(frozen=True)
class Capture:
    """What a format says of a folder before its pictures are read: the one shape in which every format is opened."""

    kind: str  # the format that the folder is kept in
    read: Mapping[str, Callable[[], Views]]  # by split: reads the split's pictures
    points: Tensor | None = None  # (N, 3) float64, sparse points of surfaces in the frame of the input
    notes: Sequence[str] = ()  # what was found and chosen, and warnings, one line each


@dataclass(frozen=True)
class Scene:
    """The splits of one folder that were asked for."""

    kind: str  # the format that the folder is kept in
    splits: dict[str, Views]  # all relative to one origin, see `nerf.geometry.origin`
    points: Tensor | None = None  # (N, 3) float32, sparse points of surfaces in the world
    notes: tuple[str, ...] = ()  # what was found and chosen, and warnings, one line each
    # What is behind the thing in the pictures: PLACE, "white" or "black" as it was rendered, or "" where alpha says it.
    ground: str = PLACE


def box_average(images: Tensor, white: int, factor: int) -> tuple[Tensor, int]:
    """Returns exact means over factor x factor boxes, as integers with their new white, and that white.

    Means of 8-bit pictures by factors up to 11 fit int16. images: (F, H, W, C) uint8.
    """
    if factor == 1:
        return images, white

    frames, height, width, channels = images.shape
    boxes = images.view(frames, height // factor, factor, width // factor, factor, channels)
    out = torch.empty(frames, height // factor, width // factor, channels, dtype=torch.int16)
    rows = max(1, SUMMED_AT_ONCE // (factor * width * channels))
    for frame in range(frames):
        for row in range(0, boxes.shape[1], rows):
            out[frame, row : row + rows] = boxes[frame, row : row + rows].sum(dim=(1, 3), dtype=torch.int32)
    return out, white * factor**2
