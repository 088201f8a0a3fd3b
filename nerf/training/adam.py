"""Adam on named parameters; its moments travel in checkpoints."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from nerf.checkpoints import checked
from nerf.config import OptimizerSettings

MOMENTS = ("exp_avg", "exp_avg_sq")


def new_moments(parameters: Mapping[str, Tensor]) -> dict[str, dict[str, Tensor]]:
    """Returns Adam's first and second moments of parameters before any step: zeros, by MOMENTS and by name."""
    return {key: {name: torch.zeros_like(value) for name, value in parameters.items()} for key in MOMENTS}


def learning_rate(settings: OptimizerSettings, progress: float) -> float:
    """Returns the rate at a progress in [0, 1]: it falls exponentially from the first to the last."""
    return settings.learning_rate * settings.final_factor**progress


class Adam:
    """Adam (Kingma and Ba 2015), as torch computes it."""

    def __init__(
        self,
        parameters: Mapping[str, nn.Parameter],
        settings: OptimizerSettings,
        moments: Mapping[str, Mapping[str, Tensor]] | None = None,
    ) -> None:
        """moments: tensors of `new_moments` to keep the moments in; new ones if None."""
        self.parameters = dict(parameters)
        self.settings = settings
        moments = new_moments(self.parameters) if moments is None else moments
        self.optimizer = torch.optim.Adam(
            self.parameters.values(),
            lr=settings.learning_rate,
            eps=settings.epsilon,
            betas=(settings.beta1, settings.beta2),
            fused=True,
        )
        for name, parameter in self.parameters.items():
            step = torch.zeros((), device=parameter.device)
            self.optimizer.state[parameter] = {"step": step, **{key: moments[key][name] for key in MOMENTS}}

    def gradients(self, loss: Tensor) -> dict[str, Tensor]:
        """Returns the gradients of a scalar loss by name; other leaves get theirs in `.grad`."""
        self.optimizer.zero_grad()
        loss.backward()
        return {name: parameter.grad for name, parameter in self.parameters.items() if parameter.grad is not None}

    def step(self, gradients: Mapping[str, Tensor], number: int, rate: float) -> None:
        """Takes step `number` (from 1) down gradients that were found by name."""
        for name, parameter in self.parameters.items():
            parameter.grad = gradients.get(name)
            self.optimizer.state[parameter]["step"].fill_(number - 1)
        self._move(rate)

    def descend(self, loss: Tensor, progress: float) -> None:
        """Takes a step down the gradient of a scalar loss."""
        self.gradients(loss)
        self._move(learning_rate(self.settings, progress))

    def _move(self, rate: float) -> None:
        self.optimizer.param_groups[0]["lr"] = rate
        self.optimizer.step()

    def state(self) -> dict[str, Tensor]:
        """Returns step and moments by name, ``adam.<parameter>.<moment>``."""
        return {
            f"adam.{name}.{key}": value
            for name, parameter in self.parameters.items()
            for key, value in self.optimizer.state[parameter].items()
        }

    def load_state(self, tensors: Mapping[str, Tensor]) -> None:
        """Takes over moments that `state` returned, exactly."""
        for name, value in self.state().items():
            value.copy_(checked(tensors, name, value.shape))
