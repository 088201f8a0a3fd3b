"""What the training cameras see of a model's surface: how far, from each, for every pixel."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import max_pool2d

from nerf.errors import InputError
from nerf.geometry.cameras import Cameras
from nerf.geometry.scene_box import SceneBox
from nerf.ops import sight
from nerf.ops.autograd import fastest
from nerf.ops.march import box_interval
from nerf.rendering.model import RadianceModel
from nerf.report import progress

MOST_PIXELS = 2**26  # of all views together, 256 MiB of distances
EMPTY = "the model is empty: no ray meets a surface; train longer"


@dataclass(frozen=True)
class DepthViews:
    """What cameras see."""

    cameras: Cameras  # F
    distance: Tensor  # (F, H, W) along the ray, scene units, infinite where light goes through or nobody looked

    def __len__(self) -> int:
        return len(self.cameras)

    def points(self, count: int) -> Tensor:
        """Returns about so many points (N, 3) of what the cameras see, world, spread evenly over their pictures."""
        cameras = self.cameras
        pixels = cameras.width * cameras.height
        step = max(1, round(pixels * len(self) / count))
        found = []
        for frame in range(len(self)):
            pixel = torch.arange(frame % step, pixels, step)
            distance = self.distance[frame].flatten()[pixel]
            hit = distance.isfinite()
            rays = cameras.rays(frame, pixel[hit] % cameras.width, pixel[hit] // cameras.width)
            found.append(rays.origin + distance[hit, None] * rays.direction)
        return torch.cat(found)

    def fused(self, point: Tensor, reach: float, through: float) -> Tensor:
        """Returns the mean (N,) of what all cameras say of points (N, 3), see `nerf.ops.sight.fused`."""
        return sight.fused(self.cameras, self.distance, point, reach, through, fastest())

    def witnessed(self, point: Tensor, before: Tensor, behind: Tensor, enough: Tensor, sharp: float = 0.0) -> Tensor:
        """Returns whether enough cameras see points (N, 3), (N,) bool, see `nerf.ops.sight.witnessed`."""
        return sight.witnessed(self.cameras, self.distance, point, before, behind, enough, sharp, fastest())

    def best(
        self, point: Tensor, normal: Tensor, slack: float, least_cosine: float, count: int
    ) -> tuple[Tensor, Tensor]:
        """Returns which cameras see points (N, 3) of a surface best, and how well, see `nerf.ops.sight.best_views`."""
        return sight.best_views(
            self.cameras, self.distance, point, normal, slack, least_cosine, count, backend=fastest()
        )


def pinhole_cameras(cameras: Cameras, size: float = 1.0) -> Cameras:
    """Returns the cameras as pinholes with pictures of one size, not too many pixels; themselves if they are that.

    size: by which their pictures are shrunk, at most 1.
    """
    factor = min(size, (MOST_PIXELS / (len(cameras) * cameras.width * cameras.height)) ** 0.5)
    width = max(1, int(cameras.width * factor))
    height = max(1, int(cameras.height * factor))
    resized = cameras.resized(width, height)
    pinholes = Cameras(resized.world_from_camera, resized.focal, resized.center, width, height, origin=cameras.origin)

    same = all(
        torch.equal(ours, theirs)
        for ours, theirs in (
            (cameras.size, pinholes.size),
            (cameras.lens, pinholes.lens),
            (cameras.focal, pinholes.focal),
            (cameras.center, pinholes.center),
        )
    )
    return cameras if same else pinholes


def pixels_of(cameras: Cameras, frame: int, box: SceneBox) -> Tensor:
    """Returns (H, W) bool: the pixels of one camera that show a box, and those beside them."""
    near, far = box_interval(cameras.image_rays(frame), box)
    shown = (near < far).view(*cameras.size[frame].flip(0).tolist())
    return max_pool2d(shown[None, None].float(), 3, 1, 1)[0, 0] > 0


@torch.no_grad()
def render_depths(model: RadianceModel, cameras: Cameras, box: SceneBox | None = None) -> DepthViews:
    """Returns what all cameras, with pictures of one size, see of the surface.

    box: what alone is looked at: rays that pass it by are not followed.

    Raises:
        InputError: no ray meets anything.
    """
    frames = progress(range(len(cameras)), title="looking from the cameras", unit="view")
    distances = [model.distances(cameras, frame, box and pixels_of(cameras, frame, box)) for frame in frames]
    views = DepthViews(cameras, torch.stack(distances))
    if not views.distance.isfinite().any():
        raise InputError(EMPTY)
    return views
