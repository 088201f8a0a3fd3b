"""Films: pictures along a camera path, encoded as H.264."""

from __future__ import annotations

from pathlib import Path

from nerf.cameras import Cameras
from nerf.colour import BACKGROUNDS
from nerf.errors import InputError
from nerf.export.images import to_bytes
from nerf.files import check_writable, replacing
from nerf.preview import BakedModel
from nerf.rendering import RadianceModel


def check_video_file(file: Path) -> None:
    """Raises InputError now, not after the rendering, if a film cannot be written under this name."""
    if file.suffix.lower() != ".mp4":
        raise InputError(f'{file}: "{file.suffix}" is not a film format this version writes; use .mp4')
    check_writable(file)


def write_video(file: Path, model: RadianceModel | BakedModel, path: Cameras, fps: int, background: str) -> None:
    """Renders one frame per camera of the path and writes an .mp4 of exactly that size and number of frames.

    Raises:
        InputError: the file cannot be written.
    """
    import imageio_ffmpeg
    from tqdm import tqdm

    even = path.width % 2 == 0 and path.height % 2 == 0
    with replacing(file) as partial:
        # yuv420p is what every player shows, but halves the size for colours; odd sizes keep full colour resolution.
        encoder = imageio_ffmpeg.write_frames(
            str(partial),
            (path.width, path.height),
            fps=fps,
            codec="libx264",
            quality=None,
            macro_block_size=1,
            pix_fmt_out="yuv420p" if even else "yuv444p",
            output_params=["-crf", "18", "-movflags", "+faststart"],
            ffmpeg_log_level="error",
        )
        encoder.send(None)
        try:
            for frame in tqdm(range(len(path)), desc=f"filming {file.name}", unit="frame"):
                rgb = model.picture(path, frame).over(BACKGROUNDS[background])
                encoder.send(to_bytes(rgb).numpy().tobytes())
        finally:
            encoder.close()
        # Closing does not say whether the encoder could write: a full disk leaves a file that no player opens.
        if _frames_in(partial) != len(path):
            raise OSError(f"the encoder wrote {_frames_in(partial)} of {len(path)} frames")


def _frames_in(file: Path) -> int:
    import imageio_ffmpeg

    try:
        return imageio_ffmpeg.count_frames_and_secs(str(file))[0]
    except RuntimeError:
        return 0
