"""Where a scene is, from its cameras alone: the cube they look at, or all of space contracted about it."""

from __future__ import annotations

import torch
from torch import Tensor

from nerf.geometry.camera_rig import camera_box, forward_facing
from nerf.geometry.cameras import Cameras
from nerf.geometry.contraction import Contraction
from nerf.geometry.scene_box import SceneBox
from nerf.ops.march import march_reference
from nerf.scenes.scene import Views

NEAR_OF_DEPTH = 0.7  # of the least depth any picture shows: rays begin there
NEAR_OF_RADIUS = 0.1  # of the cameras' distance, where no depths are known
SEEN_CELLS = 64  # along a side, when looking which part of space the pictures show
SEEN_RAYS = 48  # along a side of a picture, likewise
WITNESSES = 2  # pictures that must show a place among the cameras: anything there explains a single one


def center_of_attention(views: Views) -> tuple[Tensor, float]:
    """Returns the point (3,) that the cameras look at, and their median distance from it.

    Cameras that all face one way fix no point: the middle of the depths that they see decides, if known.

    Raises:
        InputError: the cameras stand in one place.
    """
    eye, axis = views.cameras.world_from_camera[:, :, 3], views.cameras.world_from_camera[:, :, 2]
    if views.depths is not None and forward_facing(views.cameras):
        depth = 2 / (1 / views.depths).sum(dim=1)  # the middle in disparity
        center = (eye + depth[:, None] * axis).mean(0)
    else:
        box = camera_box(views.cameras)
        center = box.corner + box.side / 2
    return center, (eye - center).norm(dim=1).median().item()


def contracted_space(views: Views, resolution: int) -> tuple[SceneBox, Tensor]:
    """Returns the cube of what pictures show of contracted space, and the cells they show, (G, G, G) bool, [x, y, z].

    As far out as cameras stand, cells that only one picture shows are left out: it would fill them with clouds.

    Raises:
        InputError: the cameras stand in one place.
    """
    center, radius = center_of_attention(views)
    near = NEAR_OF_RADIUS * radius if views.depths is None else NEAR_OF_DEPTH * views.depths[:, 0].min().item()
    contraction = Contraction(center, radius, near)
    ball = SceneBox(center - radius, 2 * radius, contraction)
    cells = seen_cells(views.cameras, ball, SEEN_CELLS).nonzero()
    low, high = cells.amin(0), cells.amax(0) + 1
    side = (high - low).max().item() * ball.side / SEEN_CELLS
    middle = ball.corner + (low + high) / 2 * ball.side / SEEN_CELLS
    box = SceneBox(middle - side / 2, side, contraction)
    coarse = seen_cells(views.cameras, box, min(SEEN_CELLS, resolution))
    row = (torch.arange(resolution) + 0.5) * (len(coarse) / resolution)
    hull = coarse[row.long()][:, row.long()][:, :, row.long()].contiguous()
    cells = hull.nonzero()
    hull[tuple(cells.T)] = seen_by_enough(views.cameras, box, (cells + 0.5) / resolution, 0.5 / resolution)
    return box, hull


def seen_by_enough(cameras: Cameras, box: SceneBox, position: Tensor, slack: float) -> Tensor:
    """Returns whether positions (N, 3) of a contracted cube lie farther out than the cameras, or in enough pictures.

    slack: of the cube's side, by which a position may be outside a picture or too near to its camera.
    What a lens's polynomial folds back into a picture counts as shown: `seen_cells` has left it out.
    """
    contraction = box.contraction
    point, eye = box.world_from_unit(position), cameras.world_from_camera[:, :, 3]
    out = (point - contraction.center).norm(dim=1)
    reach = slack * box.side * (contraction.radius + out) / contraction.radius
    missing = torch.where(out <= (eye - contraction.center).norm(dim=1).max(), min(WITNESSES, len(cameras)), 0)
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
    for frame, (width, height) in enumerate(cameras.size.tolist()):
        column, row = (torch.linspace(0, side - 1, min(side, SEEN_RAYS)).round().long() for side in (width, height))
        place = torch.cartesian_prod(column, row)
        rays = cameras.rays(torch.full((len(place),), frame), place[:, 0], place[:, 1])
        samples = march_reference(rays, box, everywhere, box.side / resolution, torch.full((len(rays),), 0.5))
        cell = (box.unit_from_world(samples.positions(rays)) * resolution).long().clamp(0, resolution - 1)
        seen[(cell[:, 0] * resolution + cell[:, 1]) * resolution + cell[:, 2]] = True
    grid = seen.view(1, 1, *(resolution,) * 3).float()
    return torch.nn.functional.max_pool3d(grid, 3, 1, 1)[0, 0] > 0
