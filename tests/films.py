"""Small films for tests."""

from pathlib import Path

import numpy
from imageio_ffmpeg import get_ffmpeg_exe, write_frames


def moving_bars(file: Path, count: int, size: tuple[int, int] = (64, 48)) -> Path:
    """Writes a film, ten frames a second, of a bright bar that moves over noise from frame to frame."""
    width, height = size
    noise = numpy.random.default_rng(0).integers(0, 100, (height // 4, width // 4, 3))
    ground = numpy.kron(noise, numpy.ones((4, 4, 1))).astype(numpy.uint8)
    writer = write_frames(str(file), size, fps=10, quality=9, macro_block_size=1)
    writer.send(None)
    for number in range(count):
        frame = ground.copy()
        left = number * (width - 8) // max(1, count - 1)
        frame[:, left : left + 8] = 240
        writer.send(numpy.ascontiguousarray(frame))
    writer.close()
    return file


def remade(film: Path, file: Path, filters: str, *words: str) -> Path:
    """Writes a film again through filters of ffmpeg, frames with the times that these give them."""
    import subprocess

    start = [get_ffmpeg_exe(), "-v", "error", "-i", str(film), "-vf", filters, "-fps_mode", "passthrough"]
    subprocess.run([*start, "-enc_time_base", "1:1000", "-crf", "10", *words, str(file)], check=True)
    return file
