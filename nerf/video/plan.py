"""From a request to a film: which path, which lens, and a path that keeps clear of the surface."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor

from nerf.errors import InputError
from nerf.geometry.camera_rig import forward_facing, mean_camera, surrounded
from nerf.geometry.cameras import Cameras
from nerf.rendering.baked import BakedModel
from nerf.rendering.model import RadianceModel
from nerf.report import say
from nerf.video.camera_paths import figure_eight, orbit, spiral, times
from nerf.video.frames import Frames, depth_range
from nerf.video.keyframes import Keys, check_track, read_keys, track_file, write_track
from nerf.video.splines import pose_distances, short_tour, spline, spread_out
from nerf.video.writer import write_video

# Key frames of a tour: more make it jerk, fewer stray from where the training cameras went.
FRAMES_PER_KEY = 8
LEAST_KEYS = 12
MOST_KEYS = 64
CLEARANCE = 0.03  # of the box's side: nothing is to come nearer to a camera
CLEAR_SIDE = 16  # pixels of the longer side of the pictures in which it is measured how near things come
FARTHER = 1.15  # a path that comes too near is widened, or a spiral narrowed, by this
TRIES = 8  # that a path is given to keep clear
FOCUS_SIDE = 64  # pixels of the height of the picture in which the distance of the surface is measured


@dataclass(frozen=True)
class FilmRequest:
    """What is to be filmed."""

    frames: int = 90
    size: tuple[int, int] | None = None  # width and height of a panel, pixels; None = as the cameras
    fps: int = 30  # frames a second
    path: str = "auto"  # of `choices.PATHS`
    shown: tuple[str, ...] = ("rgb",)  # of `choices.SHOWN`
    loop: bool | None = None  # whether the film ends where it began; None = as the path is
    ease: str = "linear"  # see `camera_paths.times`
    view: float = 0.0  # vertical field of view, degrees; 0 = the cameras'
    keys: Path | None = None  # the file of path "keys"
    alpha: bool = False  # transparent background
    preview: str = ""  # what renders it instead, of `choices.PREVIEWS`; "" = the exact model


def panel_size(request: FilmRequest, cameras: Cameras) -> tuple[int, int]:
    """Returns width and height of a panel, pixels."""
    return request.size or (cameras.width, cameras.height)


@dataclass(frozen=True)
class CameraPath:
    """The path of a film's camera."""

    name: str  # of `choices.PATHS`
    cameras: Cameras  # one a frame
    loop: bool  # whether it closes


def plan(
    model: RadianceModel, cameras: Cameras, request: FilmRequest, test_cameras: Callable[[], Cameras]
) -> CameraPath:
    """Returns the camera path of a film, and says aloud what was chosen.

    Args:
        model: what is filmed.
        cameras: of the training views.
        request: what is asked for.
        test_cameras: returns the cameras of the test split; called for the path of that name only.

    Raises:
        InputError: no such path can be made.
    """
    name = request.path
    if name == "auto":
        name = "keys" if request.keys else "orbit" if surrounded(cameras) else "spiral"
    if (name == "keys") != (request.keys is not None):
        raise InputError("--path keys and --keys FILE go together")

    if name == "test":
        held_out = test_cameras().about(cameras.origin).resized(*panel_size(request, cameras))
        held_out = held_out[: request.frames] if request.frames < len(held_out) else held_out
        return CameraPath(name, _zoomed(held_out, request.view), False)
    if name in ("tour", "keys"):
        return _through_keys(name, model, cameras, request)
    return _shape(name, model, cameras, request)


def _through_keys(name: str, model: RadianceModel, cameras: Cameras, request: FilmRequest) -> CameraPath:
    """Returns a smooth path through key frames, and says which of its frames come too near to a surface."""
    keys = read_keys(request.keys, cameras) if request.keys else _tour_keys(cameras, request)
    loop = keys.loop if request.loop is None else request.loop
    u = times(request.frames, loop, request.ease)
    when = keys.when if loop == keys.loop else None
    poses, view = spline(keys.poses, keys.view, u, loop, when)
    path = CameraPath(name, _film_cameras(poses, cameras, request, view), loop)

    near = CLEARANCE * model.box.core.side
    blocked = (~keeps_clear(model, path.cameras)).nonzero().flatten().tolist()
    if blocked:
        say("film", f"path: {len(blocked)} frames come nearer to a surface than {near:.3g} scene units: {blocked[:8]}")
    return path


def _tour_keys(cameras: Cameras, request: FilmRequest) -> Keys:
    """Returns key frames of a short tour through training cameras that are far from each other, and says so."""
    count = min(len(cameras), max(LEAST_KEYS, request.frames // FRAMES_PER_KEY), MOST_KEYS)
    chosen = spread_out(pose_distances(cameras.world_from_camera), count)
    poses = cameras.world_from_camera[chosen]
    loop = not forward_facing(cameras) if request.loop is None else request.loop
    order = short_tour(pose_distances(poses), loop)
    say("film", f"path: a tour through {len(chosen)} of {len(cameras)} training cameras")
    return Keys(poses[order], torch.full((len(chosen),), _view(cameras)), loop, None)


def _shape(name: str, model: RadianceModel, cameras: Cameras, request: FilmRequest) -> CameraPath:
    """Returns a closed path, widened (a spiral: narrowed) until no frame comes too near to a surface."""
    loop = True if request.loop is None else request.loop
    u = times(request.frames, loop, request.ease)
    focus = _focus(model, cameras) if name == "spiral" else 0.0

    def at(reach: float) -> CameraPath:
        if name == "spiral":
            poses = spiral(cameras, u, focus, reach)
        else:
            poses = {"orbit": orbit, "eight": figure_eight}[name](cameras, u, reach)
        return CameraPath(name, _film_cameras(poses, cameras, request), loop)

    reach = 1.0
    path = at(reach)
    clear = bool(keeps_clear(model, path.cameras).all())
    for _ in range(TRIES - 1):
        if clear:
            break
        reach *= 1 / FARTHER if name == "spiral" else FARTHER
        path = at(reach)
        clear = bool(keeps_clear(model, path.cameras).all())

    if not clear:
        say("film", "path: some frames stay near a surface however wide the path is made")
    if reach != 1:
        say("film", f"path: made {reach:.2f} times as wide, to keep clear of the surface")
    return path


def _focus(model: RadianceModel, cameras: Cameras) -> float:
    """Returns how far the surface is before the mean camera, scene units: the median over its picture."""
    width = max(2, round(FOCUS_SIDE * cameras.width / cameras.height))
    small = cameras[:1].resized(width, FOCUS_SIDE)
    mean = Cameras(mean_camera(cameras)[None], small.focal, small.center, small.width, small.height)
    distance = model.distances(mean, 0)
    met = distance[distance.isfinite()]
    if len(met) == 0:
        raise InputError("the model is empty before the cameras: no ray meets a surface; train longer")
    return met.median().item()


def keeps_clear(model: RadianceModel, cameras: Cameras) -> Tensor:
    """Returns (F,) bool: whether nothing that a camera sees is nearer than CLEARANCE."""
    factor = CLEAR_SIDE / max(cameras.width, cameras.height)
    small = cameras.resized(max(1, round(cameras.width * factor)), max(1, round(cameras.height * factor)))
    nearest = [model.distances(small, frame).min() for frame in range(len(cameras))]
    return torch.stack(nearest) > CLEARANCE * model.box.core.side


def _view(cameras: Cameras) -> float:
    """Returns the vertical field of view of the first camera, radians."""
    return 2 * math.atan(cameras.height / 2 / cameras.focal[0, 1].item())


def _film_cameras(poses: Tensor, cameras: Cameras, request: FilmRequest, view: Tensor | None = None) -> Cameras:
    """Returns cameras at poses (F, 3, 4), of the film's size.

    Their lens is that of the first training camera, or has the vertical fields of view (F,), radians.
    """
    lens = cameras[:1].resized(*panel_size(request, cameras))
    count = len(poses)
    focal = lens.focal.repeat(count, 1)
    filmed = Cameras(poses, focal, lens.center.repeat(count, 1), lens.width, lens.height, origin=cameras.origin)
    if view is not None:
        focal = filmed.height / 2 / torch.tan(view / 2)
        filmed = replace(filmed, focal=filmed.focal * (focal / filmed.focal[:, 1])[:, None])
    return _zoomed(filmed, request.view)


def _zoomed(cameras: Cameras, view: float) -> Cameras:
    """Returns the cameras with another vertical field of view, degrees; 0 = as they are."""
    if view == 0:
        return cameras
    focal = cameras.height / 2 / math.tan(math.radians(view) / 2)
    return replace(cameras, focal=cameras.focal * (focal / cameras.focal[:, 1:]))


def write_film(
    file: Path, model: RadianceModel | BakedModel, path: CameraPath, request: FilmRequest, background: str
) -> Path:
    """Writes a film and, beside it, its camera track; returns the track's file."""
    check_track(file, request.keys)
    scale = (0.0, 1.0)
    if "depth" in request.shown and isinstance(model, RadianceModel):
        scale = depth_range(model, path.cameras)
    write_video(file, Frames(model, path.cameras, request.shown, background, request.alpha, scale), request.fps)

    track = track_file(file)
    write_track(track, path.cameras, request.fps, path.loop)
    return track
