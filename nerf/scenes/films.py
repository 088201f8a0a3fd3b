"""Films: each frame once, as it is stored, with the time at which it is shown; and the sharpest ones as a capture.

ffmpeg would double and drop frames to make the rate of a film even. Here it passes them through. A first pass tells
the size and the times, a second one the pixels; both pass the same frames.
"""

from __future__ import annotations

import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import numpy

from nerf.errors import InputError
from nerf.files import FILES_ONLY, ffmpeg_name, unwritable, working_folder
from nerf.report import progress, say

SUFFIXES = (".mp4", ".mov", ".m4v", ".avi", ".mkv", ".webm")
FEWEST_FRAMES = 3  # of a capture
MOST_FRAMES = 100  # of a capture: the sharpest of as many even parts
LARGEST_SIDE = 16384  # pixels
FRAME_PATTERN = r"frame_\d{4}\.jpg"  # names of the frames of a capture
STILL = 0.5  # mean difference, of 255, up to which a frame repeats an earlier one: compressing it again leaves less
CLOCK = 90000  # ticks a second in which times are asked for: no rate is rounded
# A picture that belongs to stored pixels which are not square is widened, or heightened: nothing is lost.
SQUARE = "scale=w='if(gt(sar,1),round(iw*sar),iw)':h='if(lt(sar,1),round(ih/sar),ih)',setsar=1"


@dataclass(frozen=True)
class FilmIndex:
    """What a film holds."""

    file: Path
    width: int  # pixels, after any turn that the film asks for
    height: int
    start: numpy.ndarray  # (F + 1,) float64, seconds: when each frame begins, the first at 0; then the film's end
    filters: tuple[str, ...]  # by which frames of this size are read

    def __len__(self) -> int:
        """Returns the number of frames."""
        return len(self.start) - 1

    def frames(self) -> Iterator[numpy.ndarray]:
        """Yields the frames (H, W, 3) uint8 in their order.

        Raises:
            InputError: they cannot be read to the end.
        """
        words = ["-frames:v", str(len(self)), *self.filters, "-pix_fmt", "rgb24", "-f", "rawvideo"]
        size = self.width * self.height * 3
        with _Decoder(self.file, words) as process:
            assert process.stdout is not None
            for number in range(len(self)):
                data = process.stdout.read(size)
                if len(data) < size:
                    raise InputError(f"{self.file}: ends after {number} of {len(self)} frames; restore the file")
                yield numpy.frombuffer(data, numpy.uint8).reshape(self.height, self.width, 3)


def index_film(file: Path, most: int = 0, square: bool = False) -> FilmIndex:
    """Returns what a film holds, or its first frames if `most` is not 0.

    square: frames are scaled so that their pixels are square.

    Raises:
        InputError: the file is not a film, or holds no frame.
    """
    filters = ("-vf", SQUARE) if square else ()
    limit = ["-frames:v", str(most)] if most else []
    words = [*limit, *filters, "-enc_time_base", f"1:{CLOCK}", "-f", "framecrc"]
    with tempfile.TemporaryFile() as said:
        with _Decoder(file, words, said) as process:
            assert process.stdout is not None
            lines = process.stdout.read().decode("ascii", "replace").splitlines()
        said.seek(0)
        complaint = " ".join(said.read(2000).decode("utf-8", "replace").split())[:200]

    heads = {words[0]: words[-1] for line in lines if line.startswith("#") and len(words := line[1:].split()) == 3}
    rows = [line.split(",") for line in lines if not line.startswith("#")]
    if not rows or "dimensions" not in heads:
        if "matches no streams" in complaint:
            raise InputError(f"{file}: not a readable film: it holds no pictures; name a film")
        raise InputError(f"{file}: not a readable film ({complaint or 'no frames'}); restore the file")
    if process.returncode or complaint:
        say("film", f"warning: {file}: {len(rows)} frames are read, though ffmpeg says: {complaint}")

    width, height = (int(side) for side in heads["dimensions"].split("x"))
    if max(width, height) > LARGEST_SIDE:
        raise InputError(f"{file}: frames of {width} x {height} pixels; at most {LARGEST_SIDE} a side")
    numerator, _, denominator = heads["tb"].partition("/")
    ticks = numpy.array([[int(row[2]), int(row[3])] for row in rows], numpy.float64)
    start = _starts(ticks[:, 0], ticks[-1, 1]) * int(numerator) / int(denominator)
    return FilmIndex(file, width, height, start, filters)


def _starts(shown: numpy.ndarray, last: float) -> numpy.ndarray:
    """Returns when frames begin, the first at 0, and the end, in ticks. last: how long the last one is shown, if known.

    Frames whose times do not grow have none that can be trusted: they follow each other evenly.
    """
    gaps = numpy.diff(shown)
    if len(gaps) and gaps.min() <= 0:
        gaps = numpy.full(len(gaps), max(1.0, numpy.ptp(shown) / len(gaps)))
    usual = float(numpy.median(gaps)) if len(gaps) else CLOCK / 25
    return numpy.concatenate([[0.0], numpy.cumsum([*gaps, last if last > 0 else usual])])


class _Decoder:
    """ffmpeg on one film, its output a pipe; it is gone when this ends, whatever happened."""

    def __init__(self, file: Path, words: Sequence[str], said: int | IO[bytes] = subprocess.DEVNULL) -> None:
        from imageio_ffmpeg import get_ffmpeg_exe

        start = [get_ffmpeg_exe(), "-nostdin", "-v", "error", *FILES_ONLY, "-i", ffmpeg_name(file)]
        self.words = [*start, "-map", "0:V:0", "-fps_mode", "passthrough", *words, "-"]
        self.said = said

    def __enter__(self) -> subprocess.Popen:
        # A group of its own: Ctrl-C reaches this program alone, which ends the other.
        self.process = subprocess.Popen(
            self.words, stdout=subprocess.PIPE, stderr=self.said, stdin=subprocess.DEVNULL, start_new_session=True
        )
        return self.process

    def __exit__(self, *error: object) -> None:
        assert self.process.stdout is not None
        self.process.stdout.close()
        if error[0] is not None:
            self.process.kill()
        self.process.wait()


def films_in(folder: Path) -> list[Path]:
    """Returns the films in a folder, sorted; hidden files are none."""
    found = [path for path in folder.iterdir() if path.suffix.lower() in SUFFIXES and not path.name.startswith(".")]
    return sorted(path for path in found if path.is_file())


def take_frames(film: Path, folder: Path) -> None:
    """Writes the sharpest frame of each of up to MOST_FRAMES even parts of a film as JPEG into a new folder.

    The folder appears when it is whole: frames of an interrupted choice would pass for the capture.

    Raises:
        InputError: the film cannot be read or has too few frames, or the folder is there or cannot be written.
    """
    if folder.is_dir() and any(folder.iterdir()):
        raise InputError(f"{folder}: there already, but not with {FEWEST_FRAMES} pictures; move it away")
    from PIL import Image

    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with working_folder(".frames-", folder.parent) as work:
            chosen = work / "images"
            chosen.mkdir()
            kept = 0
            for part, frame in sharpest_frames(film):
                Image.fromarray(frame).save(chosen / f"frame_{part:04d}.jpg", quality=95)
                kept += 1
            if kept < FEWEST_FRAMES:
                raise InputError(f"{film}: {kept} frames that differ; at least {FEWEST_FRAMES} are needed")
            chosen.rename(folder)
    except OSError as error:
        raise unwritable(folder, error) from None


def sharpest_frames(film: Path) -> Iterator[tuple[int, numpy.ndarray]]:
    """Yields the number of each even part of a film and its sharpest frame (H, W, 3) uint8.

    A frame that repeats the one before, as films whose rate was made even have them, counts once.

    Raises:
        InputError: the film cannot be read to its end, or has too few frames.
    """
    index = index_film(film)
    total = len(index)
    if total < FEWEST_FRAMES:
        raise InputError(f"{film}: {total} frames; at least {FEWEST_FRAMES} are needed")

    n_parts = min(total, MOST_FRAMES)
    before = None
    best: tuple[float, int, numpy.ndarray | None] = (-1.0, 0, None)  # of the part that is read: sharpness, part, frame
    for number, frame in enumerate(progress(index.frames(), total=total, title="choosing sharp frames", unit="frame")):
        part = number * n_parts // total
        if part != best[1]:
            if best[2] is not None:
                yield best[1], best[2]
            best = (-1.0, part, None)

        if before is not None and difference(frame, before) <= STILL:
            continue
        before = frame
        sharp = sharpness(frame)
        if sharp > best[0]:
            best = (sharp, part, frame)
    if best[2] is not None:
        yield best[1], best[2]


def difference(picture: numpy.ndarray, other: numpy.ndarray) -> float:
    """Returns the mean absolute difference of two pictures (H, W, 3) uint8."""
    return float(numpy.abs(picture.astype(numpy.int16) - other).mean())


def sharpness(picture: numpy.ndarray) -> float:
    """Returns the mean square of the Laplacian of a picture (H, W, 3) uint8: blur lowers it."""
    grey = picture.astype(numpy.float32).mean(axis=2)
    inner = 4 * grey[1:-1, 1:-1] - grey[:-2, 1:-1] - grey[2:, 1:-1] - grey[1:-1, :-2] - grey[1:-1, 2:]
    return float((inner**2).mean()) if inner.size else 0.0
