"""The visual hull: what silhouettes leave of a box (Laurentini 1994). Bounds and empty space without any training."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from nerf.capture.bounds import contracted_space, given_box
from nerf.geometry.camera_rig import camera_box
from nerf.geometry.scene_box import SceneBox
from nerf.scenes.scene import Views

MASK_SIDE = 200  # pixels of the longer side of the masks that carve
TIGHT_CELLS = 64  # along a side, when looking for the tight box
MARGIN = 1.02  # of the tight box's side: half a voxel of slack and more


@dataclass(frozen=True)
class Silhouettes:
    """How far the pixels of F pictures are from what the pictures show."""

    distances: Tensor  # (F, H', W') float32, pixels of the full pictures, 0 inside
    scale: float  # H' / H: the pictures are shrunk


def find_silhouettes(views: Views) -> Silhouettes | None:
    """Returns the silhouettes of the pictures, None where they have no alpha.

    A pixel belongs to the silhouette if its alpha is above 0. Pictures are shrunk so that H', W' are at most MASK_SIDE;
    distances are short by at most the one and a half shrunk pixels that rounding may cost.
    """
    from scipy.ndimage import distance_transform_edt

    if not views.has_alpha:
        return None

    _, height, width, _ = views.images.shape
    factor = max(1, -(-max(height, width) // MASK_SIDE))
    distances = []
    for frame in range(len(views)):
        alpha = views.images[frame, :, :, 3].float()[None, None]
        mask = torch.nn.functional.max_pool2d(alpha, factor, ceil_mode=True)[0, 0] > 0
        if mask.any():
            distance = torch.from_numpy(distance_transform_edt(~mask.numpy())).float()
        else:
            distance = torch.full(mask.shape, float(max(mask.shape)))
        distances.append((distance - 1.5).clamp(min=0) * factor)
    return Silhouettes(torch.stack(distances), 1 / factor)


def carve(
    views: Views,
    silhouettes: Silhouettes,
    box: SceneBox,
    resolution: int,
    least_shown: int = 1,
    slack: float = 0.0,
) -> Tensor:
    """Returns (G, G, G) bool: the cells of the box that no silhouette excludes, [x, y, z].

    A picture excludes a cell if it shows it farther from its silhouette than the cell's radius.

    Args:
        views: the pictures' cameras.
        silhouettes: see `find_silhouettes`.
        box: what is cut into cells.
        resolution: G.
        least_shown: cells that fewer pictures show are left out.
        slack: how far silhouettes may be misplaced, as a part of the pictures' longer side.
    """
    radius = box.side / resolution * 3**0.5 / 2
    axis = (torch.arange(resolution) + 0.5) / resolution * box.side
    point = torch.stack(torch.meshgrid(axis, axis, axis, indexing="ij"), dim=-1).view(-1, 3) + box.corner
    alive = torch.arange(len(point))
    shown = torch.zeros(len(point), dtype=torch.int32)

    for frame, distance in enumerate(silhouettes.distances):
        pixel, depth = views.cameras.project(frame, point[alive])
        column, row = (pixel * silhouettes.scale).floor().long().unbind(1)
        inside = views.cameras.shows(frame, pixel, depth)
        apart = distance[row.clamp(0, distance.shape[0] - 1), column.clamp(0, distance.shape[1] - 1)]

        # Away from the middle of a picture, and near the camera, a ball's image is stretched.
        slope = (pixel - views.cameras.center[frame]) / views.cameras.focal[frame]
        stretch = (1 + slope.square().sum(1)).sqrt() / (depth - radius).clamp(min=1e-9 * box.side)
        reach = views.cameras.focal[frame].max() * radius * stretch

        shown[alive[inside]] += 1
        alive = alive[~inside | (apart <= reach + slack * max(views.cameras.width, views.cameras.height))]

    hull = torch.zeros(len(point), dtype=torch.bool)
    hull[alive] = True
    return (hull & (shown >= least_shown)).view(resolution, resolution, resolution)


def tight_box(views: Views, silhouettes: Silhouettes, box: SceneBox, slack: float = 0.0) -> SceneBox:
    """Returns the smallest box around the visual hull, with a margin; `box` itself if nothing is left of it."""
    # What hangs in front of a few cameras is in few pictures; the thing they look at is in most.
    cells = carve(views, silhouettes, box, TIGHT_CELLS, -(-len(views) // 2), slack).nonzero()
    if len(cells) == 0:
        return box

    low = cells.amin(0)
    high = cells.amax(0) + 1
    center = box.corner + (low + high) / 2 * box.side / TIGHT_CELLS
    side = (high - low).max().item() * box.side / TIGHT_CELLS * MARGIN
    return SceneBox(center - side / 2, side)


def scene_space(
    views: Views, bounds: float, resolution: int, slack: float = 0.0, silhouettes: Silhouettes | None = None
) -> tuple[SceneBox, Tensor]:
    """Returns the box of the scene and its cells that can hold matter, (G, G, G) bool, [x, y, z].

    The box has half side `bounds` if that is given, see `given_box`. Otherwise it comes from the silhouettes or,
    without alpha, from the cameras. Without alpha every cell can hold matter. Photographs of what lies all around get
    a contracted space, see `nerf.capture.bounds`.

    Args:
        views: the training pictures.
        bounds: half the side of the box, scene units; 0 = find it.
        resolution: G.
        slack: see `carve`.
        silhouettes: those of the pictures if they have alpha; found here if not given.
    """
    if bounds == 0 and views.unbounded and not views.has_alpha:
        return contracted_space(views, resolution)

    if silhouettes is None:
        silhouettes = find_silhouettes(views)

    if bounds > 0:
        box = given_box(views.cameras, bounds)
    else:
        box = camera_box(views.cameras)
        if silhouettes is not None:
            box = tight_box(views, silhouettes, box, slack)

    if silhouettes is None:
        return box, torch.ones((resolution,) * 3, dtype=torch.bool)
    return box, carve(views, silhouettes, box, resolution, slack=slack)
