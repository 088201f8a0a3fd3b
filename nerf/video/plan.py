"""From words to a film: which path, which lens, and a way that keeps clear of the surface."""

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
from nerf.rendering.model import RadianceModel
from nerf.video import camera_paths as paths
from nerf.video.frames import Frames, depth_range
from nerf.video.keyframes import Keys, read_keys, write_track
from nerf.video.splines import pose_distances, short_tour, spline, spread_out
from nerf.video.writer import write_video

FRAMES_PER_KEY, LEAST_KEYS, MOST_KEYS = 8, 12, 64  # of a tour: more keys make it jerk, fewer leave the cameras' way
CLEARANCE = 0.03  # of the cube's side: nothing is to come nearer to a camera
CLEAR_SIDE = 16  # pixels of the longer side of the pictures that tell how near things come
FARTHER, TRIES = 1.15, 8  # a path that comes too near is widened, or a spiral narrowed, by this, so often


@dataclass(frozen=True)
class FilmRequest:
    """What is to be filmed.

    path: of `words.PATHS`. size: width and height of a panel, pixels. fps: frames a second. shown: of `words.SHOWN`.
    loop: whether the film ends where it began; None = as the path is. ease: see `paths.times`. view: vertical field of
    view, degrees, 0 = the cameras'. keys: the file of path "keys". alpha: transparent ground. preview: what
    renders it instead, of `words.PREVIEWS`; empty = the exact model.
    """

    frames: int
    size: tuple[int, int]
    fps: int
    path: str = "auto"
    shown: tuple[str, ...] = ("rgb",)
    loop: bool | None = None
    ease: str = "linear"
    view: float = 0.0
    keys: Path | None = None
    alpha: bool = False
    preview: str = ""


@dataclass(frozen=True)
class CameraPath:
    """A planned path: what it is called, its cameras, and whether it closes."""

    name: str
    cameras: Cameras
    loop: bool


def plan(model: RadianceModel, cameras: Cameras, request: FilmRequest, test: Callable[[], Cameras]) -> CameraPath:
    """Returns the cameras of a film, and says aloud what was chosen.

    test: returns the cameras of the test split; called for the path of that name only.

    Raises:
        InputError: no such path can be made.
    """
    name = request.path
    if name == "auto":
        name = "keys" if request.keys else "orbit" if surrounded(cameras) else "spiral"
    if (name == "keys") != (request.keys is not None):
        raise InputError("--path keys and --keys FILE go together")
    if name == "test":
        held_out = test().resized(*request.size)
        held_out = held_out[: request.frames] if request.frames < len(held_out) else held_out
        return CameraPath(name, _zoomed(held_out, request.view), False)
    if name in ("tour", "keys"):
        keys = read_keys(request.keys, cameras) if request.keys else _tour_keys(cameras, request)
        loop = keys.loop if request.loop is None else request.loop
        u = paths.times(request.frames, loop, request.ease)
        when = keys.when if loop == keys.loop else None
        poses, opening = spline(keys.poses, keys.view, u, loop, when)
        way = CameraPath(name, _lens(poses, cameras, request, opening), loop)
        near = CLEARANCE * model.box.core.side
        blocked = (~keeps_clear(model, way.cameras)).nonzero().flatten().tolist()
        if blocked:
            print(f"path: {len(blocked)} frames come nearer to a surface than {near:.3g} scene units: {blocked[:8]}")
        return way
    return _shape(name, model, cameras, request)


def _tour_keys(cameras: Cameras, request: FilmRequest) -> Keys:
    count = min(len(cameras), max(LEAST_KEYS, request.frames // FRAMES_PER_KEY), MOST_KEYS)
    chosen = spread_out(pose_distances(cameras.world_from_camera), count)
    poses = cameras.world_from_camera[chosen]
    loop = not forward_facing(cameras) if request.loop is None else request.loop
    order = short_tour(pose_distances(poses), loop)
    print(f"path: a tour through {len(chosen)} of {len(cameras)} training cameras")
    return Keys(poses[order], torch.full((len(chosen),), _opening(cameras)), loop, None)


def _shape(name: str, model: RadianceModel, cameras: Cameras, request: FilmRequest) -> CameraPath:
    """Returns a closed path, widened (a spiral: narrowed) until no frame comes too near to a surface."""
    loop = True if request.loop is None else request.loop
    u = paths.times(request.frames, loop, request.ease)
    reach = 1.0
    focus = _focus(model, cameras) if name == "spiral" else 0.0
    for _ in range(TRIES):
        if name == "spiral":
            poses = paths.spiral(cameras, u, focus, reach)
        else:
            poses = {"orbit": paths.orbit, "eight": paths.figure_eight}[name](cameras, u, reach)
        way = CameraPath(name, _lens(poses, cameras, request), loop)
        if keeps_clear(model, way.cameras).all():
            break
        reach *= 1 / FARTHER if name == "spiral" else FARTHER
    else:
        print("path: some frames stay near a surface however wide the path is made")
    if reach != 1:
        print(f"path: made {reach:.2f} times as wide, to keep clear of the surface")
    return way


def _focus(model: RadianceModel, cameras: Cameras) -> float:
    """Returns how far the surface is before the mean camera, scene units: the median over its picture."""
    small = cameras[:1].resized(max(2, round(64 * cameras.width / cameras.height)), 64)
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


def _opening(cameras: Cameras) -> float:
    return 2 * math.atan(cameras.height / 2 / cameras.focal[0, 1].item())


def _lens(poses: Tensor, cameras: Cameras, request: FilmRequest, opening: Tensor | None = None) -> Cameras:
    """Returns cameras at poses (F, 3, 4), with the lens of the first training camera, or of an opening (F,) radians."""
    lens = cameras[:1].resized(*request.size)
    count = len(poses)
    path = Cameras(poses, lens.focal.repeat(count, 1), lens.center.repeat(count, 1), lens.width, lens.height)
    if opening is not None:
        wanted = path.height / 2 / torch.tan(opening / 2)
        path = replace(path, focal=path.focal * (wanted / path.focal[:, 1])[:, None])
    return _zoomed(path, request.view)


def _zoomed(path: Cameras, view: float) -> Cameras:
    if view == 0:
        return path
    wanted = path.height / 2 / math.tan(math.radians(view) / 2)
    return replace(path, focal=path.focal * (wanted / path.focal[:, 1:]))


def write_film(file: Path, model: RadianceModel, way: CameraPath, request: FilmRequest, background: str) -> Path:
    """Writes a film and, beside it, its camera track; returns the track's file."""
    scale = depth_range(model, way.cameras) if "depth" in request.shown else (0.0, 1.0)
    write_video(file, Frames(model, way.cameras, request.shown, background, request.alpha, scale), request.fps)
    track = file.with_name(f"{file.stem}.track.json")
    write_track(track, way.cameras, request.fps, way.loop)
    return track
