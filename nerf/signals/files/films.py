"""Films as uint8 tensors (frames, H, W, 3) with the time of every frame, by ffmpeg; and back to files."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from nerf.errors import InputError
from nerf.files import ffmpeg_name, replacing
from nerf.report import say
from nerf.scenes.films import index_film
from nerf.video.encoding import BT709, check_written, padded, padded_size

MOST_VALUES = 2**32  # of all frames together
CODECS = {".mp4": "libx264", ".mov": "libx264", ".webm": "libvpx-vp9"}
EVEN = 1.5  # the longest of the frames by the usual one, up to which a film has one rate
DENSER = 8.0  # by which the rate of a film that has none may be above its mean
SHORT = 0.1  # part of the frames that may be shown for less than a frame of that rate


@dataclass(frozen=True)
class Film:
    """A film that was read."""

    frames: Tensor  # (F, H, W, 3) uint8
    start: Tensor  # (F + 1,) float64, seconds: when each frame begins, the first at 0; then the film's end
    even: bool  # whether frames follow each other evenly
    rate: float  # frames a second: at this rate, the film is written back

    @property
    def seconds(self) -> float:
        """How long the film lasts."""
        return self.start[-1].item()


def read_film(file: Path, frames: int) -> Film:
    """Returns a film, or its first frames if `frames` is not 0; its pixels are made square.

    Raises:
        InputError: the file is not a film, is damaged, or too large.
    """
    index = index_film(file, frames, square=True)
    if len(index) * index.width * index.height * 3 > MOST_VALUES:
        raise InputError(
            f"{file}: {len(index)} frames of {index.width} x {index.height} are too large; fit its first frames with "
            "video.frames=N"
        )
    pictures = torch.empty(len(index), index.height, index.width, 3, dtype=torch.uint8)
    for number, picture in enumerate(index.frames()):
        pictures[number] = torch.tensor(picture)

    # How long the last frame is shown, many files do not tell: it does not decide whether the rate is even.
    start = torch.from_numpy(index.start)
    gaps = start.diff()
    told = gaps[:-1] if len(gaps) > 1 else gaps
    even = bool(told.max() < EVEN * told.median() and told.min() > told.median() / EVEN)
    if even:
        start[-1] = start[-2] + told.mean()
        return Film(pictures, start, True, round(1 / told.mean().item(), 6))
    mean = len(index) / start[-1].item()
    return Film(pictures, start, False, round(min(1 / torch.quantile(gaps, SHORT).item(), DENSER * mean), 6))


def write_film(file: Path, frames: Tensor, rate: float) -> None:
    """Writes frames (F, H, W, 3) uint8 as a film; .mp4 and .mov repeat the last row or column where a side is odd.

    Raises:
        InputError: the format is not known, or the encoder fails.
    """
    from imageio_ffmpeg import write_frames

    codec = CODECS.get(file.suffix.lower())
    if codec is None:
        raise InputError(f'{file}: "{file.suffix}" is not a film format here; use one of {", ".join(CODECS)}')

    height, width = frames.shape[1:3]
    size = padded_size(width, height) if codec == "libx264" else (width, height)
    if size != (width, height):
        say("film", f"{file}: {width} x {height} padded to {size[0]} x {size[1]}: players want even sides")
    with replacing(file) as partial:
        writer = write_frames(
            ffmpeg_name(partial),
            size,
            fps=rate,  # pyright: ignore[reportArgumentType]  # a default of 16 stands for int; ffmpeg takes any rate
            codec=codec,
            pix_fmt_out="yuv420p",
            macro_block_size=1,
            quality=9,
            output_params=list(BT709),
            ffmpeg_log_level="error",
        )
        try:
            writer.send(None)
            for frame in frames:
                writer.send(padded(frame.numpy(), size))
        finally:
            writer.close()
        check_written(partial, len(frames))
