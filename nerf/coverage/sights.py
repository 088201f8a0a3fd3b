"""How photographs see points of a surface: how many, from how different directions, how near, how well explained.

A photograph sees a point that lies on what the photograph's pixel shows, and faces it. Each sight fixes the point
across its own line: by one that has w = (cos a f / d)^2 squared pixels to a squared scene unit of the surface (a: angle
to the normal, f: focal length in pixels, d: distance), u: unit vector from the camera, it is known as well as the
information w (I - u u^T) says, and that of all its sights adds up. Coverage is not the whole of error: gloss, thin
parts and plain walls go wrong where many photographs see them, too.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, fields

import torch
from torch import Tensor
from torch.nn.functional import normalize

from nerf.geometry.cameras import Cameras
from nerf.ops import sight
from nerf.rendering.depth_views import render_depths
from nerf.rendering.model import RadianceModel

MOST_RAYS = 2**22  # of all photographs together
SIDES = (64, 256)  # pixels of the longer side that a photograph is looked at with: at least, at most
SLACK = 0.008  # of the core's side, that a point may lie off what is seen there
HALF_DIAGONAL = 0.5**0.5  # of a pixel
LEAST_COSINE = 0.15  # a photograph that sees a point more aslant than this tells nothing of it

FEWEST = 3  # photographs, and
NARROWEST = 10.0  # degrees between the outermost of them, that a point needs
FARTHEST = 3.0  # times as few pixels as the typical point's best photograph gives it: from too far away
DISAGREEING = 4.0  # times the typical point's error, and
LEAST_ERROR, MOST_ERROR = 0.06, 0.2  # of the brightness, at least and at most: photographs disagree there
CLASSES = ("not seen", "one side only", "far away", "disagreeing", "good")
GOOD = CLASSES.index("good")


@dataclass(frozen=True)
class Sights:
    """How N points are seen."""

    count: Tensor  # (N,), photographs
    opening: Tensor  # (N,) degrees between the outermost directions: twice the angle to their mean
    density: Tensor  # (N,) pixels to a scene unit of the surface, in the photograph that has most
    information: Tensor  # (N, 3, 3), squared pixels to a squared scene unit
    error: Tensor  # (N,) mean absolute error of the field's colour in the photographs that see it; nan: not known

    def __getitem__(self, which: Tensor) -> Sights:
        return Sights(*(getattr(self, field.name)[which] for field in fields(self)))

    def typical(self) -> tuple[float, float]:
        """Returns the median density and the median error of points that are seen often enough."""
        enough = (self.count >= FEWEST) & (self.opening >= NARROWEST)
        some = enough if enough.any() else self.count > 0
        density = self.density[some].median().item() if some.any() else 0.0
        return density, self.error[some].nanmedian().item() if some.any() else math.nan

    def classes(self, typical: tuple[float, float]) -> Tensor:
        """Returns which of `CLASSES` each point is of, (N,) int64; the first that holds. typical: as above."""
        density, error = typical
        which = torch.full((len(self.count),), GOOD)
        limit = MOST_ERROR if math.isnan(error) else min(max(DISAGREEING * error, LEAST_ERROR), MOST_ERROR)
        which[self.error > limit] = CLASSES.index("disagreeing")
        which[self.density * FARTHEST < density] = CLASSES.index("far away")
        which[(self.count < FEWEST) | (self.opening < NARROWEST)] = CLASSES.index("one side only")
        which[self.count == 0] = CLASSES.index("not seen")
        return which


@dataclass(frozen=True)
class Photographs:
    """Cameras, what each sees of a model's surface, and how far its photograph is off the model's own picture."""

    cameras: Cameras  # F, small pictures of one size, which holds each photograph whole
    extent: Tensor  # (F, 2) pixels of these that are the photograph's own, in the middle
    sharpness: Tensor  # (F,) focal lengths of the photographs themselves, pixels
    distance: Tensor  # (F, H, W) along the rays, scene units, infinite where nothing is met, nan beside the photograph
    slack: float  # scene units that a point may lie off what is seen
    error: Tensor | None = None  # (F, H, W) mean absolute error over the channels

    @classmethod
    def of(cls, model: RadianceModel, cameras: Cameras, side: int = 0) -> Photographs:
        """Returns what photographs see of a model. side: pixels of the longer side; 0: as `SIDES` and all allow.

        Raises:
            InputError: no ray meets anything.
        """
        aspect = cameras.width / cameras.height
        affordable = round((MOST_RAYS / len(cameras) * max(aspect, 1 / aspect)) ** 0.5)
        small, extent = contained(cameras, side or min(max(affordable, SIDES[0]), SIDES[1]))
        distance = render_depths(model, small).distance
        outside = ~within_extent(small, extent)
        return cls(
            small, extent, cameras.focal.mean(1), distance.masked_fill(outside, math.nan), SLACK * model.box.core.side
        )

    def information(self, frame: int, point: Tensor, normal: Tensor) -> tuple[Tensor, Tensor]:
        """Returns which points (N, 3) with normals (N, 3) a photograph tells of, (M,) rows, and w (M,)."""
        towards = self.cameras.world_from_camera[frame, :, 3] - point
        away = towards.norm(dim=1)
        cosine = (towards * normal).sum(1) / away
        row = (cosine > LEAST_COSINE).nonzero().squeeze(1)

        # What a pixel shows is as deep as the surface slopes over it.
        wide = HALF_DIAGONAL * away[row] / self.cameras.focal[frame].min()
        slack = self.slack + wide * (cosine[row].square().reciprocal() - 1).clamp(min=0).sqrt()
        row = row[sight.gaps(self.cameras, self.distance, frame, point[row], self.slack).abs() < slack]
        return row, (cosine[row] * self.sharpness[frame] / away[row]).square()

    def directions(self, frame: int, point: Tensor) -> Tensor:
        """Returns unit vectors (N, 3) from a camera to points (N, 3)."""
        return normalize(point - self.cameras.world_from_camera[frame, :, 3], dim=1)

    def errors(self, frame: int, point: Tensor) -> Tensor:
        """Returns the errors (N,) of a photograph's pixels that show points (N, 3); nan where they are not known."""
        if self.error is None:
            return torch.full((len(point),), math.nan)
        pixel, _ = self.cameras.project(frame, point)
        column, row = pixel.long().unbind(1)
        return self.error[frame, row.clamp(0, self.error.shape[1] - 1), column.clamp(0, self.error.shape[2] - 1)]


def sights_of(looks: Sequence[Photographs], point: Tensor, normal: Tensor) -> Sights:
    """Returns how photographs together see points (N, 3) with outward unit normals (N, 3).

    The error is the mean over those photographs of which it is known.
    """
    count = torch.zeros(len(point))
    best = torch.zeros(len(point))
    information = torch.zeros(len(point), 3, 3)
    mean = torch.zeros(len(point), 3)
    error = torch.zeros(len(point))
    judged = torch.zeros(len(point))
    told = []
    for look in looks:
        for frame in range(len(look.cameras)):
            row, weight = look.information(frame, point, normal)
            direction = look.directions(frame, point[row])
            count[row] += 1
            best[row] = torch.maximum(best[row], weight)
            mean[row] += direction
            information[row] += across(direction, weight)
            off = look.errors(frame, point[row])
            error[row] += off.nan_to_num(0)
            judged[row] += off.isfinite().float()
            told.append((row, direction))

    opening = torch.zeros(len(point))
    mean = normalize(mean, dim=1)
    for row, direction in told:
        cosine = (direction * mean[row]).sum(1)
        opening[row] = torch.maximum(opening[row], 2 * cosine.clamp(-1, 1).acos().rad2deg())
    return Sights(count, opening, best.sqrt(), information, error / judged)


def contained(cameras: Cameras, side: int) -> tuple[Cameras, Tensor]:
    """Returns the cameras with small pictures of one size that hold each photograph whole, and its extent (F, 2).

    side: pixels of the longer side of the pictures.
    """
    factor = min(1.0, side / max(cameras.width, cameras.height))
    canvas = torch.tensor([max(1, round(cameras.width * factor)), max(1, round(cameras.height * factor))])
    each = (canvas / cameras.size).amin(1, keepdim=True)
    center = (cameras.center - cameras.size / 2) * each + canvas / 2
    width, height = canvas.tolist()
    small = Cameras(
        cameras.world_from_camera, cameras.focal * each, center, width, height, cameras.lens, origin=cameras.origin
    )
    return small, cameras.size * each


def within_extent(cameras: Cameras, extent: Tensor) -> Tensor:
    """Returns which pixels are photographs' own, (F, H, W) bool. cameras, extent: as above."""
    low, high = (torch.tensor([cameras.width, cameras.height]) / 2 + sign * extent / 2 for sign in (-1, 1))
    column, row = torch.arange(cameras.width) + 0.5, torch.arange(cameras.height) + 0.5
    across = (column >= low[:, :1]) & (column <= high[:, :1])
    down = (row >= low[:, 1:]) & (row <= high[:, 1:])
    return down[:, :, None] & across[:, None, :]


def across(direction: Tensor, weight: Tensor) -> Tensor:
    """Returns w (I - u u^T), (N, 3, 3), of unit vectors u (N, 3) and w (N,)."""
    return weight[:, None, None] * (torch.eye(3) - direction[:, :, None] * direction[:, None, :])
