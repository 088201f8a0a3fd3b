"""The visual hull: what silhouettes leave of a cube (Laurentini 1994). Bounds and empty space without any training."""

from __future__ import annotations

import torch
from torch import Tensor

from nerf.capture.bounds import contracted_space
from nerf.geometry.camera_rig import camera_box
from nerf.geometry.scene_box import SceneBox
from nerf.scenes.scene import Views

MASK_SIDE = 200  # pixels of the longer side of the masks that carve
MARGIN = 1.02  # of the tight cube's side: half a voxel of slack and more


def silhouette_distances(views: Views) -> tuple[Tensor, float]:
    """Returns how far pixels are from the silhouettes, (F, H', W') float32, in pixels of the picture, and H' / H.

    A pixel belongs to the silhouette if its alpha is above 0. Pictures are shrunk so that H', W' are at most MASK_SIDE;
    distances are short by at most the one and a half shrunk pixels that rounding may cost.
    """
    from scipy.ndimage import distance_transform_edt

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
    return torch.stack(distances), 1 / factor


def carve(views: Views, box: SceneBox, resolution: int, least_shown: int = 1, slack: float = 0.0) -> Tensor:
    """Returns (G, G, G) bool: the cells of the cube that no silhouette excludes, [x, y, z].

    A picture excludes a cell if it shows it farther from its silhouette than the cell's radius. Cells that fewer than
    `least_shown` pictures show are left out. slack: how far silhouettes may be out of place, of the longer side.
    """
    distances, scale = silhouette_distances(views)
    radius = box.side / resolution * 3**0.5 / 2
    axis = (torch.arange(resolution) + 0.5) / resolution * box.side
    point = torch.stack(torch.meshgrid(axis, axis, axis, indexing="ij"), dim=-1).view(-1, 3) + box.corner
    alive, shown = torch.arange(len(point)), torch.zeros(len(point), dtype=torch.int32)
    for frame, distance in enumerate(distances):
        pixel, depth = views.cameras.project(frame, point[alive])
        column, row = (pixel * scale).floor().long().unbind(1)
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


def tight_cube(views: Views, box: SceneBox, slack: float = 0.0) -> SceneBox:
    """Returns the smallest cube around the visual hull, with a margin; `box` itself if nothing is left of it."""
    resolution = 64
    # What hangs in front of a few cameras is in few pictures; the thing they look at is in most.
    cells = carve(views, box, resolution, -(-len(views) // 2), slack).nonzero()
    if len(cells) == 0:
        return box
    low, high = cells.amin(0), cells.amax(0) + 1
    center = box.corner + (low + high) / 2 * box.side / resolution
    side = (high - low).max().item() * box.side / resolution * MARGIN
    return SceneBox(center - side / 2, side)


def scene_space(views: Views, bounds: float, resolution: int, slack: float = 0.0) -> tuple[SceneBox, Tensor]:
    """Returns the cube of the scene and its cells that can hold matter, (G, G, G) bool, [x, y, z].

    The cube has half side `bounds` about the origin if that is given, else it comes from the silhouettes or, without
    alpha, from the cameras. Without alpha every cell can hold matter. Photographs of what lies all around get a
    contracted space, see `nerf.capture.bounds`. slack: see `carve`.
    """
    if bounds == 0 and views.unbounded and not views.has_alpha:
        return contracted_space(views, resolution)
    if bounds > 0:
        box = SceneBox(torch.full((3,), -bounds), 2 * bounds)
    else:
        box = camera_box(views.cameras)
        if views.has_alpha:
            box = tight_cube(views, box, slack)
    if not views.has_alpha:
        return box, torch.ones((resolution,) * 3, dtype=torch.bool)
    return box, carve(views, box, resolution, slack=slack)
