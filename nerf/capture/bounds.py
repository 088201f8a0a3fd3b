"""Where a scene is, from its cameras alone: the box they look at, or all of space contracted around it."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from nerf.errors import InputError
from nerf.geometry.camera_rig import angle_to_attention, camera_box, forward_facing
from nerf.geometry.cameras import Cameras
from nerf.geometry.contraction import Contraction
from nerf.geometry.origin import relative
from nerf.geometry.scene_box import SceneBox
from nerf.ops.march import march_reference
from nerf.scenes.scene import Views

NEAR_OF_DEPTH = 0.7  # rays begin at this part of the least depth that any picture shows
NEAR_OF_RADIUS = 0.1  # or at this part of the cameras' distance, where no depths are known
SEEN_CELLS = 64  # cells along a side, when looking which part of space the pictures show
SEEN_RAYS = 48  # rays along a side of a picture, likewise
MOST_SEEN_RAYS = 300 * SEEN_RAYS**2  # of all pictures: of more pictures each has fewer, so that this takes no minutes
FEWEST_SEEN_RAYS = 8  # along a side of a picture, of however many pictures
AWAY = 90.0  # degrees between the axes and the point nearest to them all from which that lies behind the cameras
LEAST_SHOWN = 1e-3  # part of the pictures that a cube must fill for anything to be learned in it
ENOUGH = 2  # pictures that must show what lies among the cameras: a cloud there explains a single one


def center_of_attention(views: Views) -> tuple[Tensor, float]:
    """Returns the point (3,) that the cameras look at, and their median distance from it.

    Cameras that all face one way fix no point, and those that look away from one another one behind them: the middle
    of the depths that they see decides, if known. Of the latter the point is among them.

    Raises:
        InputError: the cameras stand in one place.
    """
    eye = views.cameras.world_from_camera[:, :, 3]
    axis = views.cameras.world_from_camera[:, :, 2]
    depth = None if views.depths is None else 2 / (1 / views.depths).sum(dim=1)  # the middle in disparity
    if depth is not None and forward_facing(views.cameras):
        center = (eye + depth[:, None] * axis).mean(0)
    elif depth is not None and angle_to_attention(views.cameras) > AWAY:
        return eye.mean(0), depth.median().item()
    else:
        box = camera_box(views.cameras)
        center = box.corner + box.side / 2
    return center, (eye - center).norm(dim=1).median().item()


def given_box(cameras: Cameras, bounds: float) -> SceneBox:
    """Returns the cube of half side `bounds` about the origin of the input's frame.

    If the pictures show next to nothing of that, it stands about the point that the cameras look at instead.

    Raises:
        InputError: they look at no one point, either.
    """
    about_origin = SceneBox(relative(torch.zeros(3), cameras.origin) - bounds, 2 * bounds)
    if _part_shown(cameras, about_origin) > LEAST_SHOWN:
        return about_origin

    if angle_to_attention(cameras) < AWAY:
        box = camera_box(cameras)
        about_attention = SceneBox(box.corner + box.side / 2 - bounds, 2 * bounds)
        if _part_shown(cameras, about_attention) > LEAST_SHOWN:
            return about_attention
    raise InputError(
        f"scene.bounds={bounds:g}: no camera sees the cube of that half side about the origin of the poses, nor one "
        "about what the cameras look at; leave it 0, or give a larger one"
    )


def _part_shown(cameras: Cameras, box: SceneBox) -> float:
    """Returns the part of the pictures in which a cube lies, the mean over all."""
    part = 0.0
    for frame, (width, height) in enumerate(cameras.size.tolist()):
        column, row = (torch.linspace(0, side - 1, SEEN_RAYS).round().long() for side in (width, height))
        pixel = torch.cartesian_prod(column, row)
        rays = cameras.rays(torch.full((len(pixel),), frame), pixel[:, 0], pixel[:, 1])

        # Where rays enter and leave the cube; along an axis, what is infinite stays so.
        first = (box.corner - rays.origin) / rays.direction
        second = (box.corner + box.side - rays.origin) / rays.direction
        enter = torch.minimum(first, second).amax(dim=1)
        leave = torch.maximum(first, second).amin(dim=1)
        part += ((leave > enter) & (leave > 0)).float().mean().item() / len(cameras)
    return part


def contracted_space(views: Views, resolution: int) -> tuple[SceneBox, Tensor]:
    """Returns the box of what pictures show of contracted space, and the cells they show, (G, G, G) bool, [x, y, z].

    As far out as cameras stand, cells that only one picture shows are left out: it would fill them with clouds.

    Raises:
        InputError: the cameras stand in one place.
    """
    center, radius = center_of_attention(views)
    near = NEAR_OF_RADIUS * radius if views.depths is None else NEAR_OF_DEPTH * views.depths[:, 0].min().item()
    contraction = Contraction(center, radius, near)

    # The box: of the ball that is all of space, what the pictures show.
    ball = SceneBox(center - radius, 2 * radius, contraction)
    cells = seen_cells(views.cameras, ball, SEEN_CELLS).nonzero()
    low = cells.amin(0)
    high = cells.amax(0) + 1
    side = (high - low).max().item() * ball.side / SEEN_CELLS
    middle = ball.corner + (low + high) / 2 * ball.side / SEEN_CELLS
    box = SceneBox(middle - side / 2, side, contraction)

    # Its cells: found coarsely, then repeated to the resolution.
    coarse = seen_cells(views.cameras, box, min(SEEN_CELLS, resolution))
    row = (torch.arange(resolution) + 0.5) * (len(coarse) / resolution)
    hull = coarse[row.long()][:, row.long()][:, :, row.long()].contiguous()

    cells = hull.nonzero()
    hull[tuple(cells.T)] = seen_by_enough(views.cameras, box, (cells + 0.5) / resolution, 0.5 / resolution)
    return box, hull


def seen_by_enough(cameras: Cameras, box: SceneBox, position: Tensor, slack: float) -> Tensor:
    """Returns (N,) bool: whether positions (N, 3) in a contracted box lie beyond the cameras, or in enough pictures.

    A point that a lens's polynomial folds back into a picture counts as shown: `seen_cells` has left it out.

    Args:
        cameras: those of the pictures.
        box: a box of contracted space.
        position: (N, 3), in the unit cube.
        slack: how far outside a picture or how much too near to its camera a position may be, in sides of the box.

    Raises:
        ValueError: the box is not contracted.
    """
    contraction = box.contraction
    if contraction is None:
        raise ValueError("seen_by_enough: expected a box of contracted space")

    # The slack in scene units grows with the distance from the centre.
    point = box.world_from_unit(position)
    eye = cameras.world_from_camera[:, :, 3]
    out = (point - contraction.center).norm(dim=1)
    reach = slack * box.side * (contraction.radius + out) / contraction.radius

    # How many pictures must still show a point. What the last ones have ruled in is asked no more.
    missing = torch.where(out <= (eye - contraction.center).norm(dim=1).max(), min(ENOUGH, len(cameras)), 0)
    fisheye = cameras.lens[:, 0] > 0
    for frame in range(len(cameras)):
        asked = missing.nonzero().squeeze(1)
        some = point[asked]
        pixel, depth = cameras.project(frame, some)
        blur = (reach[asked] * cameras.focal[frame].max() / depth.abs().clamp(min=1e-9))[:, None]
        inside = ((pixel >= -blur) & (pixel < cameras.size[frame] + blur)).all(dim=1) & ((depth > 0) | fisheye[frame])
        far_enough = (some - eye[frame]).norm(dim=1) + reach[asked] >= contraction.near
        missing[asked] -= (inside & far_enough).to(missing.dtype)
    return missing == 0


def seen_cells(cameras: Cameras, box: SceneBox, resolution: int) -> Tensor:
    """Returns (G, G, G) bool: the cells that rays of the pictures pass through, and their neighbours, [x, y, z].

    Rays, not projections, decide: a lens's polynomial folds what lies far beside a picture back into it.
    """
    seen = torch.zeros(resolution**3, dtype=torch.bool)
    everywhere = torch.ones((resolution,) * 3, dtype=torch.bool)
    most = min(SEEN_RAYS, max(FEWEST_SEEN_RAYS, math.isqrt(MOST_SEEN_RAYS // len(cameras))))
    for frame, (width, height) in enumerate(cameras.size.tolist()):
        # A sparse grid of pixels, and samples a cell apart along their rays.
        column, row = (torch.linspace(0, side - 1, min(side, most)).round().long() for side in (width, height))
        pixel = torch.cartesian_prod(column, row)
        rays = cameras.rays(torch.full((len(pixel),), frame), pixel[:, 0], pixel[:, 1])
        samples = march_reference(rays, box, everywhere, box.side / resolution, torch.full((len(rays),), 0.5))

        cell = (box.unit_from_world(samples.positions(rays)) * resolution).long().clamp(0, resolution - 1)
        seen[(cell[:, 0] * resolution + cell[:, 1]) * resolution + cell[:, 2]] = True

    grid = seen.view(1, 1, *(resolution,) * 3).float()
    return torch.nn.functional.max_pool3d(grid, 3, 1, 1)[0, 0] > 0
