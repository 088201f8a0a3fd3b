"""Where pictures show what was there for a moment alone: people who walk by, the photographer's shadow.

What one picture shows and the others do not, the scene cannot learn but as a cloud before that picture's camera. It is
known by its error, which stays large over a whole patch while the rest is learned. A map of squares remembers the
errors of each picture's rays; squares whose error, a mean with their neighbours, is far beyond what most squares have
weigh nothing until it is less: all are drawn and looked at on, so that what was condemned too early comes back.

Source: after Sabour et al. 2023 (RobustNeRF), who trim the errors of a batch's patches by a quantile.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from nerf.checkpoints import checked
from nerf.scenes import Views
from nerf.training.pixel_sampler import PixelWeights

SQUARES = 64  # along the longer side of a picture
EVERY = 16  # steps between two looks at the map
MEMORY = 8.0  # rays by which a square's error is remembered
MOST = 0.9  # of the squares: what is usual
FACTOR = 5.0  # beyond the error that most squares do not exceed
STATE = ("transients.weight", "transients.error", "transients.rays", "transients.new_error", "transients.new_rays")


class Transients:
    """The errors of F pictures by squares, and what their pixels weigh by that; `weights` change in place."""

    def __init__(self, views: Views) -> None:
        frames, self._height, self._width, _ = views.images.shape
        scale = -(-max(self._height, self._width) // SQUARES)
        shape = frames, -(-self._height // scale), -(-self._width // scale)
        self.weights = PixelWeights(torch.ones(shape), scale)
        self._error = torch.zeros(shape)  # mean of the rays remembered
        self._rays = torch.zeros(shape)  # how many these are
        self._new_error = torch.zeros(shape)  # sum over the rays since the last look
        self._new_rays = torch.zeros(shape)

    def observe(self, number: int, pixel: Tensor, error: Tensor) -> None:
        """Takes the photometric errors (R,) of step `number` (from 1).

        pixel: (R,) int64, (frame * height + row) * width + column.
        """
        _, rows, columns = self._error.shape
        scale = self.weights.scale
        column = pixel % self._width // scale
        row = pixel // self._width % self._height // scale
        square = (pixel // (self._width * self._height) * rows + row) * columns + column
        self._new_error.view(-1).index_add_(0, square, error)
        self._new_rays.view(-1).index_add_(0, square, torch.ones_like(error))
        if number % EVERY == 0:
            self._look()

    def _look(self) -> None:
        kept = self._rays.clamp(max=MEMORY)
        self._rays = kept + self._new_rays
        self._error = (kept * self._error + self._new_error) / self._rays.clamp(min=1)
        self._new_error.zero_()
        self._new_rays.zero_()
        self.weights.weight.copy_(self._weight())

    def smoothed(self) -> Tensor:
        """Returns the error of each square, a mean with its neighbours, by rays."""
        total, rays = (
            torch.nn.functional.avg_pool2d(value[:, None], 3, 1, 1, divisor_override=1)[:, 0]
            for value in (self._error * self._rays, self._rays)
        )
        return total / rays.clamp(min=1)

    def _weight(self) -> Tensor:
        error = self.smoothed()
        usual = error[self._rays > 0].sort().values
        limit = FACTOR * usual[int(MOST * (len(usual) - 1))]
        return (error <= limit).float()

    def state(self) -> dict[str, Tensor]:
        """Returns what a step changes, by name."""
        values = self.weights.weight, self._error, self._rays, self._new_error, self._new_rays
        return dict(zip(STATE, values))

    def load_state(self, tensors: Mapping[str, Tensor]) -> None:
        """Takes over a state that `state` returned, exactly."""
        for name, tensor in self.state().items():
            tensor.copy_(checked(tensors, name, tensor.shape))

    def found(self) -> str:
        """Returns a line for the user that says how much was discounted."""
        part = (self.weights.weight == 0).float().mean(dim=(1, 2))
        return f"transients: {part.mean():.1%} of the pictures discounted, {part.max():.1%} of one at most"
