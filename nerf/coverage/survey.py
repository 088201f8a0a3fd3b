"""The survey of a trained scene: how well its photographs cover the surface, and which would cover more of it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torch.nn.functional import interpolate

from nerf.color import BACKGROUNDS
from nerf.coverage.sights import CLASSES, GOOD, Photographs, sights_of
from nerf.coverage.suggestions import Suggestion, Surface, choose, described
from nerf.coverage.viewpoints import Stand, viewpoints
from nerf.errors import InputError
from nerf.geometry.cameras import Cameras
from nerf.geometry.up import Up, upright
from nerf.rendering.depth_views import EMPTY
from nerf.rendering.model import RadianceModel
from nerf.rendering.witnesses import without_clouds
from nerf.report import progress
from nerf.scenes import Views

POINTS = 40_000  # of the surface
REACH = 1 / 128  # of the cube, over which its normals are taken
SIDE = 72  # pixels of the longer side of what is seen from where one might stand


@dataclass(frozen=True)
class Survey:
    """What photographs tell of a scene, and what more would."""

    model: RadianceModel  # without clouds
    photographs: Photographs
    surface: Surface  # as it is seen from where one might stand
    classes: Tensor  # (N,), numbers in `CLASSES`
    after: float  # the part of the surface that is good once the suggestions are followed
    suggestions: Sequence[Suggestion] = ()  # none where there are photographs enough
    suggested: Cameras | None = None  # their cameras, in their order
    unasked: str = ""  # why no place for another photograph was looked for

    @property
    def shares(self) -> dict[str, float]:
        """The part of the surface that is of each class."""
        number = torch.bincount(self.classes, minlength=len(CLASSES)).float()
        return dict(zip(CLASSES, (number / number.sum()).tolist()))

    def nearest_class(self, point: Tensor) -> Tensor:
        """Returns the classes (N,) of the surface's own points that are nearest to points (N, 3)."""
        from scipy.spatial import KDTree

        nearest = KDTree(self.surface.point.numpy()).query(point.numpy())[1]
        return self.classes[torch.from_numpy(nearest)]


@torch.no_grad()
def survey(
    model: RadianceModel, cameras: Cameras, names: Sequence[str], up: Up, views: Views | None, count: int
) -> Survey:
    """Returns the survey of a scene.

    Args:
        model: as it was trained.
        cameras: F, of the photographs.
        names: F, of them.
        up: which way it is.
        views: the photographs, which are held against what the model shows of them; None: they are not at hand.
        count: of suggestions, at most.

    Raises:
        InputError: no ray meets anything.
    """
    model = without_clouds(model, cameras)[0]
    photographs = Photographs.of(model, cameras)
    if views is not None:
        photographs = replace(photographs, error=errors(model, photographs, views))
    reason = ""
    try:
        made = viewpoints(model, upright(cameras, up), photographs, up.direction)
        places = Photographs.of(model, made, SIDE)
    except InputError as error:
        reason = str(error)

    surface = surface_points(model, photographs if reason else places)
    sights = sights_of([photographs], surface.point, surface.normal)
    typical = sights.typical()
    classes = sights.classes(typical)
    found = Survey(model, photographs, surface, classes, _good(classes), unasked=reason)
    if reason:
        return found

    # What the places that tell most would bring.
    told = choose(surface, sights, photographs, places, count)
    if not told:
        return found
    suggested = made[torch.tensor([place for place, _ in told])]
    taken = Photographs.of(model, suggested, max(photographs.distance.shape[1:]))
    after = sights_of([photographs, taken], surface.point, surface.normal).classes(typical)
    after[classes == CLASSES.index("disagreeing")] = CLASSES.index("disagreeing")
    shown = [len(places.information(place, surface.point, surface.normal)[0]) / len(surface) for place, _ in told]
    stand = Stand.of(photographs, up.direction)
    suggestions = described(stand, names, suggested, [(part, much) for part, (_, much) in zip(shown, told)])
    return replace(found, suggestions=suggestions, suggested=suggested, after=_good(after))


def surface_points(model: RadianceModel, look: Photographs) -> Surface:
    """Returns points of a model's surface, as many where more of it is to be seen.

    Of a place without bounds these are taken where space is not contracted.

    Raises:
        InputError: there are none.
    """
    found = []
    for frame in range(len(look.cameras)):
        rays = look.cameras.image_rays(frame)
        distance = look.distance[frame].flatten()
        met = distance.isfinite()
        found.append(rays.origin[met] + distance[met, None] * rays.direction[met])
    point = torch.cat(found)

    space = model.box.contraction
    if space is not None:
        near = (point - space.center).norm(dim=1) <= space.radius
        point = point[near] if near.any() else point  # from inside a room, walls alone are seen
    if not len(point):
        raise InputError(EMPTY)
    point = point[:: -(-len(point) // POINTS)]
    return Surface(point, model.outward(model.box.unit_from_world(point).clamp(0, 1), REACH))


def errors(model: RadianceModel, photographs: Photographs, views: Views) -> Tensor:
    """Returns how far photographs are off a model's pictures of them, (F, H, W), the mean over the channels.

    views: the photographs. Beside one, and where it is masked, the error is nan.
    """
    small = photographs.cameras
    ground = "white" if model.box.contraction is None else "black"
    found = torch.full((len(small), small.height, small.width), math.nan)
    for frame in progress(range(len(small)), title="holding against the photographs", unit="view"):
        width, height = views.cameras.size[frame].tolist()
        columns, rows = photographs.extent[frame].round().long().clamp(min=1).tolist()
        picture = views.picture(frame, ground).permute(2, 0, 1)
        if views.used is not None:
            picture = picture.masked_fill(~views.used[frame, :height, :width], math.nan)
        picture = interpolate(picture[None], (rows, columns), mode="area")[0].permute(1, 2, 0)
        left, top = (small.width - columns) // 2, (small.height - rows) // 2
        shown = model.picture(small, frame).over(BACKGROUNDS[ground])[top : top + rows, left : left + columns]
        found[frame, top : top + rows, left : left + columns] = (shown - picture).abs().mean(2)
    return found


def _good(classes: Tensor) -> float:
    return (classes == GOOD).float().mean().item()
