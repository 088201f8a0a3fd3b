"""A check of a capture before training: what there is, what was chosen, and warnings that say what to do."""

from __future__ import annotations

import math
import os
from dataclasses import dataclass

import torch
from torch import Tensor

from nerf.config import PLACE
from nerf.errors import InputError
from nerf.geometry.camera_rig import camera_box, forward_facing, widest_gap
from nerf.geometry.cameras import Cameras
from nerf.geometry.up import find_up
from nerf.scenes import Scene, Views

BLURRED = 0.5  # part of the median detail below which a picture is blurred; a Gaussian of one pixel leaves 0.3 to 0.48
FLAT = 1e-6  # median detail below which the pictures are of one colour each: none is sharper than another
SMALLEST = 6  # pixels along a side: smaller pictures have no inside at half their size
SOFT = 0.1  # median detail below which all pictures have more pixels than detail
FEW_PICTURES = 20  # of a scene seen from all around
WIDE_GAP = 100.0  # degrees around the scene without a camera
WIDE_STEP = 35.0  # degrees between neighbouring cameras
LARGE_ERROR = 1.5  # pixels, mean reprojection error
FEW_POINTS = 0.15  # part of the median number of points that a picture sees
UNEVEN = 0.5  # stops, standard deviation of the pictures' brightness
MOST_NAMED = 12  # names in a warning
GAMMA = 2.2  # of display colours, nearly
PRESETS = {  # by whether Scene.ground is PLACE
    True: "the defaults for photographs: pictures of a whole place, without silhouettes",
    False: "the defaults for renders of one thing, with silhouettes",
}


@dataclass(frozen=True)
class PictureFacts:
    """What is known of one picture."""

    name: str
    split: str
    detail: float  # see `detail`, as a part of the median's
    points: int | None  # known points that it sees
    error: float | None  # mean reprojection error of those, pixels


@dataclass(frozen=True)
class CaptureCheck:
    """What is said before training."""

    facts: list[tuple[str, str]]  # (what, how much)
    warnings: list[str]
    pictures: list[PictureFacts]  # the softest first

    def lines(self) -> list[str]:
        """Returns the page as lines of text."""
        wide = max(len(what) for what, _ in self.facts)
        lines = [f"{what:<{wide}}  {how}" for what, how in self.facts]
        return [*lines, *(f"warning: {warning}" for warning in self.warnings)]


def detail(picture: Tensor) -> float:
    """Returns how much detail finer than two pixels a picture (H, W, C) has; blur lowers it, contrast cancels.

    It is the mean square of the picture's Laplacian over that of the picture at half the size.
    """
    if min(picture.shape[:2]) < SMALLEST:
        return 0.0

    grey = picture.float().mean(dim=2)
    half = torch.nn.functional.avg_pool2d(grey[None], 2)[0]

    def energy(image: Tensor) -> float:
        inner = 4 * image[1:-1, 1:-1] - image[:-2, 1:-1] - image[2:, 1:-1] - image[1:-1, :-2] - image[1:-1, 2:]
        return inner.square().mean().item()

    # Whole grey levels leave a quarter of one in every Laplacian: a flat picture is neither sharp nor blurred.
    return energy(grey) / (energy(half) + 1.0)


def check_capture(scene: Scene, bounds: str, memory: int) -> CaptureCheck:
    """Returns what there is to say about a scene that has been read.

    bounds: where the scene is, in words. memory: bytes that training will take.
    """
    splits = scene.splits
    train = splits["train"]

    # Detail as a part of the median's, the softest picture first.
    pictures = [facts for split, views in splits.items() for facts in _pictures(views, split)]
    middle = torch.tensor([facts.detail for facts in pictures]).median().item()
    scale = middle if middle > FLAT else 1.0
    pictures = [PictureFacts(p.name, p.split, p.detail / scale, p.points, p.error) for p in pictures]
    pictures.sort(key=lambda facts: facts.detail)

    around, coverage_warnings = _coverage(train.cameras)
    warnings = [
        *(note.removeprefix("warning: ") for note in scene.notes if _warns(note)),
        *_picture_warnings(pictures, middle),
        *_brightness_warnings(train),
        *coverage_warnings,
        *_tracked_warnings(pictures),
        *_memory_warnings(memory),
    ]

    counts = ", ".join(f"{len(views)} {split}" for split, views in splits.items())
    facts = [
        ("pictures", f"{counts}; {_sizes(splits)}{', with alpha' if train.has_alpha else ''}"),
        *(("found", note) for note in scene.notes if not _warns(note)),
        ("detail", f"softest {pictures[0].name} ({pictures[0].detail:.2f} of the median), {_softest(pictures)}"),
        ("cameras", around),
        *_tracked_facts(pictures, scene),
        ("bounds", bounds),
        ("memory", f"about {memory / 2**30:.1f} GiB"),
        ("settings", PRESETS[scene.ground == PLACE]),
    ]
    return CaptureCheck(facts, warnings, pictures)


def _warns(note: str) -> bool:
    return note.startswith("warning: ")


def _pictures(views: Views, split: str) -> list[PictureFacts]:
    found = []
    for frame, name in enumerate(views.names):
        sharp = detail(views.picture(frame, "black") * 255)
        if views.tracked is None:
            found.append(PictureFacts(name, split, sharp, None, None))
        else:
            points, error = views.tracked[frame].tolist()
            found.append(PictureFacts(name, split, sharp, int(points), error))
    return found


def _sizes(splits: dict[str, Views]) -> str:
    sizes = torch.cat([views.cameras.size for views in splits.values()]).unique(dim=0).tolist()
    width, height = sizes[-1]
    return f"{width} x {height} pixels" if len(sizes) == 1 else f"{len(sizes)} sizes to {width} x {height} pixels"


def _softest(pictures: list[PictureFacts]) -> str:
    return f"sharpest {pictures[-1].name} ({pictures[-1].detail:.2f})"


def _named(names: list[str]) -> str:
    more = f" and {len(names) - MOST_NAMED} more" if len(names) > MOST_NAMED else ""
    return ", ".join(names[:MOST_NAMED]) + more


def _picture_warnings(pictures: list[PictureFacts], middle: float) -> list[str]:
    if middle < FLAT:
        return [
            "most photos are of one colour and show nothing to learn from; take others, with less light if it is white"
        ]

    warnings = []
    if blurred := [facts.name for facts in pictures if facts.detail < BLURRED]:
        warnings.append(
            f"{len(blurred)} of {len(pictures)} photos are blurred: remove {_named(blurred)}, "
            "unless nothing else shows what they show"
        )

    if middle < SOFT:
        warnings.append("the photos have more pixels than detail: --downscale 2 loses nothing and is faster")
    return warnings


def _brightness_warnings(views: Views) -> list[str]:
    light = torch.stack([views.picture(frame, "black").mean() for frame in range(len(views))])
    if views.has_alpha:
        # Of what is shown alone: the empty part of a picture is black here.
        light /= (views.images[..., 3].float().mean(dim=(1, 2)) / views.white).clamp(min=1e-3)

    stops = GAMMA * light.clamp(min=1e-3).log2()
    if len(views) < 2 or not stops.std() > UNEVEN:
        return []
    return [
        f"the photos differ in brightness by {stops.std():.1f} stops (standard deviation): if the exposure changed "
        "from one to the next, train with capture.exposure=learn"
    ]


def _coverage(cameras: Cameras) -> tuple[str, list[str]]:
    """Returns where the cameras stand, and warnings."""
    if forward_facing(cameras):
        return "all face one way: what they do not see from there will be guessed", []
    try:
        box = camera_box(cameras)
    except InputError:
        return "all in one place", ["the cameras stand in one place: nothing tells depth; walk while taking pictures"]

    # Directions from the middle of the scene to the cameras, their heights, and where there is none.
    up = find_up(cameras).direction
    middle = box.corner + box.side / 2
    offset = torch.nn.functional.normalize(cameras.world_from_camera[:, :, 3] - middle, dim=1)
    height = (offset @ up).clamp(-1, 1).asin().rad2deg()
    there, gap = widest_gap(cameras, up)

    # The angle to the nearest other camera.
    cosine = (offset @ offset.T).fill_diagonal_(-1).amax(1).clamp(-1, 1)
    step = cosine.acos().rad2deg()

    around = (
        f"round the scene, from {height.min():.0f} to {height.max():.0f} degrees above its middle; largest gap "
        f"{gap:.0f} degrees; neighbours {step.median():.0f} degrees apart in the median"
    )

    warnings = []
    if gap > WIDE_GAP:
        warnings.append(
            f"no camera in {gap:.0f} degrees round the scene, about ({', '.join(f'{v:.2f}' for v in there)}) "
            "from its middle: what faces there will be guessed; take pictures from there"
        )

    if step.median() > WIDE_STEP or len(cameras) < FEW_PICTURES:
        warnings.append(
            f"{len(cameras)} pictures, {step.median():.0f} degrees apart, are few for a scene seen all round: take "
            "more, or expect fog in front of the cameras"
        )
    return around, warnings


def _tracked(pictures: list[PictureFacts]) -> list[tuple[str, int, float]]:
    """Returns name, points and error of the pictures for which they are known."""
    return [(p.name, p.points, p.error) for p in pictures if p.points is not None and p.error is not None]


def _tracked_facts(pictures: list[PictureFacts], scene: Scene) -> list[tuple[str, str]]:
    tracked = _tracked(pictures)
    if not tracked or scene.points is None:
        return []

    error = sum(error * points for _, points, error in tracked) / max(1, sum(points for _, points, _ in tracked))
    largest = max(error for _, _, error in tracked)
    counts = sorted(points for _, points, _ in tracked)
    return [
        ("points", f"{len(scene.points)} that can be trusted; a picture sees {counts[0]} to {counts[-1]} points"),
        ("reprojection", f"{error:.2f} pixels in the mean, at most {largest:.2f} in a picture"),
    ]


def _tracked_warnings(pictures: list[PictureFacts]) -> list[str]:
    tracked = _tracked(pictures)
    if not tracked:
        return []

    warnings = []
    middle = sorted(points for _, points, _ in tracked)[len(tracked) // 2]
    few = [name for name, points, _ in tracked if points < FEW_POINTS * middle]
    if few:
        warnings.append(
            f"{len(few)} of {len(tracked)} photos see few points of the others, their poses are unsure: remove "
            f"{_named(few)}, or train with capture.poses=refine"
        )

    off = [name for name, _, error in tracked if error > LARGE_ERROR]
    if off:
        warnings.append(
            f"points are more than {LARGE_ERROR:g} pixels off in {len(off)} of {len(tracked)} photos ({_named(off)}): "
            "train with capture.poses=refine"
        )
    return warnings


def _memory_warnings(memory: int) -> list[str]:
    there = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") if hasattr(os, "sysconf") else math.inf
    if memory < 0.8 * there:
        return []
    return [f"training takes about {memory / 2**30:.1f} GiB of {there / 2**30:.1f}: shrink the pictures, --downscale 2"]
