"""Films as uint8 tensors (frames, H, W, 3) with their frames a second, by ffmpeg; and back to files."""

from __future__ import annotations

from pathlib import Path

import numpy
import torch
from torch import Tensor

from nerf.errors import InputError
from nerf.files import FILES_ONLY, ffmpeg_name, replacing

MOST_VALUES = 2**32  # of all frames together
CODECS = {".mp4": "libx264", ".mov": "libx264", ".webm": "libvpx-vp9"}


def read_film(file: Path, frames: int) -> tuple[Tensor, float]:
    """Returns the first frames (F, H, W, 3) uint8, all if `frames` is 0, and the frames a second.

    Raises:
        InputError: the file is not a film, is damaged, or too large.
    """
    from imageio_ffmpeg import read_frames

    pictures = []
    try:
        reader = read_frames(ffmpeg_name(file), input_params=[*FILES_ONLY])
        about = next(reader)  # what the header says; frames follow
        width, height = about["size"]
        for picture in reader:
            pictures.append(torch.from_numpy(numpy.frombuffer(picture, numpy.uint8).reshape(height, width, 3).copy()))
            if len(pictures) * width * height * 3 > MOST_VALUES:
                raise InputError(f"{file}: too large; fit its first frames with video.frames=N")
            if len(pictures) == frames:
                break
        reader.close()
    except (OSError, RuntimeError, ValueError, KeyError, StopIteration) as error:
        text = (str(error).strip().splitlines() or ["no frames"])[-1]
        raise InputError(f"{file}: not a readable film ({text[:200]}); restore the file") from None
    if not pictures:
        raise InputError(f"{file}: holds no frame; restore the file")
    return torch.stack(pictures), float(about["fps"])


def write_film(file: Path, frames: Tensor, rate: float) -> None:
    """Writes frames (F, H, W, 3) uint8 as a film.

    Raises:
        InputError: the format is not known, or the encoder fails.
    """
    from imageio_ffmpeg import write_frames

    codec = CODECS.get(file.suffix.lower())
    if codec is None:
        raise InputError(f'{file}: "{file.suffix}" is not a film format here; use one of {", ".join(CODECS)}')

    height, width = frames.shape[1:3]
    chroma = "yuv444p" if width % 2 or height % 2 else "yuv420p"
    with replacing(file) as partial:
        writer = write_frames(
            ffmpeg_name(partial),
            (width, height),
            fps=rate,  # pyright: ignore[reportArgumentType]  # a default of 16 stands for int; ffmpeg takes any rate
            codec=codec,
            pix_fmt_out=chroma,
            macro_block_size=1,
            quality=9,
        )
        try:
            writer.send(None)
            for frame in frames:
                writer.send(frame.contiguous().numpy())
        finally:
            writer.close()
