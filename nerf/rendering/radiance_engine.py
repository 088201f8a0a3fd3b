"""What computes a model: the interface that plain torch, the native engine and the CUDA kernels fulfil.

An engine works on the tensors of a model's modules. Some keep copies of their own (packed, or on a device): `refresh`
tells them that somebody else wrote into the tensors, `copy_back` writes what they have learned back into them.

A step of training is `gradients`, then `descend`; between the two is where gradients of several machines are summed.
`step` is both in one call, fused where that is faster.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple, Protocol

from torch import Tensor

from nerf.geometry.cameras import Rays

if TYPE_CHECKING:
    from nerf.rendering.model import RadianceModel


class RayBatch(NamedTuple):
    """Rays as an engine renders them; all tensors are contiguous."""

    origin: Tensor  # (R, 3), scene units
    direction: Tensor  # (R, 3), unit length
    offset: Tensor  # (R,) in [0, 1), the position of a sample in its step
    code: Tensor | None  # (R, code_size), what the colour network sees beside the direction; None for zero


@dataclass(frozen=True)
class TrainingStep:
    """A step of training as every engine is told it."""

    number: int  # from 1, as in Adam's bias correction
    n_rays: int  # to draw
    step_length: float  # of the march, scene units
    levels: int  # of the grid that take part: the coarsest ones
    rate: float  # of Adam
    distance: float = 0.0  # weight of the distance loss, where distances were measured


@dataclass(frozen=True)
class StepResult:
    """What came of a step."""

    loss: float  # photometric, mean over rays and channels; where it is not finite, nothing was moved
    n_rays: int  # drawn: fewer than asked for where memory ran out
    samples: int  # learned from
    marched: int = 0  # samples that the march looked at


@dataclass(frozen=True)
class OccupancyUpdate:
    """An update of the occupancy grid as every engine is told it, see `OccupancyGrid.update`."""

    seed: int
    number: int  # the step after which it happens, from 0
    step_length: float  # of the march, scene units
    levels: int  # of the grid that take part
    prune: bool  # whether cells may become empty


class RadianceEngine(Protocol):
    """Computes one model, and its training where the model has something to learn from."""

    def refresh(self) -> None:
        """Takes over tensors of the model that were changed elsewhere."""

    def copy_back(self) -> bool:
        """Writes what the engine alone has learned into the model's tensors; returns whether there was anything."""
        ...

    def gradients(self, step: TrainingStep) -> tuple[dict[str, Tensor], StepResult]:
        """Returns the gradients of a step's loss by the field's parameters, by name; no parameter moves.

        Gradients by the pictures go into the camera optimizer's own array.
        """
        ...

    def descend(self, step: TrainingStep, gradients: Mapping[str, Tensor]) -> None:
        """Moves the parameters by Adam, down the gradients that `gradients` returned for the same step."""

    def step(self, step: TrainingStep) -> StepResult:
        """Takes a whole step. Where the loss is not finite nothing is moved."""
        ...

    def most_samples(self) -> int | None:
        """Returns how many samples a step can have in the memory that is free; None for no limit of the engine's."""
        ...

    def update_occupancy(self, update: OccupancyUpdate) -> None:
        """Updates the occupancy grid, see `OccupancyGrid.update`."""

    def render(self, rays: RayBatch, step_length: float) -> tuple[Tensor, Tensor, Tensor]:
        """Returns colour over black (R, 3), opacity (R,) and depth (R,) of R rays. step_length: scene units."""
        ...

    def render_vjp(
        self, rays: RayBatch, step_length: float, grads: Sequence[Tensor], needed: Mapping[str, bool]
    ) -> dict[str, Tensor]:
        """Returns the gradients that are needed from those by what `render` returns.

        They are named origin, direction, code, and as the field's parameters. More may be returned than are needed.
        """
        ...

    def surface(self, rays: Rays, step_length: float, level: float) -> Tensor:
        """Returns the distance (R,) at which `level` of the light is left; infinite where more goes on."""
        ...

    def density(self, position: Tensor) -> Tensor:
        """Returns density (N,) per side of the box at positions (N, 3) in [0, 1]."""
        ...

    def state(self) -> dict[str, Tensor]:
        """Returns what the engine keeps from step to step beside parameters and moments, for the checkpoint."""
        ...

    def load_state(self, tensors: Mapping[str, Tensor]) -> None:
        """Takes over what `state` returned; a checkpoint of another engine may lack it."""


EngineMaker = Callable[["RadianceModel"], RadianceEngine]


class ChangeTracker:
    """What an engine has taken over of a model: tells when somebody else has changed it. Asked at every step."""

    def __init__(self, model: RadianceModel, others: Sequence[Tensor] = ()) -> None:
        self._box = model.box
        self._modules = (model.field, model.occupancy)
        self._limits = _limits(model)
        modules = [module for part in self._modules for module in part.modules()]
        kept = [names for module in modules for names in (module._modules, module._parameters, module._buffers)]
        self._things = [(names, name, thing) for names in kept for name, thing in names.items()]
        tensors = [thing for _, _, thing in self._things if isinstance(thing, Tensor)]
        self._addresses = [(tensor, tensor.data_ptr()) for tensor in tensors]
        self._tensors = [*tensors, *others]
        self.remember()

    def remember(self) -> None:
        """Takes what the tensors hold now for known."""
        self._versions = [tensor._version for tensor in self._tensors]

    def written(self) -> bool:
        """Whether somebody wrote into the tensors: torch counts it; what an engine writes it does not see."""
        return self._versions != [tensor._version for tensor in self._tensors]

    def moved(self, model: RadianceModel) -> bool:
        """Whether the model has another box, other limits, or tensors elsewhere."""
        return (
            model.box is not self._box
            or (model.field, model.occupancy) != self._modules
            or _limits(model) != self._limits
            or any(names.get(name) is not thing for names, name, thing in self._things)
            or any(tensor.data_ptr() != address for tensor, address in self._addresses)
        )


def _limits(model: RadianceModel) -> tuple[float, float]:
    """Returns the settings that an engine keeps of a model; the length of its steps is not one of them."""
    return model.settings.minimum_transmittance, model.settings.minimum_weight
