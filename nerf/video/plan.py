"""From a request to a film: which way is up, which path, which lens, and that the path stays where somebody looked."""

from __future__ import annotations

import math
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass, replace
from functools import cached_property, partial
from pathlib import Path

import torch
from torch import Tensor

from nerf.errors import InputError
from nerf.files import whole_folder
from nerf.geometry.camera_rig import forward_facing, looks_inwards, mean_camera
from nerf.geometry.cameras import Cameras
from nerf.geometry.similarity import NOWHERE, Placement
from nerf.geometry.up import Up, direction_of, find_up, floor_normal, leveled, pointing_up, upright
from nerf.rendering.antialiasing import rays_wanted
from nerf.rendering.baked import BakedModel
from nerf.rendering.model import RadianceModel
from nerf.rendering.witnesses import Witnesses, thumbnails, without_clouds
from nerf.report import say
from nerf.video.camera_paths import CameraRig, Framing, arc, figure_eight, orbit, spiral, times
from nerf.video.exr import write_frame
from nerf.video.frames import Frames, depth_range
from nerf.video.keyframes import Keys, check_track, hand_on_track, read_keys, track_file, write_track
from nerf.video.seen import seen_shares
from nerf.video.splines import pose_distances, short_tour, spline, spread_out
from nerf.video.writer import write_video

# Key frames of a tour: more make it jerk, fewer stray from where the training cameras went.
FRAMES_PER_KEY = 8
LEAST_KEYS = 12
MOST_KEYS = 64

CLEARANCE = 0.03  # of the box's side: nothing is to come nearer to a camera
THIN = 0.5  # optical thickness over that length up to which a camera is not inside of matter

SEEN = 0.97  # of the pixels of every frame must show what training cameras saw
SIMPLER = 0.1  # of the pixels of its least frame that a simpler path may show less, where none shows enough
JUDGED_FRAMES = 16  # of a path, by which it is judged first
JUDGED_SIDE = 24  # pixels of the longer side of the pictures by which it is judged
# Times the cameras' distance, a spiral's spread, the extent of what a picture shows, and the arc, that are tried.
REACHES = (1.0, 0.85, 1.2, 0.7)
SPREADS = (1.0, 0.75, 0.5, 0.3)
VIEWS = (1.0, 0.85, 0.7)
SWINGS = (1.0, 0.75, 0.5, 0.35)
SURFACE_POINTS = 60_000  # that tell where the floor is
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
    exr: Path | None = None  # a folder for the frames as .exr pictures, see `nerf.video.exr`
    fade_unseen: bool = False  # what training cameras did not see goes over into the background
    preview: str = ""  # what renders it instead, of `choices.PREVIEWS`; "" = the exact model
    up: str = ""  # which way is up, see `up.direction_of`; "" = what the cameras and the scene tell
    placed: Placement = NOWHERE  # leads to the space of glTF, for key frames and tracks of that kind
    track: Path | None = None  # where the track is written for other programs, see `keyframes.hand_on_track`
    floor: Tensor | None = None  # (3,), the normal of a floor that is known; None = it is looked for in the surface


@dataclass(frozen=True)
class CameraPath:
    """The path of a film's camera."""

    name: str  # of `choices.PATHS`
    cameras: Cameras  # one a frame
    loop: bool  # whether it closes
    witnesses: Witnesses  # what the training cameras see, of the model without clouds
    seen: Tensor  # (F,), the part of each frame that training cameras saw
    rays: Tensor  # (F,) int64, rays each way whose mean a pixel of each frame is


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
    if name == "auto" and request.keys:
        name = "keys"
    if (name == "keys") != (request.keys is not None):
        raise InputError("--path keys and --keys FILE go together")

    # What can be refused is, before the work.
    held_out = test_cameras().about(cameras.origin) if name == "test" else None
    if request.keys:
        read_keys(request.keys, cameras, find_up(cameras).direction, request.placed)

    clear, witnesses = without_clouds(model, cameras)
    if clear is not model:
        cut = 1 - clear.occupancy.occupied.sum().item() / max(1, model.occupancy.occupied.sum().item())
        say(
            "film",
            f"clouds: {cut:.0%} of the cells with matter are left out, since no training camera vouches for them",
        )
    surface = witnesses.views.points(SURFACE_POINTS)
    up = _up(cameras, surface, request)
    say("film", f"up: {', '.join(f'{part:.3g}' for part in up.direction.tolist())} ({up.reason}); --up overrules")
    planner = Planner(witnesses, upright(cameras, up), up.direction, request)

    if held_out is not None:
        path = planner.through(held_out)
    elif request.keys:
        path = planner.through_keys(read_keys(request.keys, planner.cameras, up.direction, request.placed))
    else:
        path = planner.best(planner.names() if name == "auto" else [name])

    least = path.seen.min().item()
    say("film", f"seen by training cameras: {least:.1%} of a frame at least, {path.seen.mean().item():.1%} in the mean")
    most = int(path.rays.max())
    if most > 1 and not request.preview:
        say(
            "film",
            f"up to {most} x {most} rays a pixel, since a pixel shows as much as so many of the training pictures'",
        )
    return path


def _up(cameras: Cameras, surface: Tensor, request: FilmRequest) -> Up:
    """Returns which way is up."""
    if request.up:
        return pointing_up(cameras, direction_of(request.up, "--up"), "as asked")
    floor = request.floor
    return find_up(cameras, floor_normal(cameras, surface) if floor is None else floor)


@dataclass(frozen=True)
class Planner:
    """Makes camera paths of one request, and judges them by what the training cameras saw."""

    witnesses: Witnesses
    cameras: Cameras  # the training cameras, turned so that their pictures are upright
    up: Tensor  # (3,) unit
    request: FilmRequest

    @cached_property
    def rig(self) -> CameraRig:
        """Where the training cameras stand."""
        return CameraRig.of(self.cameras, self.up)

    @cached_property
    def mean(self) -> Tensor:
        """The pose (3, 4) in the middle of the training cameras."""
        return mean_camera(self.cameras, self.up)

    @cached_property
    def focus(self) -> float:
        """How far the surface is before the mean camera, scene units: the median over its picture."""
        width = max(2, round(FOCUS_SIDE * self.cameras.width / self.cameras.height))
        small = self.cameras[:1].resized(width, FOCUS_SIDE)
        mean = Cameras(self.mean[None], small.focal, small.center, small.width, small.height)
        distance = self.witnesses.model.distances(mean, 0)
        met = distance[distance.isfinite()]
        if len(met) == 0:
            raise InputError("the model is empty before the cameras: no ray meets a surface; train longer")
        return met.median().item()

    def names(self) -> list[str]:
        """Returns the paths that fit where the training cameras stand, the best one first; says why."""
        if forward_facing(self.cameras):
            say("film", "path: all cameras face one way")
            return ["spiral", "tour"]
        if not looks_inwards(self.cameras):
            say("film", "path: the cameras look at no common thing")
            return ["tour"]
        gap = math.degrees(self.rig.widest_gap()[1])
        say("film", f"path: the widest gap between the cameras, seen from above, is {gap:.0f} degrees")
        return ["orbit", "arc", "tour"] if self.rig.all_round else ["arc", "tour"]

    def best(self, names: list[str]) -> CameraPath:
        """Returns the first path of these of which all frames show what was seen, or the first that comes near it."""
        paths: list[CameraPath] = []
        for name in names:
            paths.append(self.tour() if name == "tour" else self.shape(name))
            if paths[-1].seen.min() >= SEEN:
                break
        most = max(path.seen.min().item() for path in paths)
        return next(path for path in paths if path.seen.min() >= min(SEEN, most - SIMPLER))

    def through(self, held_out: Cameras) -> CameraPath:
        """Returns the path through given cameras, as they are."""
        sized = held_out.resized(*self.panel_size(held_out))
        sized = sized[: self.request.frames] if self.request.frames < len(sized) else sized
        return self._judged("test", _zoomed(sized, self.request.view), False)

    def through_keys(self, keys: Keys, name: str = "keys") -> CameraPath:
        """Returns a smooth path through key frames, and says which of its frames come too near to a surface."""
        loop = keys.loop if self.request.loop is None else self.request.loop
        u = times(self.request.frames, loop, self.request.ease)
        poses, view = spline(keys.poses, keys.view, u, loop, keys.when if loop == keys.loop else None)
        path = self._judged(name, self._film_cameras(poses, view=view), loop)

        blocked = (~keeps_clear(self.witnesses.model, path.cameras)).nonzero().flatten().tolist()
        if blocked:
            near = CLEARANCE * self.witnesses.model.box.core.side
            few = f"{len(blocked)} frames come nearer to a surface than {near:.3g} scene units: {blocked[:8]}"
            say("film", f"path: {few}")
        return path

    def tour(self) -> CameraPath:
        """Returns a short tour through training cameras that are far from each other."""
        cameras = self.cameras
        count = min(len(cameras), max(LEAST_KEYS, self.request.frames // FRAMES_PER_KEY), MOST_KEYS)
        chosen = spread_out(pose_distances(cameras.world_from_camera), count)
        poses = leveled(cameras.world_from_camera[chosen], self.up)
        loop = not forward_facing(cameras) if self.request.loop is None else self.request.loop
        order = short_tour(pose_distances(poses), loop)
        say("film", f"path: a tour through {len(chosen)} of {len(cameras)} training cameras")

        view = 2 * math.atan(cameras.height / 2 / cameras.focal[0, 1].item())
        return self.through_keys(Keys(poses[order], torch.full((len(chosen),), view), loop, None), "tour")

    def shape(self, name: str) -> CameraPath:
        """Returns a closed path of which every frame keeps clear of the surface and shows what was seen.

        Where none does, the one whose least frame shows most.
        """
        found: list[tuple[bool, float, Framing]] = []
        for framing in self._framings(name):
            path = self.framed(name, framing)
            some = path[torch.linspace(0, len(path) - 1, min(len(path), JUDGED_FRAMES)).round().long()]
            clear, least = self._fitness(some)
            if clear and least >= SEEN:  # if that holds of some frames, does it of all?
                clear, least = self._fitness(path)
            found.append((clear, least, framing))
            if clear and least >= SEEN:
                break

        # max keeps the first of equals, which departs least.
        clear, least, framing = max(found, key=lambda each: each[:2])
        if not clear:
            say("film", f"path: {name}: some frames stay near a surface, however far from it the path is made")
        if framing != Framing():
            say(
                "film",
                f"path: {name} {_words(framing)}, to keep clear of surfaces and to show what was seen ({least:.0%})",
            )
        loop = True if self.request.loop is None else self.request.loop
        return self._judged(name, self.framed(name, framing), loop)

    def _fitness(self, cameras: Cameras) -> tuple[bool, float]:
        """Returns whether all cameras keep clear of the surface, and the part of the least picture that was seen."""
        clear = bool(keeps_clear(self.witnesses.model, cameras).all())
        return clear, seen_shares(self.witnesses, thumbnails(cameras, JUDGED_SIDE)).min().item()

    def _framings(self, name: str) -> list[Framing]:
        """Returns how a path may be framed, what departs least from the training cameras first."""
        round_thing = name != "spiral"
        choices = [
            Framing(reach, view, swing, follow)
            for follow in ((False, True) if round_thing else (False,))
            for swing in (SWINGS if name == "arc" else SWINGS[:1])
            for view in (VIEWS if self.request.view == 0 else VIEWS[:1])
            for reach in (REACHES if round_thing else SPREADS)
        ]
        return sorted(choices, key=_departure)

    def framed(self, name: str, framing: Framing) -> Cameras:
        """Returns the cameras of a path as they are framed, whatever they show."""
        loop = True if self.request.loop is None else self.request.loop
        u = times(self.request.frames, loop, self.request.ease)
        if name == "spiral":
            poses = spiral(self.cameras, self.mean, u, self.focus, framing.reach)
        else:
            poses = {"orbit": orbit, "arc": arc, "eight": figure_eight}[name](self.rig, u, framing)
        return self._film_cameras(poses, framing.view)

    def _judged(self, name: str, cameras: Cameras, loop: bool) -> CameraPath:
        seen = seen_shares(self.witnesses, thumbnails(cameras, JUDGED_SIDE))
        rays = rays_wanted(self.witnesses, self.cameras, cameras)
        return CameraPath(name, cameras, loop, self.witnesses, seen, rays)

    def panel_size(self, cameras: Cameras) -> tuple[int, int]:
        """Returns width and height of a panel, pixels."""
        return self.request.size or (cameras.width, cameras.height)

    def _film_cameras(self, poses: Tensor, extent: float = 1.0, view: Tensor | None = None) -> Cameras:
        """Returns cameras at poses (F, 3, 4), of the film's size.

        Their lens is that of the first training camera, or has the vertical fields of view (F,), radians. It shows
        `extent` times as much.
        """
        lens = self.cameras[:1].resized(*self.panel_size(self.cameras))
        count = len(poses)
        filmed = replace(
            lens,
            world_from_camera=poses,
            focal=lens.focal.repeat(count, 1),
            center=lens.center.repeat(count, 1),
            lens=lens.lens.repeat(count, 1),
            size=lens.size.repeat(count, 1),
        )
        if view is not None:
            focal = filmed.height / 2 / torch.tan(view / 2)
            filmed = replace(filmed, focal=filmed.focal * (focal / filmed.focal[:, 1])[:, None])
        return _zoomed(replace(filmed, focal=filmed.focal / extent), self.request.view)


def _departure(framing: Framing) -> float:
    """Returns how much worse a framing is than the training cameras': better a shorter arc than a thing cut off."""
    return 2 * abs(math.log(framing.reach)) - math.log(framing.view) - 0.5 * math.log(framing.swing)


def _words(framing: Framing) -> str:
    """Returns how a path is framed, as a message says it."""
    parts = [
        f"at {framing.reach:.2f} times the distance" if framing.reach != 1 else "",
        f"with {framing.view:.2f} times the view" if framing.view != 1 else "",
        f"along {framing.swing:.0%} of the arc" if framing.swing != 1 else "",
        "at the height of the cameras nearby" if framing.follow else "",
    ]
    return ", ".join(part for part in parts if part) or "as the cameras stood"


def keeps_clear(model: RadianceModel, cameras: Cameras) -> Tensor:
    """Returns (F,) bool: whether a camera is in no matter, and nothing that it sees is nearer than CLEARANCE."""
    near = CLEARANCE * model.box.core.side
    small = thumbnails(cameras, JUDGED_SIDE)
    nearest = torch.stack([model.distances(small, frame).min() for frame in range(len(cameras))])
    inside = model.density(cameras.world_from_camera[:, :, 3]) * near > THIN
    return (nearest > near) & ~inside


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
    unbounded = path.witnesses.model.box.contraction is not None
    witnesses = path.witnesses if unbounded or request.fade_unseen else None
    rays = torch.ones_like(path.rays) if request.preview else path.rays
    frames = Frames(
        model, path.cameras, rays, request.shown, background, request.alpha, scale, witnesses, request.fade_unseen
    )
    with whole_folder(request.exr) if request.exr else nullcontext() as folder:
        kept = None if folder is None else partial(write_frame, folder)
        write_video(file, replace(frames, keep=kept), request.fps)

    track = track_file(file)
    count = len(path.cameras)
    when = [frame / request.fps for frame in range(count)]
    write_track(track, path.cameras, when, count / request.fps, path.loop, path.seen)
    if request.track:
        hand_on_track(request.track, path.cameras, when, count / request.fps, request.placed)
    return track
