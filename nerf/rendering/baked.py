"""Previews of a trained model: the same march with longer steps, and a baked sparse grid at interactive speed.

Baking evaluates the model once at the vertices of small bricks, one for each cell of the occupancy
grid that holds matter. Pictures are then interpolated, without any network; nerf/engine/src/baked.h
has the layout. `preview_quality` measures what is lost against the exact picture.
"""

from __future__ import annotations

import copy
import ctypes
import math
import time
from dataclasses import dataclass, replace
from statistics import mean, median

import numpy
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
OPAQUE = 255  # the byte of an opacity of 1
CORNERS = 3  # vertices of a brick along a side
DIRECTIONS = 8  # from which a vertex's colour is evaluated
DIRECTION_PULL = 0.02  # of a slope towards zero: directions that are nearly one do not tell it
VERTICES_AT_ONCE = 2**17  # through the networks: bounds their memory
ROWS_AT_ONCE = 256  # of a picture in a call
FAINTEST = 2 / 255  # a cell all of whose vertices are fainter is empty
LEAST_LIGHT = 1 / 100  # a ray ends where less than this part of it goes on


@dataclass(frozen=True)
class BakedModel:
    """A model that `bake` made: N bricks of K vertices a side in a grid of G cells a side."""

    box: SceneBox
    opacity: Tensor  # (N, K, K, K) uint8, of one step
    color: Tensor  # (N, K, K, K, COMPONENTS) uint8
    brick: Tensor  # (G, G, G) int32, which brick a cell has
    distance: Tensor  # (G, G, G) uint8, how many cells away the nearest brick is
    scale: Tensor  # (COMPONENTS,) float32, component = byte * scale + shift
    shift: Tensor  # (COMPONENTS,) float32
    step: float  # of the march, scene units
    seconds: float  # that baking took
    minimum_weight: float = 0.0  # a sample that weighs less is left out

    @property
    def bytes(self) -> int:
        """The memory of the bricks."""
        return self.opacity.numel() + self.color.numel()

    def picture(self, cameras: Cameras, frame: int) -> Picture:
        """Returns about what one camera sees."""
        width, height = cameras.size[frame].tolist()
        size = (height, width)
        picture = Picture(torch.empty(*size, 3), torch.empty(size), torch.empty(size))

        pixels = Pixels(
            poses=address(cameras.world_from_camera),
            focal=address(cameras.focal),
            center=address(cameras.center),
            lens=None if cameras.pinhole else address(cameras.lens),
            width=width,
            height=height,
            n_frames=len(cameras),
        )
        scene = BakedScene(
            opacity=address(self.opacity, torch.uint8),
            color=address(self.color, torch.uint8),
            brick=address(self.brick, torch.int32),
            distance=address(self.distance, torch.uint8),
            scale=address(self.scale),
            shift=address(self.shift),
            resolution=self.brick.shape[0],
            corners=self.opacity.shape[1],
            n_bricks=len(self.opacity),
            side=self.box.side,
            step=self.step,
            minimum_transmittance=LEAST_LIGHT,
            minimum_weight=self.minimum_weight,
        )
        scene.corner[:] = self.box.corner.tolist()
        call = BakedCall(
            cameras=ctypes.pointer(pixels),
            rgb=address(picture.rgb),
            opacity=address(picture.opacity),
            depth=address(picture.depth),
            frame=frame,
            threads=torch.get_num_threads(),
        )

        # Between two calls Python hears an interrupt.
        for first_row in range(0, height, ROWS_AT_ONCE):
            call.first_row = first_row
            call.rows = min(ROWS_AT_ONCE, height - first_row)
            library().call("nerf_baked_render", ctypes.byref(scene), ctypes.byref(call))
        return picture


@torch.no_grad()
def bake(model: RadianceModel, cameras: Cameras, corners: int = CORNERS) -> BakedModel:
    """Returns a model's baked form, its colours as they look from about where the cameras are.

    Args:
        model: a model.
        cameras: those it learned from; colours are fitted from their directions, others extrapolate.
        corners: vertices of a brick along a side, 2 at least; memory grows with the cube of it.
    """
    start = time.perf_counter()
    size = model.occupancy.resolution
    cells = model.occupancy.occupied.nonzero()

    # Bricks share the vertices of their faces: each is evaluated once. A key is a vertex of the whole grid.
    side = size * (corners - 1) + 1
    offset = torch.cartesian_prod(*[torch.arange(corners)] * 3)
    vertex = (cells * (corners - 1))[:, None, :] + offset
    all_keys = (vertex[..., 0] * side + vertex[..., 1]) * side + vertex[..., 2]
    keys, row = all_keys.unique(return_inverse=True)
    position = torch.stack([keys // side**2, keys // side % side, keys % side], dim=1) / (side - 1)

    # Opacity over the exact march's own steps, so that samples lie where the exact ones do.
    step = model.step_length()
    opacity = -torch.expm1(-model.unit_density(position) * (step / model.box.side))
    seen = (opacity[row] > FAINTEST).any(dim=1)
    cells = cells[seen]
    row = row[seen]

    # Colours, times opacity, of the vertices that are left.
    wanted = torch.zeros(len(keys), dtype=torch.bool)
    wanted[row.flatten()] = True
    components = torch.zeros(len(keys), COMPONENTS)
    directions = _spread_directions(model.box, cameras)
    colors = _fitted_colors(model.field.plain(), position[wanted], directions)
    components[wanted, :12] = colors * opacity[wanted, None]
    scale, shift = _quantisation()
    quantised = ((components - shift) / scale).round().clamp(0, 255).to(torch.uint8)

    # Which cell has which brick.
    brick = torch.zeros(size, size, size, dtype=torch.int32)
    brick[cells.unbind(1)] = torch.arange(len(cells), dtype=torch.int32)
    full = torch.zeros(size, size, size, dtype=torch.bool)
    full[cells.unbind(1)] = True

    return BakedModel(
        box=model.box,
        opacity=(opacity * OPAQUE).round().to(torch.uint8)[row].view(-1, corners, corners, corners),
        color=quantised[row].view(-1, corners, corners, corners, COMPONENTS),
        brick=brick,
        distance=_distance(full),
        scale=scale,
        shift=shift,
        step=step,
        seconds=time.perf_counter() - start,
        minimum_weight=model.settings.minimum_weight,
    )


def _spread_directions(box: SceneBox, cameras: Cameras) -> Tensor:
    """Returns unit directions (D, 3), D at most DIRECTIONS, in which the cameras see the box, far from each other."""
    directions = torch.nn.functional.normalize(box.corner + box.side / 2 - cameras.world_from_camera[:, :, 3], dim=1)

    # Always the one that is farthest from those chosen before.
    chosen = [0]
    farness = torch.full((len(directions),), math.inf)
    while len(chosen) < min(DIRECTIONS, len(directions)):
        farness = torch.minimum(farness, (directions - directions[chosen[-1]]).norm(dim=1))
        chosen.append(int(farness.argmax()))
    return directions[chosen]


def _fitted_colors(field: RadianceField, position: Tensor, directions: Tensor) -> Tensor:
    """Returns (N, 12): colour (3) and its slopes by the direction's x, y and z (3 each), fitted over directions."""
    # Least squares, slopes pulled to zero: row k of `fit` makes coefficient k of the colours seen.
    basis = torch.cat([torch.ones(len(directions), 1), directions], dim=1)
    pull = DIRECTION_PULL * len(directions) * torch.diag(torch.tensor([0.0, 1, 1, 1]))
    fit = torch.linalg.solve(basis.T @ basis + pull, basis.T)

    harmonics = spherical_harmonics(directions, field.degree)
    weights = list(field.color_mlp.weights)
    found = []
    for some in position.split(VERTICES_AT_ONCE):
        encoding = hash_grid(some, field.encoding.table, field.encoding.levels, "native")
        features = mlp(encoding, list(field.density_mlp.weights), "native")

        # The colour network's inputs: features, harmonics, and zeros for a picture's code.
        inputs = torch.zeros(len(some), weights[0].shape[1])
        inputs[:, : features.shape[1]] = features
        sums = torch.zeros(4, len(some), 3)
        for index in range(len(directions)):
            inputs[:, features.shape[1] : features.shape[1] + harmonics.shape[1]] = harmonics[index]
            sums += fit[:, index, None, None] * torch.sigmoid(mlp(inputs, weights, "native"))
        found.append(sums.permute(1, 0, 2).reshape(-1, 12))
    return torch.cat(found) if found else torch.empty(0, 12)


def _quantisation() -> tuple[Tensor, Tensor]:
    """Returns scale and shift (COMPONENTS,): colours in [-0.5, 1.5], slopes in [-1, 1]."""
    scale = torch.full((COMPONENTS,), 2.0 / 255)
    # A colour and a slope of zero are whole bytes: what is empty stays black.
    zero = torch.tensor([64.0] * 3 + [127.0] * (COMPONENTS - 3))
    return scale, -zero * scale


def _distance(full: Tensor) -> Tensor:
    """Returns how many cells away the nearest full cell is (Chebyshev), (G, G, G) uint8; 255 also if farther."""
    from scipy.ndimage import distance_transform_cdt

    if not full.any():
        return torch.full(full.shape, 255, dtype=torch.uint8)
    distance = numpy.asarray(distance_transform_cdt((~full).numpy(), metric="chessboard"))
    return torch.from_numpy(distance.clip(0, 255).astype("uint8"))


def coarse(model: RadianceModel, factor: int = 2) -> RadianceModel:
    """Returns the same model, its tensors shared, marched with steps `factor` times as long."""
    steps = max(1, model.settings.steps // factor)
    quick = copy.copy(model)
    quick.settings = replace(model.settings, steps=steps)
    return quick


@dataclass(frozen=True)
class PreviewQuality:
    """How good and how fast a preview is."""

    psnr: float  # dB, of its pictures against the exact ones
    seconds: float  # a picture
    exact_seconds: float  # an exact picture


def preview_quality(
    model: RadianceModel, preview: RadianceModel | BakedModel, cameras: Cameras, background: float
) -> PreviewQuality:
    """Returns the quality of a preview against the exact pictures of all cameras, over a grey background."""
    quality: list[float] = []
    exact_seconds: list[float] = []
    seconds: list[float] = []
    for frame in range(len(cameras)):
        start = time.perf_counter()
        exact = model.picture(cameras, frame)
        exact_seconds.append(time.perf_counter() - start)

        start = time.perf_counter()
        quick = preview.picture(cameras, frame)
        seconds.append(time.perf_counter() - start)

        quality.append(psnr(quick.over(background), exact.over(background)))
    return PreviewQuality(mean(quality), median(seconds), median(exact_seconds))
