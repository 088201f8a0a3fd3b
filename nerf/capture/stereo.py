"""How far away what pictures show is, measured by stereo between neighbours, and where it says that nothing is.

Thumbnails of pinhole cameras are matched, see `nerf.ops.stereo`. A distance is kept where a neighbour's own agrees.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import avg_pool2d, grid_sample, max_pool2d, normalize

from nerf.capture.bounds import center_of_attention
from nerf.geometry.cameras import Cameras
from nerf.geometry.scene_box import SceneBox
from nerf.geometry.up import find_up
from nerf.ops.stereo import stereo
from nerf.report import progress
from nerf.scenes.scene import Views

SIDE = 256  # pixels of the longer side of a thumbnail
NEIGHBOURS = 4
MOST_PLANES = 256
NEAREST = 0.25  # of the distance of what cameras look at: nothing nearer is looked for, which takes planes
BEST_BASELINE = 10.0  # degrees between neighbours, seen from what they look at
LEAST_BASELINE = 1.0
MOST_TURNED = 45.0  # degrees between their axes
WIDE = 15.0  # degrees to the second nearest neighbour from which windows are alike only on planes as surfaces slope
STEEP = 0.1  # sine of the angle between up and an axis below which nothing is to its sides
WALL = 40.0  # degrees that upright planes are turned to either side
LEAST_LIKENESS = 0.4  # correlation from which a depth was found in the pictures, and not filled in from around it
SAME_PIXEL = 2.0  # thumbnail pixels by which a point may miss itself when it is looked up in a neighbour and back
SAME_DEPTH = 0.02  # and the part of its depth
AROUND = 2  # thumbnail pixels to each side that support a depth
SAME_PLANES = 2.0  # within which depths are the same
FEWEST_AROUND = 10  # of 25 pixels that must lie as deep, the pixel itself counted
FREE = 0.03  # part of a measured distance before which space is free


@dataclass(frozen=True)
class MeasuredDistances:
    """How far what F pictures show was measured to be."""

    distance: Tensor  # (F, h, w) float32, along the rays, scene units; 0 where nothing was measured
    scale: int  # pixels of the pictures, each way, that a distance stands for

    @property
    def part(self) -> float:
        """How much of the pictures was measured."""
        return (self.distance > 0).float().mean().item()


def measure_distances(views: Views, near: float, backend: str = "native") -> MeasuredDistances:
    """Returns distances from stereo.

    views: pictures of what does not move. near: the least depth of anything, scene units.

    Raises:
        InputError: the cameras stand in one place.
    """
    cameras, pictures, shown = _thumbnails(views)
    center, _ = center_of_attention(views)
    away = (cameras.world_from_camera[:, :, 3] - center).norm(dim=1)
    nearest = (NEAREST * away).clamp(min=near)
    others = neighbours(cameras, center)
    warps, baselines = _warps(cameras, others)
    steps = 1 / (cameras.focal.amax(dim=1) * baselines.amax(dim=1)).clamp(min=1e-12)  # a pixel of the farthest
    steps = torch.maximum(steps, 1 / (nearest * (MOST_PLANES - 1)))
    planes = (1 / (nearest * steps)).ceil().int() + 1

    second = torch.where(baselines > 0, baselines, torch.inf).sort(dim=1).values[:, :2].amax(dim=1) / away
    slopes = _slopes(cameras, second[second.isfinite()].median().item() > math.radians(WIDE))
    inverse = torch.empty_like(pictures)
    likeness = torch.empty_like(pictures)
    with progress(title="stereo", total=len(views), unit="picture") as bar:
        for some in torch.arange(len(views)).split(2 * torch.get_num_threads()):
            frames = range(some[0], some[-1] + 1)
            inverse[some], likeness[some] = stereo(pictures, others, warps, slopes, steps, planes, frames, backend)
            bar.update(len(frames))
    sure = (inverse > 0) & (likeness > LEAST_LIKENESS) & shown
    depth = torch.where(sure, 1 / inverse.clamp(min=1e-12), 0)
    depth = torch.where(_agreeing(cameras, others, depth), depth, 0)
    depth = torch.where(_supported(depth, steps), depth, 0)
    return along_rays(views, cameras, depth)


def _thumbnails(views: Views) -> tuple[Cameras, Tensor, Tensor]:
    """Returns pinhole cameras of one size, their pictures' brightness (F, h, w), and which pixels are any."""
    cameras = views.cameras
    width, height = cameras.size.float().median(dim=0).values.tolist()
    scale = min(1.0, SIDE / max(width, height))
    columns = max(2, round(width * scale))
    rows = max(2, round(height * scale))
    middle = torch.tensor([[columns / 2, rows / 2]]).repeat(len(cameras), 1)
    small = Cameras(cameras.world_from_camera, cameras.focal * scale, middle, columns, rows, origin=cameras.origin)

    pictures = torch.empty(len(cameras), rows, columns)
    shown = torch.empty(len(cameras), rows, columns, dtype=torch.bool)
    factor = min(max(1, int(1 / scale)), int(cameras.size.min()))
    for frame in range(len(cameras)):
        shrunk = avg_pool2d(views.picture(frame, "black").mean(dim=2)[None, None], factor)
        rays = small.image_rays(frame)
        pixel, depth = cameras.project(frame, rays.origin + rays.direction)
        extent = factor * torch.tensor(shrunk.shape[:1:-1])
        place = (pixel / extent * 2 - 1).view(1, rows, columns, 2)
        pictures[frame] = grid_sample(shrunk, place, align_corners=False, padding_mode="border")[0, 0]
        inside = cameras.shows(frame, pixel, depth)
        if views.used is not None:
            column, row = pixel[inside].long().unbind(1)
            inside[inside.clone()] = views.used[frame, row, column]
        shown[frame] = inside.view(rows, columns)
    return small, pictures, shown


def neighbours(cameras: Cameras, center: Tensor) -> Tensor:
    """Returns the pictures (F, K) int32 to compare each with: nearly the same view from a place some degrees aside."""
    eye = cameras.world_from_camera[:, :, 3]
    axis = cameras.world_from_camera[:, :, 2]
    apart = torch.cdist(eye, eye) / (eye - center).norm(dim=1)[:, None]
    baseline = (2 * (apart / 2).clamp(max=1).asin()).rad2deg()
    turned = (axis @ axis.T).clamp(-1, 1).acos().rad2deg()

    # Too near a neighbour tells depth less finely, and is worse than one as much too far.
    unlike = (baseline.clamp(min=1e-3) / BEST_BASELINE).log()
    unlike = torch.where(unlike < 0, -1.5 * unlike, unlike) + (turned / 25).square()
    unlike[(baseline < LEAST_BASELINE) | (turned > MOST_TURNED)] = torch.inf
    count = min(NEIGHBOURS, len(cameras))
    least, which = unlike.topk(count, dim=1, largest=False)
    return torch.where(least.isfinite(), which, -1).int()


def _warps(cameras: Cameras, others: Tensor) -> tuple[Tensor, Tensor]:
    """Returns [M | a] (F, K, 3, 4) of each picture and its neighbours, see `stereo`, and how far apart (F, K) they are.

    Where there is no neighbour they are 0 apart.
    """
    matrix = torch.zeros(len(cameras), 3, 3, dtype=torch.float64)
    matrix[:, [0, 1], [0, 1]] = cameras.focal.double()
    matrix[:, :2, 2] = cameras.center.double()
    matrix[:, 2, 2] = 1
    pose = cameras.world_from_camera.double()
    turn = pose[:, None, :, :3]
    eye = pose[:, None, :, 3:]
    other = others.clamp(min=0).long()
    to_other = matrix[other] @ pose[other][..., :3].mT
    apart = eye - pose[other][..., 3:]
    warps = torch.cat([to_other @ turn @ matrix.inverse()[:, None], to_other @ apart], dim=-1)
    return warps.float(), torch.where(others >= 0, apart.squeeze(-1).norm(dim=-1), 0).float()


def _slopes(cameras: Cameras, wide: bool) -> Tensor:
    """Returns the slopes (F, S, 3) of the planes on which surfaces are looked for, see `stereo`.

    Across the axis of the camera and, where pictures stand wide apart, level as floors and tables are, and upright to
    either side.
    """
    pose = cameras.world_from_camera
    axis = pose[:, :, 2]
    normals = axis[:, None]
    if wide:
        up = find_up(cameras).direction.expand_as(axis)
        side = torch.linalg.cross(up, axis)
        straight_down = (side.norm(dim=1) < STEEP)[:, None, None]
        side = normalize(side, dim=1)
        ahead = torch.linalg.cross(side, up)
        cosine, sine = math.cos(math.radians(WALL)), math.sin(math.radians(WALL))
        normals = torch.stack([axis, up, cosine * ahead + sine * side, cosine * ahead - sine * side], dim=1)
        normals = torch.where(straight_down, axis[:, None], normals)

    # A plane n . X = d has the inverse depth n . K^-1 (x, y, 1) / d. Its slope is at most 1 in the picture.
    in_camera = normals @ pose[:, :, :3]
    across = in_camera[..., :2] / cameras.focal[:, None]
    slope = torch.cat([across, in_camera[..., 2:] - (across * cameras.center[:, None]).sum(-1, keepdim=True)], dim=-1)
    width, height = cameras.width, cameras.height
    corners = torch.tensor([[0, 0, 1], [width, 0, 1], [0, height, 1], [width, height, 1]]).float()
    middle = slope @ corners.mean(0)
    slope = torch.where(middle[..., None] < 0, -slope, slope)
    return slope / (slope @ corners.T).amax(dim=-1, keepdim=True)


def _agreeing(cameras: Cameras, others: Tensor, depth: Tensor) -> Tensor:
    """Returns (F, h, w) bool: where the point seen is what some neighbour sees there, too."""
    rows, columns = depth.shape[1:]
    row, column = torch.meshgrid(torch.arange(rows), torch.arange(columns), indexing="ij")
    place = torch.stack([column, row], dim=-1).view(-1, 2)
    agreed = torch.zeros(len(depth), rows * columns, dtype=torch.bool)
    for frame in range(len(cameras)):
        own = depth[frame].flatten()
        point = seen_points(cameras, frame, place, own)
        for other in others[frame][others[frame] >= 0].tolist():
            pixel, ahead = cameras.project(other, point)
            there = (cameras.shows(other, pixel, ahead) & (own > 0)).nonzero().squeeze(1)
            found = pixel[there].long()
            theirs = depth[other, found[:, 1], found[:, 0]]

            # Back from what the neighbour sees there.
            back, back_depth = cameras.project(frame, seen_points(cameras, other, found, theirs))
            same = (back - place[there] - 0.5).norm(dim=1) < SAME_PIXEL
            same &= (back_depth - own[there]).abs() < SAME_DEPTH * own[there]
            agreed[frame, there] |= same & (theirs > 0)
    return agreed.view(depth.shape)


def seen_points(cameras: Cameras, frame: int, pixel: Tensor, depth: Tensor) -> Tensor:
    """Returns the world points (N, 3) at depths (N,) along the axis of a camera, on the rays of pixels (N, 2) int64."""
    rays = cameras.rays(frame, *pixel.unbind(1))
    axis = cameras.world_from_camera[frame, :, 2]
    return rays.origin + rays.direction * (depth / (rays.direction @ axis))[:, None]


def _supported(depth: Tensor, steps: Tensor) -> Tensor:
    """Returns (F, h, w) bool: where enough pixels around lie as deep. What is alone is a mistake."""
    inverse = torch.where(depth > 0, 1 / depth.clamp(min=1e-12), -torch.inf)
    padded = torch.nn.functional.pad(inverse, (AROUND,) * 4, value=torch.inf)
    rows, columns = depth.shape[1:]
    support = torch.zeros(depth.shape, dtype=torch.int32)
    for down in range(2 * AROUND + 1):
        for right in range(2 * AROUND + 1):
            other = padded[:, down : down + rows, right : right + columns]
            support += (other - inverse).abs() < SAME_PLANES * steps[:, None, None]
    return support >= FEWEST_AROUND


def along_rays(views: Views, small: Cameras, depth: Tensor) -> MeasuredDistances:
    """Returns distances for the pixels of the pictures, of depths (F, h, w) of their thumbnails."""
    cameras = views.cameras
    scale = max(1, round(max(cameras.width, cameras.height) / SIDE))
    rows = -(-cameras.height // scale)
    columns = -(-cameras.width // scale)
    distance = torch.zeros(len(cameras), rows, columns)
    row, column = torch.meshgrid(torch.arange(rows) * scale, torch.arange(columns) * scale, indexing="ij")
    for frame, (width, height) in enumerate(cameras.size.tolist()):
        place = torch.stack([column + scale // 2, row + scale // 2], dim=-1).view(-1, 2)
        inside = ((place < torch.tensor([width, height])).all(dim=1)).nonzero().squeeze(1)
        rays = cameras.rays(frame, *place[inside].unbind(1))
        pixel, ahead = small.project(frame, rays.origin + rays.direction)
        there = small.shows(frame, pixel, ahead)
        x, y = pixel[there].long().unbind(1)
        found = torch.zeros(len(inside))
        found[there] = depth[frame, y, x] / ahead[there]
        distance[frame].view(-1)[inside] = found
    return MeasuredDistances(distance, scale)


def free_cells(cameras: Cameras, measured: MeasuredDistances, box: SceneBox, cells: Tensor, resolution: int) -> Tensor:
    """Returns (N,) bool: which cells are before what a picture measured there, and hold nothing that any measured.

    cells: (N, 3) int64, of the box cut into resolution^3. Cells that no measured ray passes are not free.
    """
    point = box.world_from_unit((cells + 0.5) / resolution)
    extent = torch.full((len(point),), 0.5 * box.diagonal / resolution)
    if box.contraction is not None:
        extent = extent * box.contraction.expansion(point)
    free = torch.zeros(len(point), dtype=torch.bool)
    matter = torch.zeros(len(point), dtype=torch.bool)

    # Free is what lies before all that is measured around a pixel.
    nearest = -max_pool2d(-measured.distance[:, None], 3, 1, 1)[:, 0]
    for frame in range(len(cameras)):
        pixel, depth = cameras.project(frame, point)
        inside = cameras.shows(frame, pixel, depth).nonzero().squeeze(1)
        column, row = (pixel[inside] / measured.scale).long().unbind(1)
        away = (point[inside] - cameras.world_from_camera[frame, :, 3]).norm(dim=1)
        seen = measured.distance[frame, row, column]
        least = nearest[frame, row, column]
        free[inside] |= away + extent[inside] < least * (1 - FREE)
        matter[inside] |= (seen > 0) & ((away - seen).abs() < FREE * seen + extent[inside])
    return free & ~matter
