"""Quick looks at a trained model: the same march with longer steps, and a baked sparse grid for interactive speed.

Baking evaluates the model once at the vertices of small bricks, one per cell of the occupancy grid that holds matter;
pictures are then interpolated, without any network (nerf/engine/src/baked.h has the layout). What is lost against the
exact picture is measured, see `preview_quality`.
"""

from __future__ import annotations

import copy
import ctypes
import math
import time
from dataclasses import dataclass, replace
from statistics import mean, median

import torch
from torch import Tensor

from nerf.engine import library
from nerf.engine.signatures import BakedCall, BakedScene, Pixels
from nerf.engine.tensors import address
from nerf.fields.radiance import RadianceField
from nerf.geometry.cameras import Cameras
from nerf.geometry.scene_box import SceneBox
from nerf.ops.hash_grid import hash_grid
from nerf.ops.mlp import mlp
from nerf.ops.spherical_harmonics import spherical_harmonics
from nerf.rendering.metrics import psnr
from nerf.rendering.model import Picture, RadianceModel

COMPONENTS = 16  # bytes of a vertex's colour, as in baked.h: 3 colours, 3 x 3 of their slopes by direction, padding
OPAQUE = 255  # an opacity's byte of 1
CORNERS = 3  # of a brick along a side
DIRECTIONS = 8  # from which a vertex's colour is looked at
DIRECTION_PULL = 0.02  # of a slope towards zero: directions that are nearly one do not tell it
VERTICES_AT_ONCE = 2**17  # through the networks: bounds their memory
FAINTEST = 2 / 255  # a cell all of whose vertices are fainter is empty
LEAST_LIGHT = 1 / 100  # a ray ends where less than this part of it goes on


@dataclass(frozen=True)
class BakedModel:
    """A model that `bake` made; `picture` is what it is for.

    cube: the scene's. opacity: (N, CORNERS, CORNERS, CORNERS) uint8, of a step. color: (N, CORNERS, CORNERS, CORNERS,
    COMPONENTS) uint8. brick: (G, G, G) int32, a cell's brick. distance: (G, G, G) uint8, how many cells away the
    nearest brick is. scale, shift: (COMPONENTS,) float32, with which a component is byte * scale + shift. step: of the
    march, scene units. seconds: what baking took.
    """

    box: SceneBox
    opacity: Tensor
    color: Tensor
    brick: Tensor
    distance: Tensor
    scale: Tensor
    shift: Tensor
    step: float
    seconds: float
    minimum_weight: float = 0.0  # a sample that weighs less is left out

    @property
    def bytes(self) -> int:
        """What the bricks fill."""
        return self.opacity.numel() + self.color.numel()

    def picture(self, cameras: Cameras, frame: int) -> Picture:
        """Returns what one camera sees, nearly."""
        size = (cameras.height, cameras.width)
        picture = Picture(torch.empty(*size, 3), torch.empty(size), torch.empty(size))
        lens = Pixels(
            poses=address(cameras.world_from_camera),
            focal=address(cameras.focal),
            center=address(cameras.center),
            lens=None if cameras.pinhole else address(cameras.lens),
            width=cameras.width,
            height=cameras.height,
        )
        scene = BakedScene(
            *(address(self.opacity, torch.uint8), address(self.color, torch.uint8)),
            *(address(self.brick, torch.int32), address(self.distance, torch.uint8)),
            *(address(self.scale), address(self.shift)),
            resolution=self.brick.shape[0],
            corners=self.opacity.shape[1],
            side=self.box.side,
            step=self.step,
            minimum_transmittance=LEAST_LIGHT,
            minimum_weight=self.minimum_weight,
        )
        scene.corner[:] = self.box.corner.tolist()
        places = (address(part) for part in (picture.rgb, picture.opacity, picture.depth))
        call = BakedCall(ctypes.pointer(lens), *places, frame, torch.get_num_threads())
        library().call("nerf_baked_render", ctypes.byref(scene), ctypes.byref(call))
        return picture


@torch.no_grad()
def bake(model: RadianceModel, cameras: Cameras, corners: int = CORNERS) -> BakedModel:
    """Returns a model's baked form, its colours as they look from about where the cameras are.

    Args:
        model: a model.
        cameras: those it learned from; a colour is fitted from their directions, others extrapolate it.
        corners: vertices of a brick along a side, 2 at least; memory grows with the cube of it.
    """
    start = time.perf_counter()
    size, cells = model.occupancy.resolution, model.occupancy.occupied.nonzero()
    # Bricks share the vertices of their faces: each is evaluated once.
    side = size * (corners - 1) + 1
    offset = torch.cartesian_prod(*[torch.arange(corners)] * 3)
    vertex = (cells * (corners - 1))[:, None, :] + offset
    keys, place = ((vertex[..., 0] * side + vertex[..., 1]) * side + vertex[..., 2]).unique(return_inverse=True)
    position = torch.stack([keys // side**2, keys // side % side, keys % side], dim=1) / (side - 1)
    # The exact march's own steps, so that samples lie where the exact ones do.
    step = model.step_length()
    opacity = -torch.expm1(-model.unit_density(position) * (step / model.box.side))
    seen = (opacity[place] > FAINTEST).any(dim=1)
    cells, place = cells[seen], place[seen]
    wanted = torch.zeros(len(keys), dtype=torch.bool)
    wanted[place.flatten()] = True
    components = torch.zeros(len(keys), COMPONENTS)
    colors = _colors(model.field.plain(), position[wanted], _looks(model.box, cameras))
    components[wanted, :12] = colors * opacity[wanted, None]
    scale, shift = _quantisation()
    quantised = ((components - shift) / scale).round().clamp(0, 255).to(torch.uint8)
    brick = torch.zeros(size, size, size, dtype=torch.int32)
    brick[cells.unbind(1)] = torch.arange(len(cells), dtype=torch.int32)
    full = torch.zeros(size, size, size, dtype=torch.bool)
    full[cells.unbind(1)] = True
    return BakedModel(
        model.box,
        (opacity * OPAQUE).round().to(torch.uint8)[place].view(-1, corners, corners, corners),
        quantised[place].view(-1, corners, corners, corners, COMPONENTS),
        brick,
        _distance(full),
        scale,
        shift,
        step,
        time.perf_counter() - start,
        model.settings.minimum_weight,
    )


def _looks(box: SceneBox, cameras: Cameras) -> Tensor:
    """Returns unit directions (D, 3), D at most DIRECTIONS, in which the cameras see the cube, far from each other."""
    looks = torch.nn.functional.normalize(box.corner + box.side / 2 - cameras.world_from_camera[:, :, 3], dim=1)
    chosen = [0]
    farness = torch.full((len(looks),), math.inf)
    while len(chosen) < min(DIRECTIONS, len(looks)):
        farness = torch.minimum(farness, (looks - looks[chosen[-1]]).norm(dim=1))
        chosen.append(int(farness.argmax()))
    return looks[chosen]


def _colors(field: RadianceField, position: Tensor, looks: Tensor) -> Tensor:
    """Returns (N, 12): colour (3) and its slopes by the direction's x, y and z (3 each), fitted over the looks."""
    basis = torch.cat([torch.ones(len(looks), 1), looks], dim=1)
    pull = DIRECTION_PULL * len(looks) * torch.diag(torch.tensor([0.0, 1, 1, 1]))
    fit = torch.linalg.solve(basis.T @ basis + pull, basis.T)
    harmonics = spherical_harmonics(looks, field.degree)
    weights = list(field.color_mlp.weights)
    found = []
    for some in position.split(VERTICES_AT_ONCE):
        encoding = hash_grid(some, field.encoding.table, field.encoding.levels, "native")
        features = mlp(encoding, list(field.density_mlp.weights), "native")
        inputs = torch.zeros(len(some), weights[0].shape[1])
        inputs[:, : features.shape[1]] = features
        sums = torch.zeros(4, len(some), 3)
        for look in range(len(looks)):
            inputs[:, features.shape[1] : features.shape[1] + harmonics.shape[1]] = harmonics[look]
            sums += fit[:, look, None, None] * torch.sigmoid(mlp(inputs, weights, "native"))
        found.append(sums.permute(1, 0, 2).reshape(-1, 12))
    return torch.cat(found) if found else torch.empty(0, 12)


def _quantisation() -> tuple[Tensor, Tensor]:
    """Returns scale and shift (COMPONENTS,): colours in [-0.5, 1.5], slopes in [-1, 1]."""
    scale = torch.full((COMPONENTS,), 2.0 / 255)
    # A colour and a slope of zero are whole bytes: what is empty stays black.
    zero = torch.tensor([64.0] * 3 + [127.0] * (COMPONENTS - 3))
    return scale, -zero * scale


def _distance(full: Tensor) -> Tensor:
    """Returns how far (G, G, G) uint8 the nearest full cell is, the greatest difference of an index; 255 if beyond."""
    from scipy.ndimage import distance_transform_cdt

    if not full.any():
        return torch.full(full.shape, 255, dtype=torch.uint8)
    distance = distance_transform_cdt((~full).numpy(), metric="chessboard")
    return torch.from_numpy(distance.clip(0, 255).astype("uint8"))


def coarse(model: RadianceModel, factor: int = 2) -> RadianceModel:
    """Returns the same model, its tensors shared, marched with steps `factor` times as long."""
    steps = max(1, model.settings.steps // factor)
    quick = copy.copy(model)
    quick.settings = replace(model.settings, steps=steps)
    return quick


@dataclass(frozen=True)
class PreviewQuality:
    """What a preview costs. psnr: dB of its pictures against the exact ones. seconds, exact_seconds: for a picture."""

    psnr: float
    seconds: float
    exact_seconds: float


def preview_quality(
    model: RadianceModel, preview: RadianceModel | BakedModel, cameras: Cameras, background: float
) -> PreviewQuality:
    """Returns what a preview loses against the exact pictures of all the cameras, over a grey background."""
    values, seconds = [], ([], [])
    for frame in range(len(cameras)):
        pictures = []
        for seen, times in zip((model, preview), seconds):
            start = time.perf_counter()
            picture = seen.picture(cameras, frame)
            times.append(time.perf_counter() - start)
            pictures.append(picture.over(background))
        values.append(psnr(pictures[1], pictures[0]))
    return PreviewQuality(mean(values), median(seconds[1]), median(seconds[0]))
