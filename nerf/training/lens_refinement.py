"""The lens that all pictures share, and how far their cameras stand: what is wrong with them, found from the errors.

Where a lens is wrong, the scene follows: it shrinks, and bends, until the pictures nearly fit, and hardly any error is
left that pulls at the lens. A step of Gauss-Newton therefore asks which change of the lens lessens the errors *that no
smooth deformation of the scene lessens*: deformations by polynomials of third degree take part in the least squares,
and are then thrown away (variable projection, Golub and Pereyra 1973). A longer focal length asks for cameras that
stand farther away: that much of the deformation, its scale, is made up for by moving all cameras along.

What a change does to a ray's colour is told by how the point that the ray shows moves across the ray, times how the
colour changes there: four renderings of the rays, a little aside, tell that for every parameter at once.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from nerf.checkpoints import checked, checked_whole_number
from nerf.errors import InputError
from nerf.geometry.cameras import Cameras, Rays
from nerf.geometry.lenses import TERMS
from nerf.geometry.scene_box import SceneBox
from nerf.ops.composite import Rendering
from nerf.rendering.model import RadianceModel
from nerf.seeding import generator
from nerf.training.camera_optimizer import CameraOptimizer, apply_exposure
from nerf.training.pixel_sampler import PixelSampler

TIMES = 40  # steps of a training, from FIRST to LAST of its progress: before, nothing can be told; after, all settles
FIRST = 0.1
LAST = 0.9
RAYS = 8192  # of a step
FEWEST = 256  # of these that must show something
ASIDE = 0.5  # pixels between a ray and the same ray moved aside
GAIN = 0.5  # of a step of Gauss-Newton: the errors of single steps average out
MOST = 0.02  # by which a step moves any of the parameters
FARTHEST = 2 * TIMES * MOST  # that steps can take any of them, or the distance, at the most
USUAL = 2.0  # medians: larger errors count by their amount, not by their square (Huber)
LEAST_ERROR = 1e-4  # that counts as unusual
ALIKE = 100.0  # rays whose errors are alike, and count as one
DEGREE = 3  # of the polynomials that deform the scene
DEFORMED = 0.05  # of the scene's size: how far deformations may go (standard deviation)
WHOLE = 0.95  # opacity of what tells anything

# Of the parameters: logarithm of the focal length, principal point in focal lengths (x, y), k1, k2.
FREE = 5
LIKELY = (0.1, 0.03, 0.03, 0.1, 0.1)  # how wrong they are (standard deviation)
SMALL = 1e-4  # a change of a parameter, for differences
STATE = ("lens.change", "lens.pivot", "lens.steps")


@dataclass(frozen=True)
class LensChange:
    """What was wrong with the lens of all cameras, and with their distance from a pivot."""

    terms: Tensor  # (6,) float64: the parameters in their order, then the logarithm of the distance
    pivot: Tensor  # (3,) float64, scene units

    def of(self, cameras: Cameras) -> Cameras:
        """Returns cameras with this change."""
        focal, x, y, k1, k2, distance = self.terms.tolist()
        lens = cameras.lens.clone()
        lens[:, TERMS.index("k1")] += k1
        lens[:, TERMS.index("k2")] += k2
        pose = cameras.world_from_camera.double()
        pose[:, :, 3] = self.pivot + (pose[:, :, 3] - self.pivot) * math.exp(distance)
        return replace(
            cameras,
            world_from_camera=pose.float(),
            focal=cameras.focal * math.exp(focal),
            center=cameras.center + cameras.focal * torch.tensor([x, y]),
            lens=lens,
        )

    @property
    def stretch(self) -> float:
        """How many times as far from the pivot as they were given the cameras stand."""
        return math.exp(self.terms[FREE].item())

    def found(self) -> str:
        """Returns a line for the user that says what was found."""
        focal, x, y, k1, k2, distance = self.terms.tolist()
        return (
            f"lens: focal length {math.expm1(focal):+.2%}, principal point {x:+.2%} and {y:+.2%} of it, k1 {k1:+.4f}, "
            f"k2 {k2:+.4f}; cameras {math.expm1(distance):+.2%} from the middle"
        )


class LensRefinement:
    """A change of the lens on its way."""

    def __init__(self, pixels: PixelSampler, cameras: CameraOptimizer, box: SceneBox, seed: int) -> None:
        """cameras: whose lens changes in place."""
        self.pixels = pixels
        self.cameras = cameras
        self.seed = seed
        self.size = box.side / 2 if box.contraction is None else box.contraction.radius
        middle = box.corner + box.side / 2 if box.contraction is None else box.contraction.center
        self.change = LensChange(torch.zeros(FREE + 1, dtype=torch.float64), middle.double())
        self.steps = 0
        measured = pixels.measured
        self._distance = None if measured is None else measured.distance.clone()

    def due(self, progress: float) -> bool:
        """Whether a step is to be taken, `progress` in [0, 1] through the training."""
        return FIRST <= progress < LAST and self.steps <= _steps_by(progress)

    def step(self, model: RadianceModel, progress: float) -> None:
        """Takes a step, by what a model shows."""
        self.steps = _steps_by(progress) + 1
        equations = self._equations(model, model.step_length(progress))
        if len(equations[0]) < FEWEST:
            return
        threads = torch.get_num_threads()
        torch.set_num_threads(1)  # sums in another order would have other bits
        try:
            move, away = _solved(*equations, self.change.terms[:FREE])
        finally:
            torch.set_num_threads(threads)
        self._set(self.change.terms + torch.cat([move, away[None]]))

    def _set(self, terms: Tensor) -> None:
        self.change = replace(self.change, terms=terms)
        self.cameras.change_lens(self.change.of)
        if self._distance is not None and self.pixels.measured is not None:
            self.pixels.measured.distance.copy_(self._distance * math.exp(terms[FREE].item()))

    @torch.no_grad()
    def _equations(self, model: RadianceModel, step_length: float) -> tuple[Tensor, Tensor, Tensor]:
        """Returns what colours of R rays miss (R, 3), and what changes of lens and distance (R, 3, 6) and of the scene
        (R, 3, N) would do about it; float64."""
        drawn = self.pixels.draw(RAYS, generator(self.seed, "lens", self.steps))

        def shown(rays: Rays) -> Rendering:
            seen = model.render(rays, step=step_length)
            return apply_exposure(seen, self.cameras.colors[drawn.frame], drawn.color) if self.cameras.exposes else seen

        # What rays show, and what rays a little aside show instead.
        rays = drawn.rays
        seen = shown(rays)
        depth = (seen.depth / seen.opacity.clamp(min=WHOLE))[:, None]
        across = _across(rays.direction)
        aside = ASIDE * depth / self.cameras.views.cameras.focal[drawn.frame].mean(1, keepdim=True)
        moves = [aside * across[:, :, way] * sign for way in range(2) for sign in (1, -1)]
        beside = [shown(Rays(rays.origin + move, rays.direction)) for move in moves]

        # At silhouettes the scene is softer than its pictures: they would pull all one way.
        whole = torch.stack([there.opacity for there in (seen, *beside)]).amin(0) >= WHOLE
        if drawn.color.shape[1] == 4:
            whole &= drawn.color[:, 3] == 1
        if drawn.weight is not None:
            whole &= drawn.weight > 0
        depth, across, aside = depth[whole], across[whole].double(), aside[whole]
        right, left, up, down = (there.rgb[whole] for there in beside)
        slopes = (torch.stack([right - left, up - down], 2) / (2 * aside[:, None])).double()  # (R, 3, 2)

        # What moves: by a change of the lens the ray, by a deformation the scene under it.
        pixel = drawn.pixel[whole]
        frame = drawn.frame[whole]
        column, row = pixel % self.pixels.width, pixel // self.pixels.width % self.pixels.height
        point = rays.origin[whole] + depth * rays.direction[whole]
        moved = []
        for number in range(FREE + 1):
            terms = self.change.terms.clone()
            terms[number] += SMALL
            other = self.cameras.with_lens(replace(self.change, terms=terms).of).rays(frame, column, row)
            moved.append((other.origin + depth * other.direction - point).double() / SMALL)
        by_lens = torch.einsum("rcw,rnx,rxw->rcn", slopes, torch.stack(moved, 1), across)
        extent = _deformations((point.double() - self.change.pivot) / self.size) * self.size
        by_scene = torch.einsum("rcw,rm,rxw->rcmx", slopes, -extent, across).flatten(2)
        return (drawn.color[whole, :3] - seen.rgb[whole]).double(), by_lens, by_scene

    def state(self) -> dict[str, Tensor]:
        """Returns what a step changes, by name."""
        return dict(zip(STATE, (self.change.terms, self.change.pivot, torch.tensor(self.steps))))

    def load_state(self, tensors: Mapping[str, Tensor]) -> None:
        """Takes over a state that `state` returned, exactly.

        Raises:
            InputError: it is none.
        """
        self.steps = checked_whole_number(tensors, STATE[2], 0, TIMES)
        self.change = _change(tensors)
        self._set(self.change.terms)


def learned_lens(tensors: Mapping[str, Tensor]) -> LensChange | None:
    """Returns the change of the lens that a checkpoint has learned, if it has.

    Raises:
        InputError: it is none.
    """
    return _change(tensors) if STATE[0] in tensors else None


def _change(tensors: Mapping[str, Tensor]) -> LensChange:
    terms = checked(tensors, STATE[0], torch.Size([FREE + 1])).double()
    if terms.abs().max() > FARTHEST:
        raise InputError(f'checkpoint: tensor "{STATE[0]}": {terms.tolist()} is no change of a lens; train again')
    return LensChange(terms, checked(tensors, STATE[1], torch.Size([3])).double())


def _steps_by(progress: float) -> int:
    return int((progress - FIRST) / (LAST - FIRST) * TIMES)


def _across(direction: Tensor) -> Tensor:
    """Returns two unit vectors across each of R directions, and across one another: the columns of (R, 3, 2)."""
    least = torch.eye(3)[direction.abs().argmin(1)]
    first = torch.nn.functional.normalize(torch.linalg.cross(direction, least), dim=1)
    return torch.stack([first, torch.linalg.cross(direction, first)], 2)


def _deformations(place: Tensor) -> Tensor:
    """Returns the monomials (R, M) at places (R, 3), in sizes of the scene from its middle.

    What is far away is brought near, and moves by as much more.
    """
    away = place.norm(dim=1, keepdim=True).clamp(min=1)
    x, y, z = (place / away * (2 - 1 / away)).unbind(1)
    powers = [(i, j, k) for i in range(DEGREE + 1) for j in range(DEGREE + 1 - i) for k in range(DEGREE + 1 - i - j)]
    return torch.stack([x**i * y**j * z**k for i, j, k in powers], 1) * away


def _solved(missing: Tensor, by_lens: Tensor, by_scene: Tensor, terms: Tensor) -> tuple[Tensor, Tensor]:
    """Returns by how much the parameters (5,) move, and the logarithm of the distance with them."""
    size = missing.norm(dim=1)
    usual = USUAL * size.median() + LEAST_ERROR
    weight = (usual / size.clamp(min=usual))[:, None, None] / (ALIKE * missing.square().mean()).clamp(
        min=LEAST_ERROR**2
    )
    effect = torch.cat([by_lens, by_scene], 2)
    normal = (effect * weight).flatten(0, 1).mT @ effect.flatten(0, 1)
    pull = (effect * weight).flatten(0, 1).mT @ missing.flatten()

    # The scene follows the lens as well as it can; what it cannot follow tells the lens.
    free, scene = slice(FREE), slice(FREE + 1, None)
    deform = normal[scene, scene] + torch.eye(by_scene.shape[2], dtype=torch.float64) / DEFORMED**2
    follow = torch.linalg.solve(deform, torch.cat([normal[scene, free], pull[scene, None]], 1))
    trust = torch.tensor(LIKELY, dtype=torch.float64) ** -2
    left = normal[free, free] - normal[free, scene] @ follow[:, :FREE] + torch.diag(trust)
    move = torch.linalg.solve(left, pull[free] - normal[free, scene] @ follow[:, FREE] - trust * terms)
    move = (GAIN * move).clamp(-MOST, MOST)

    # Of all deformations the cameras can make up for one: they stand as far away as keeps the scene its size.
    return move, -(normal[FREE, free] @ move) / normal[FREE, FREE].clamp(min=1e-12)
