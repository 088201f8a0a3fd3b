"""Gaussian splats of a trained field: one a cell of its surface, then fitted to what the field shows.

The field itself is the teacher: every step draws a viewpoint between the cameras that it learned from, renders the
field there, and the splats follow its picture by Adam (Kingma and Ba 2015). No photograph is looked at again, and no
view is seen twice. Programs draw splats in two ways, see `nerf.ops.splats`, which take turns here: so they look right
in both.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torch.nn.functional import normalize

from nerf.errors import InputError
from nerf.geometry.cameras import Cameras
from nerf.rendering.depth_views import EMPTY, pinhole_cameras
from nerf.rendering.metrics import psnr
from nerf.rendering.model import RadianceModel
from nerf.rendering.witnesses import thumbnails, without_clouds
from nerf.report import progress, say
from nerf.splatting.splats import FLAT_DC, Splats

MOST_BOUNDED, MOST_UNBOUNDED = 150_000, 500_000  # splats, unless asked
STEPS_BOUNDED, STEPS_UNBOUNDED = 165, 300
DEGREE = 3  # of the harmonics: l = 0, 1, 2
SEED = 0

LOOKED_FROM = 2**22  # rays of all cameras that look for the surface
MOST_PIXELS = 2**18  # of a picture that is followed
NEIGHBOURS = 6  # cameras, itself among them, towards which a viewpoint may be moved from a camera, half the way at most
WIDER = 1.2  # times as much as in pictures of a place is looked at: others will see what is beside them, too
NEAR_LOOK = (0.3, 2.0)  # the part of the viewpoints that look so many times as closely at least, at a part of that
SCORED = 8  # viewpoints by which the splats are judged; none of them was followed

FIRST, FINEST = 1 / 200, 2.0**-19  # side of a cell, of the unit cube: tried first, and at the least
FULL, MOST_TRIALS = 0.985, 12  # that many of the splats asked for are enough; trials to come there

# At first: standard deviations, in cells, along the surface and across it, and the opacity.
ALONG, ACROSS, OPACITY = 0.5, 0.15, 0.9
# Adam's rates at first, and the part of them at last. Positions are counted in cells.
RATES = {"place": 0.1, "log_scale": 0.05, "turn": 0.03, "logit": 0.15, "flat": 0.02, "rest": 0.006}
MOST_FLAT = 0.5 / FLAT_DC  # the colour in the mean stays in [0, 1], outside of which many programs cannot keep it
FINAL_RATE = 0.15
BETAS = (0.5, 0.9)


@dataclass(frozen=True)
class Fit:
    """Splats, and how well they show the field."""

    splats: Splats
    # dB against the field, from viewpoints that were not followed, over white: as 3D Gaussian splatting draws them, and
    # antialiased.
    psnr: tuple[float, float]


def fit_splats(model: RadianceModel, cameras: Cameras, count: int = 0, steps: int = 0) -> Fit:
    """Returns splats of a model.

    Args:
        model: is looked at, and stays as it is.
        cameras: those it learned from.
        count: most splats; 0: `MOST_BOUNDED`, or `MOST_UNBOUNDED` where the scene has no bounds.
        steps: of the fit, a picture each; 0: `STEPS_BOUNDED`, or `STEPS_UNBOUNDED`.

    Raises:
        InputError: no ray meets anything.
    """
    unbounded = model.box.contraction is not None
    if unbounded:
        model = without_clouds(model, cameras)[0]
    count = count or (MOST_UNBOUNDED if unbounded else MOST_BOUNDED)
    steps = steps or (STEPS_UNBOUNDED if unbounded else STEPS_BOUNDED)
    shrunk = min(1.0, (MOST_PIXELS / (cameras.width * cameras.height)) ** 0.5)
    wider = WIDER if unbounded else 1.0
    cameras = pinhole_cameras(cameras, shrunk)
    cameras = replace(cameras, focal=cameras.focal / wider)

    start, cell = surface_splats(model, cameras, count)
    near = cell.min().item()
    say("splats", f"splats: {len(start)}, one for each {cell.median():.3g} scene units of the surface that is seen")
    views = viewpoints(cameras, max(NEAR_LOOK[1], 1 / shrunk) * wider, SEED)
    scored = [next(views) for _ in range(SCORED)]
    splats = followed(model, start, cell, near, views, steps)
    scores = [_scores(model, splats, view, near) for view in scored]
    plain, antialiased = (sum(some) / SCORED for some in zip(*scores))
    return Fit(splats, (plain, antialiased))


@torch.no_grad()
def surface_splats(model: RadianceModel, cameras: Cameras, count: int) -> tuple[Splats, Tensor]:
    """Returns a splat for each cell of the surface that cameras see, and how wide its cell is (N,), scene units.

    Cells are as small as `count` allows; of unbounded scenes they grow with the distance, as the box's own do.
    """
    position, rgb = _seen_surface(model, cameras)
    row, side = _cells(position, count)
    number = torch.zeros(int(row.max()) + 1).index_add_(0, row, torch.ones(len(row)))[:, None]
    position, rgb = (torch.zeros(len(number), 3).index_add_(0, row, value) / number for value in (position, rgb))

    mean = model.box.world_from_unit(position)
    cell = side * model.box.unit_length(mean) * torch.ones(len(mean))

    spread = torch.tensor([ALONG, ALONG, ACROSS]).log()
    harmonics = torch.zeros(len(mean), DEGREE**2, 3)
    harmonics[:, 0] = (rgb - 0.5) / FLAT_DC
    logit = torch.full((len(mean),), math.log(OPACITY / (1 - OPACITY)))
    return Splats(mean, cell.log()[:, None] + spread, _upright(model.outward(position, side)), logit, harmonics), cell


def _seen_surface(model: RadianceModel, cameras: Cameras) -> tuple[Tensor, Tensor]:
    """Returns where rays of cameras meet the surface, (N, 3) in the unit cube, and what they see there, (N, 3)."""
    shrunk = (LOOKED_FROM / (len(cameras) * cameras.width * cameras.height)) ** 0.5
    cameras = thumbnails(cameras, round(shrunk * max(cameras.width, cameras.height)))
    position, rgb = [], []
    for frame in progress(range(len(cameras)), title="looking from the cameras", unit="view"):
        rays = cameras.image_rays(frame)
        distance = model.surface(rays)
        met = distance.isfinite()
        rays = rays[met]
        seen = model.render(rays)
        position.append(model.box.unit_from_world(rays.origin + distance[met, None] * rays.direction).clamp(0, 1))
        rgb.append(seen.rgb / seen.opacity[:, None].clamp(min=0.5))
    if not any(map(len, position)):
        raise InputError(EMPTY)
    return torch.cat(position), torch.cat(rgb)


def _cells(position: Tensor, count: int) -> tuple[Tensor, float]:
    """Returns which cell each position (N, 3) is in, (N,) numbered from 0, of at most `count`, and a cell's side.

    Cells of a surface are about as many as the square of their number along a side.
    """
    too_fine, side = FINEST, FIRST
    best = _rows(position, 1.0), 1.0
    for _ in range(MOST_TRIALS):
        row = _rows(position, side)
        cells = int(row.max()) + 1
        if cells <= count:
            best = row, side
            if cells >= FULL * min(count, len(position)) or side == FINEST:
                break
        else:
            too_fine = side
        guess = side * math.sqrt(cells / count) * (1 + (1 - FULL) / 4)
        side = guess if too_fine < guess < best[1] else max(math.sqrt(too_fine * best[1]), FINEST)
    return best


def _rows(position: Tensor, side: float) -> Tensor:
    """Returns which cell of a side each position (N, 3) is in, (N,), where those that hold any are numbered from 0."""
    x, y, z = (position / side).long().unbind(1)
    return ((x * 2**20 + y) * 2**20 + z).unique(return_inverse=True)[1]


def _upright(normal: Tensor) -> Tensor:
    """Returns quaternions (N, 4) w, x, y, z that turn the z axis to directions (N, 3) of any length."""
    x, y, z = normalize(normal, dim=1).unbind(1)
    turn = torch.stack([1 + z, -y, x, torch.zeros_like(z)], dim=1)
    turn[turn[:, 0] < 1e-3] = torch.tensor([0.0, 1.0, 0.0, 0.0])  # to -z: half a turn about x
    return normalize(turn, dim=1)


def viewpoints(cameras: Cameras, closest: float, seed: int) -> Iterator[Cameras]:
    """Yields single cameras for ever: between neighbouring ones, some looking so many times as closely at a part."""
    drawn = torch.Generator().manual_seed(seed)
    pose = cameras.world_from_camera
    eye = pose[:, :, 3]
    apart = torch.cdist(eye, eye)
    turned = 1 - pose[:, :, 2] @ pose[:, :, 2].T
    apart = apart + turned * apart.median()
    nearest = apart.topk(min(NEIGHBOURS, len(cameras)), largest=False).indices
    while True:
        part, close, left, top = torch.rand(4, generator=drawn).tolist()
        one = int(torch.randint(len(cameras), (), generator=drawn))
        other = int(nearest[one, int(torch.randint(nearest.shape[1], (), generator=drawn))])
        mixed = torch.lerp(pose[one], pose[other], part / 2)
        left_side, _, right_side = torch.linalg.svd(mixed[:, :3])
        between = torch.cat([left_side @ right_side, mixed[:, 3:]], dim=1)
        zoom = closest if close < NEAR_LOOK[0] else 1.0
        corner = (zoom - 1) * torch.tensor([left * cameras.width, top * cameras.height])
        focal, center = zoom * cameras.focal[one], zoom * cameras.center[one] - corner
        yield Cameras(between[None], focal[None], center[None], cameras.width, cameras.height)


def followed(
    model: RadianceModel, start: Splats, cell: Tensor, near: float, views: Iterator[Cameras], steps: int
) -> Splats:
    """Returns splats after so many steps towards the pictures that views have of a model; none that no step saw.

    cell: (N,), the scene units in which positions are counted.
    """
    place, flat, rest = torch.zeros_like(start.mean), start.harmonics[:, :1], start.harmonics[:, 1:]
    values = dict(zip(RATES, (place, start.log_scale, start.turn, start.logit, flat, rest)))
    learned = {name: value.clone().requires_grad_() for name, value in values.items()}
    groups = [{"params": [value], "lr": RATES[name]} for name, value in learned.items()]
    adam = torch.optim.Adam(groups, betas=BETAS, eps=1e-15, fused=True)

    def current() -> Splats:
        place, log_scale, turn, logit, flat, rest = learned.values()
        mean = start.mean + cell[:, None] * place
        return Splats(mean, log_scale, turn, logit, torch.cat([flat, rest], dim=1))

    seen = torch.zeros(len(start), dtype=torch.bool)
    bar = progress(range(steps), title="fitting splats", unit="step")
    for step in bar:
        view = next(views)
        antialiased = step % 2 == 1
        off = (current().seen(view, 0, near, antialiased) - field_picture(model, view)).square().mean()
        adam.zero_grad()
        off.backward()
        seen |= learned["logit"].grad != 0
        for group, rate in zip(adam.param_groups, RATES.values()):
            group["lr"] = rate * FINAL_RATE ** (step / steps)
        adam.step()
        learned["flat"].data.clamp_(-MOST_FLAT, MOST_FLAT)
        bar.set_postfix_str(f"psnr={-10 * math.log10(off.item() + 1e-12):.2f}", refresh=False)

    with torch.no_grad():
        return current()[seen if seen.any() else ~seen]


def _scores(model: RadianceModel, splats: Splats, view: Cameras, near: float) -> list[float]:
    """Returns the PSNR of splats against a model over white, as `Fit.psnr` has them."""
    drawn = [field_picture(model, view), *(splats.seen(view, 0, near, antialiased) for antialiased in (False, True))]
    field, *ours = map(over_white, drawn)
    return [psnr(each, field) for each in ours]


@torch.no_grad()
def field_picture(model: RadianceModel, view: Cameras) -> Tensor:
    """Returns what one camera sees of a model, (H, W, 4), colour over black and opacity, as `Splats.seen`."""
    picture = model.picture(view, 0)
    return torch.cat([picture.rgb, picture.opacity[..., None]], dim=2)


def over_white(picture: Tensor) -> Tensor:
    """Returns RGB (H, W, 3) in [0, 1] of such a picture (H, W, 4) over white."""
    return (picture[..., :3] + 1 - picture[..., 3:]).clamp(0, 1)
