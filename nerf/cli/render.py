"""``nerf render``."""

from __future__ import annotations

import argparse
from pathlib import Path

from nerf.cli.arguments import between, crop_argument, run_argument, size, whole
from nerf.video.choices import EASES, PATHS, PREVIEWS, SHOWN


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds what the command takes."""
    run_argument(parser)

    # The path of the camera.
    parser.add_argument(
        "--path", choices=PATHS, default="auto", help="camera path; auto: what fits where the cameras stood"
    )
    parser.add_argument(
        "--keys",
        type=Path,
        metavar="FILE",
        help="keyframes for --path keys: JSON, as the track beside a film, or a camera that moves in a .glb",
    )
    parser.add_argument("--ease", choices=EASES, default="linear", help="speed; smooth: from rest to rest")
    parser.add_argument(
        "--loop",
        action=argparse.BooleanOptionalAction,
        help="end where the film began (default: by the path)",
    )

    parser.add_argument("--up", default="", help="which way is up: an axis as z or -y, or 0.1,0,1 (default: found)")

    # The film.
    parser.add_argument("--out", type=Path, required=True, help="film, .mp4, .webm, .mov or .gif; without suffix: PNGs")
    parser.add_argument(
        "--track",
        type=Path,
        metavar="FILE",
        help="the camera for other programs, too: .glb, or .json as nerfstudio's camera path",
    )
    parser.add_argument("--show", nargs="+", choices=SHOWN, default=["rgb"], help="panels; several stand side by side")
    parser.add_argument("--alpha", action="store_true", help="transparent ground, in .webm, .mov (ProRes 4444) or PNGs")
    parser.add_argument("--exr", type=Path, metavar="FOLDER", help="light, opacity, depth and normals as .exr pictures")
    parser.add_argument("--fade-unseen", action="store_true", help="let what no photograph saw go over into the ground")
    parser.add_argument("--frames", type=whole(2, 100000), default=90, help="number of frames")
    parser.add_argument("--size", type=size, help="size of a panel, WxH pixels (default: as the pictures)")
    parser.add_argument("--fps", type=whole(1, 240), default=30, help="frames a second")
    parser.add_argument("--fov", type=between(1, 170), default=0.0, help="vertical angle of view, degrees")
    crop_argument(parser)
    parser.add_argument(
        "--preview",
        nargs="?",
        choices=PREVIEWS,
        const="baked",
        help="fast film, from a baked grid or with coarse steps; what that loses is printed",
    )


def run(arguments: argparse.Namespace) -> int:
    """Films a trained model along a camera path."""
    from nerf.geometry.scene_box import crop_box
    from nerf.report import say
    from nerf.video.exr import check_exr
    from nerf.video.keyframes import check_track_file
    from nerf.video.plan import FilmRequest
    from nerf.video.writer import check_video_file
    from nerf.workflows.film import film
    from nerf.workflows.trained import open_run

    check_video_file(arguments.out, arguments.alpha)
    if arguments.track:
        check_track_file(arguments.track, arguments.out, arguments.keys)
    if arguments.exr:
        check_exr(arguments.exr, bool(arguments.preview))
    trained = open_run(arguments.run_folder, arguments.backend)
    request = FilmRequest(
        path=arguments.path,
        frames=arguments.frames,
        size=arguments.size,
        fps=arguments.fps,
        shown=tuple(arguments.show),
        loop=arguments.loop,
        ease=arguments.ease,
        view=arguments.fov,
        keys=arguments.keys,
        track=arguments.track,
        alpha=arguments.alpha,
        exr=arguments.exr,
        fade_unseen=arguments.fade_unseen,
        preview=arguments.preview or "",
        up=arguments.up,
    )
    say("film", film(trained, arguments.out, request, crop_box(arguments.crop) if arguments.crop else None))
    return 0
