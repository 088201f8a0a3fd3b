"""Films: frames to .mp4, .webm, .mov, .gif, or a folder of PNG pictures.

Frames lie as PNG pictures in a temporary folder beside the film until it is encoded. If that fails, they are kept, so
that no rendering is lost.
"""

from __future__ import annotations

import itertools
import os
from dataclasses import dataclass
from pathlib import Path
from typing import cast

from nerf.errors import InputError
from nerf.files import check_new_folder, check_writable, ffmpeg_name, replacing, unwritable, working_folder
from nerf.report import progress, say
from nerf.scenes.pictures import open_picture
from nerf.video.encoding import BT709, check_written, padded, padded_size
from nerf.video.frames import Frames
from nerf.video.keyframes import check_track

FRAME_NAME = "{:05d}.png"
PALETTE = "split[a][b];[a]palettegen[p];[b][p]paletteuse"  # the 256 colours that suit the whole film


@dataclass(frozen=True)
class Encoding:
    """How ffmpeg writes a format."""

    codec: str
    even: str  # pixel format of even sizes
    odd: str | None  # pixel format of odd sizes; without one, they are padded
    alpha: str | None  # pixel format with alpha, if there is one
    options: tuple[str, ...]  # further arguments

    def size(self, width: int, height: int) -> tuple[int, int]:
        """Returns the width and height of films whose frames have a size."""
        return (width, height) if self.odd else padded_size(width, height)

    def pixel_format(self, width: int, height: int, alpha: bool) -> str:
        """Returns the pixel format of a size."""
        if alpha and self.alpha is not None:
            return self.alpha
        return self.odd if self.odd and (width % 2 or height % 2) else self.even


# yuv420p is what every player shows, but halves the size for colours; H.264 then wants even sizes.
ENCODINGS = {
    ".mp4": Encoding("libx264", "yuv420p", None, None, ("-crf", "18", "-movflags", "+faststart", *BT709)),
    ".webm": Encoding(
        "libvpx-vp9", "yuv420p", "yuv420p", "yuva420p", ("-crf", "24", "-b:v", "0", "-row-mt", "1", *BT709)
    ),
    ".mov": Encoding("prores_ks", "yuv422p10le", "yuv444p10le", "yuva444p10le", ("-vendor", "apl0", *BT709)),
    ".gif": Encoding("gif", "pal8", "pal8", None, ("-loop", "0", "-vf", PALETTE)),
}


def check_video_file(file: Path, alpha: bool = False) -> None:
    """Raises InputError now, not after the rendering, if a film or its track cannot be written under this name.

    A name without a suffix is a folder for PNG pictures.
    """
    suffix = file.suffix.lower()
    if suffix and suffix not in ENCODINGS:
        raise InputError(
            f'{file}: "{file.suffix}" is not a film format; use one of {", ".join(ENCODINGS)}, '
            "or a name without a dot for a folder of PNG pictures"
        )
    if alpha and suffix and ENCODINGS[suffix].alpha is None:
        raise InputError(
            f"{file}: {suffix} films have no alpha; use .webm, .mov or a name without a dot (PNG pictures)"
        )
    if not suffix:
        check_new_folder(file)
    check_track(file)
    check_writable(file / FRAME_NAME.format(0) if file.is_dir() and not suffix else file)


def write_video(file: Path, frames: Frames, fps: int) -> None:
    """Renders one frame per camera and writes a film of that number of frames and size, but for odd sides of .mp4.

    Frames lie in a temporary folder of their own until the film is whole; nothing else is removed.

    Raises:
        InputError: the film cannot be written; says where the frames are kept, if all are rendered.
    """
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        with working_folder(f".{file.stem}.frames-", file.parent) as work:
            _render(work / "frames", file, frames)
            _finish(file, work / "frames", frames, fps)
    except OSError as error:
        raise unwritable(file, error) from None
    except KeyboardInterrupt:
        say("film", f"{file}: interrupted and not written; its frames are removed")
        raise


def _render(folder: Path, file: Path, frames: Frames) -> None:
    """Writes all frames as pictures into a new folder."""
    from PIL import Image

    try:
        folder.mkdir()
        for frame in progress(range(len(frames.cameras)), title=f"filming {file.name}", unit="frame"):
            picture = Image.fromarray(frames[frame].numpy())
            picture.save(folder / FRAME_NAME.format(frame), compress_level=1)
    except OSError as error:
        raise unwritable(file, error) from None


def _finish(file: Path, pictures: Path, frames: Frames, fps: int) -> None:
    """Makes the film of the pictures, or gives their folder its name; keeps them if neither can be done."""
    try:
        if file.suffix:
            with replacing(file) as partial:
                _encode(partial, pictures, frames, fps)
            return
        pictures.rename(file)
    except (InputError, OSError) as error:
        failed = unwritable(file, error) if isinstance(error, OSError) else error
        raise InputError(f"{failed}; the frames are kept in {_kept(pictures, file)}") from None


def _kept(pictures: Path, file: Path) -> Path:
    """Returns the folder beside a film, under a name that was free, to which its pictures were moved."""
    endings = itertools.chain([""], (f"-{number}" for number in itertools.count(2)))
    folders = (file.with_name(f"{file.stem}.frames{ending}") for ending in endings)
    return pictures.rename(next(folder for folder in folders if not os.path.lexists(folder)))


def _encode(file: Path, folder: Path, frames: Frames, fps: int) -> None:
    import imageio_ffmpeg
    import numpy

    encoding = ENCODINGS[file.suffix.lower()]
    size = encoding.size(*frames.size)
    count = len(frames.cameras)
    # imageio-ffmpeg annotates quality as a number, yet documents None, which leaves it to the options.
    quality = cast(int, None)
    encoder = imageio_ffmpeg.write_frames(
        ffmpeg_name(file),
        size,
        fps=fps,
        codec=encoding.codec,
        quality=quality,
        macro_block_size=1,
        pix_fmt_in="rgba" if frames.alpha else "rgb24",
        pix_fmt_out=encoding.pixel_format(*size, frames.alpha),
        output_params=list(encoding.options),
        ffmpeg_log_level="error",
    )
    encoder.send(None)
    try:
        for frame in range(count):
            with open_picture(folder / FRAME_NAME.format(frame)) as image:
                pixels = numpy.array(image)
            encoder.send(padded(pixels, size).tobytes())
    finally:
        encoder.close()

    check_written(file, count)
    if size != frames.size:
        before = " x ".join(map(str, frames.size))
        say("film", f"film: {before} padded to {size[0]} x {size[1]}: players want even sides")
