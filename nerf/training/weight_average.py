"""A running average of the weights over the steps (post-hoc EMA): the result of training, without its last noise."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

POWER = 7.0  # of a step's number: how fast its share in the average grows
EVERY = 32  # steps between two that are taken into the average


class WeightAverage:
    """The mean of parameters over a training, later steps weighing more (Karras et al. 2024, section 3.1).

    A step's share grows with a power of its number, so that at any moment the mean is over about the last eighth of the
    steps so far: the end need not be known, and the rate need not fall towards it.
    """

    def __init__(self, parameters: Mapping[str, Tensor]) -> None:
        self.parameters = dict(parameters)
        self.mean = {name: parameter.detach().clone() for name, parameter in self.parameters.items()}

    @staticmethod
    def due(step: int) -> bool:
        """Whether the parameters after `step` steps (from 1) are taken: at first after 1, 2, 4 and so on."""
        return step % EVERY == 0 or step & (step - 1) == 0

    @torch.no_grad()
    def take(self, step: int) -> None:
        """Takes the parameters as they are after `step` steps, which are due."""
        before = step // 2 if step <= EVERY else step - EVERY
        share = 1 - (before / step) ** (POWER + 1)
        for name, mean in self.mean.items():
            mean.lerp_(self.parameters[name], share)
