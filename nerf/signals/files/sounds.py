"""Sounds as float32 tensors (T, channels) in [-1, 1] from and to .wav, of 8 to 32 bits and float, with their rate."""

from __future__ import annotations

import io
import re
import struct
import warnings
from pathlib import Path

import numpy
import torch
from torch import Tensor

from nerf.errors import InputError
from nerf.files import replacing

WAVE_MARKS = (b"RIFF", b"RIFX", b"RF64")
UNKNOWN_LENGTH = 0x7FFF0000  # bytes: what is stated by a program that could not know
MOST_HEADER = 2**20  # bytes before the data


def read_sound(file: Path) -> tuple[Tensor, int]:
    """Returns a sound (T, channels) float32, integers scaled to [-1, 1], and its samples a second.

    Raises:
        InputError: the file is not .wav, is damaged or empty, or holds what is not a number.
    """
    from scipy.io import wavfile

    try:
        with open(file, "rb") as opened:
            if opened.read(4) not in WAVE_MARKS:
                raise InputError(f"{file}: not .wav inside; convert it first: ffmpeg -i {file.name} {file.stem}.wav")
        with warnings.catch_warnings():
            warnings.simplefilter("error", wavfile.WavFileWarning)  # of data cut off, among others
            warnings.filterwarnings("ignore", "Chunk .* not understood", wavfile.WavFileWarning)
            rate, values = wavfile.read(_with_lengths(file) or file)
    except InputError:
        raise
    except (OSError, ValueError, EOFError, MemoryError, wavfile.WavFileWarning, ZeroDivisionError) as error:
        coding = re.match(r"Unknown wave file format: (\w+)", str(error))
        if coding is not None:
            raise InputError(
                f"{file}: its samples are coded as {coding[1]}; convert it first: "
                f"ffmpeg -i {file.name} -c:a pcm_s16le {file.stem}-pcm.wav"
            ) from None
        raise InputError(f"{file}: not a readable .wav ({' '.join(str(error).split())}); restore the file") from None
    except Exception as error:  # struct.error of a header that is cut off
        raise InputError(f"{file}: not a readable .wav ({error}); restore the file") from None

    if values.size == 0 or rate <= 0:
        raise InputError(f"{file}: holds no sound: {values.shape[0]} samples at {rate} Hz")

    # Integers are scaled by their range; those of 8 bits have no sign.
    if values.dtype == numpy.uint8:
        values = (values.astype(numpy.float32) - 128) / 128
    elif values.dtype.kind == "i":
        values = values.astype(numpy.float64) / 2.0 ** (8 * values.dtype.itemsize - 1)
    sound = torch.from_numpy(numpy.atleast_2d(values.T).T.astype(numpy.float32))
    if not torch.isfinite(sound).all():
        raise InputError(f"{file}: holds values that are not finite numbers; mend the sound")
    return sound.contiguous(), int(rate)


def _with_lengths(file: Path) -> io.BytesIO | None:
    """Returns a .wav file whose header was written before its length was known, with the length that it has.

    Programs that write into a pipe state about 2^31 or 2^32 - 1 bytes. None of any other file.
    """
    with open(file, "rb") as opened:
        head = opened.read(MOST_HEADER)
    if head[8:12] != b"WAVE" or head[:4] != b"RIFF":
        return None

    # From chunk to chunk to the data, each a name, a length and as many bytes, an even number of them.
    start = 12
    block = 1
    while start + 8 <= len(head):
        name, length = struct.unpack_from("<4sI", head, start)
        if name == b"data":
            break
        if name == b"fmt " and start + 22 <= len(head):
            block = max(1, struct.unpack_from("<H", head, start + 20)[0])
        start += 8 + length + length % 2
    else:
        return None

    present = file.stat().st_size - start - 8
    if length < UNKNOWN_LENGTH or length <= present:
        return None
    data = bytearray(file.read_bytes())
    present -= present % block
    struct.pack_into("<I", data, start + 4, present)
    struct.pack_into("<I", data, 4, start + present)
    return io.BytesIO(data[: start + 8 + present])


def write_sound(file: Path, sound: Tensor, rate: int) -> None:
    """Writes a sound (T, channels) as .wav of float32.

    Raises:
        InputError: the name ends in something else.
    """
    from scipy.io import wavfile

    if file.suffix.lower() != ".wav":
        raise InputError(f'{file}: "{file.suffix}" is not a sound format here; use .wav')
    with replacing(file) as partial:
        wavfile.write(partial, rate, sound.numpy().astype(numpy.float32))
