"""Adam on named parameters, annealed by the progress; its state travels in checkpoints."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from nerf.config import OptimizerSettings
from nerf.runs import checked


class Adam:
    """Adam (Kingma and Ba 2015), its rate falling exponentially with the progress."""

    def __init__(self, parameters: Mapping[str, nn.Parameter], settings: OptimizerSettings) -> None:
        self.parameters, self.settings = dict(parameters), settings
        self.optimizer = torch.optim.Adam(
            self.parameters.values(),
            lr=settings.learning_rate,
            eps=settings.epsilon,
            betas=(settings.beta1, settings.beta2),
            fused=True,
        )
        for parameter in self.parameters.values():
            self.optimizer.state[parameter] = {
                "step": torch.zeros((), device=parameter.device),
                "exp_avg": torch.zeros_like(parameter),
                "exp_avg_sq": torch.zeros_like(parameter),
            }

    def descend(self, loss: Tensor, progress: float) -> None:
        """Takes a step down the gradient of a scalar loss."""
        self.optimizer.param_groups[0]["lr"] = self.settings.learning_rate * self.settings.final_factor**progress
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()

    def moments(self) -> dict[str, dict[str, Tensor]]:
        """Returns Adam's own tensors: step, exp_avg and exp_avg_sq by parameter."""
        return {name: self.optimizer.state[parameter] for name, parameter in self.parameters.items()}

    def state(self) -> dict[str, Tensor]:
        """Returns the moments by name, ``adam.<parameter>.<moment>``."""
        return {f"adam.{name}.{key}": value for name, own in self.moments().items() for key, value in own.items()}

    def load_state(self, tensors: Mapping[str, Tensor]) -> None:
        """Takes over moments that `state` returned, exactly."""
        for name, value in self.state().items():
            value.copy_(checked(tensors, name, value.shape))
