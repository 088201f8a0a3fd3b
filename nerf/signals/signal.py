"""One core for every signal: its class says what is drawn and compared; the rest is the same for all.

A signal is a subclass of `Signal` with a row in `nerf.signals.registry`. Fitting calls, in this order: `read`,
`record`, `loss` at every step, `evaluate`, `export`. Decoding a run needs no source: it calls `recall` and `export`.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor

from nerf.checkpoints import checked
from nerf.errors import InputError
from nerf.fields.coordinate import CoordinateField
from nerf.memory import INTERPRETER_BYTES
from nerf.seeding import generator
from nerf.signals.settings import FitSettings, SignalDefaults
from nerf.text import short
from nerf.training.adam import Adam
from nerf.training.trainer import StepFigures

LARGEST_SIZE = 2**40  # that a record may name: of a sound's samples; other limits are stricter, and come later


@dataclass(frozen=True)
class DecodeRequest:
    """What is asked of a decoded file; 0 or None: as the source."""

    size: tuple[int, int] | None = None  # (width, height) of pictures
    region: tuple[float, float, float, float] | None = None  # (x0, y0, x1, y1), parts, from the upper left corner
    rate: float = 0.0  # samples or frames a second
    resolution: int = 0  # cells along the longest side of meshes and volumes


class Signal(ABC):
    """A signal that a field is fitted to."""

    defaults: ClassVar[SignalDefaults] = {"hash": {}}  # its own settings, by field
    figure: ClassVar[str] = "psnr"  # or snr: the name of -10 log10 of a step's error; `evaluate` returns it too
    options: ClassVar[tuple[str, ...]] = ()  # attributes of `DecodeRequest` that it can answer

    suffix: str  # of the file that decoding writes unless told
    inputs: int  # D, dimensions of a position
    outputs: int  # C, numbers of a value
    samples: int  # how many there are to draw from

    @classmethod
    @abstractmethod
    def read(cls, file: Path, settings: FitSettings) -> Signal:
        """Returns the signal of a file, with its samples.

        Raises:
            InputError: the file does not hold such a signal, or is damaged.
        """

    @classmethod
    @abstractmethod
    def recall(cls, record: dict[str, Any], settings: FitSettings) -> Signal:
        """Returns the signal of what `record` said, without samples: enough for `export`."""

    @abstractmethod
    def record(self) -> dict[str, Any]:
        """Returns what the field does not hold and `export` needs, as JSON has it."""

    @abstractmethod
    def loss(self, field: CoordinateField, n_samples: int, random: torch.Generator) -> tuple[Tensor, float]:
        """Returns the loss on random samples, a scalar to descend, and the error that the display shows in dB.

        The error is a mean square as a part of the signal's peak (psnr) or of its power (snr).
        """

    @abstractmethod
    def evaluate(self, field: CoordinateField) -> dict[str, Any]:
        """Returns the figures of merit for metrics.json, of the whole signal."""

    @abstractmethod
    def export(self, field: CoordinateField, file: Path, request: DecodeRequest) -> str:
        """Writes the signal to a file and returns what it wrote, in words.

        Raises:
            InputError: the file's format or the request does not suit the signal.
        """

    def describe(self) -> str:
        """Returns what was read, in words."""
        return f"{self.samples} samples, {self.inputs} -> {self.outputs}"


class SignalTask:
    """A field, the signal it learns, and its optimiser: what `nerf.training.trainer.Trainer` trains."""

    counted = "samples"  # what the display counts

    def __init__(self, signal: Signal, settings: FitSettings, backend: str = "reference") -> None:
        self.signal = signal
        self.settings = settings
        self.figure = signal.figure
        self.field = new_field(signal, settings, backend)
        self.adam = Adam(dict(self.field.named_parameters()), settings.optimizer)

    def train_step(self, step: int, progress: float) -> StepFigures:
        """Takes optimiser step number `step` (from 0), `progress` in [0, 1] through the training.

        Raises:
            InputError: the loss is not a finite number.
        """
        train = self.settings.train
        loss, error = self.signal.loss(self.field, train.samples, generator(train.seed, "step", step))
        if not (math.isfinite(error) and math.isfinite(loss.item())):
            raise InputError(
                f"training diverged at step {step}: the loss is {error}; train again with a lower "
                f"optimizer.learning_rate than {self.settings.optimizer.learning_rate:g}"
            )
        self.adam.descend(loss, progress)
        return StepFigures(error, 0, train.samples)

    def state(self) -> dict[str, Tensor]:
        """Returns every tensor that training changes, by name."""
        return field_state(self.field) | self.adam.state()

    def load_state(self, tensors: dict[str, Tensor]) -> None:
        """Takes over a state that `state` returned, exactly."""
        load_field_state(self.field, tensors)
        self.adam.load_state(tensors)

    def memory(self) -> int:
        """Returns an estimate in bytes: the interpreter, samples, parameters with moments, and one batch's numbers."""
        settings = self.settings.field
        parameters = sum(value.numel() * value.element_size() for value in self.state().values())
        encoded = getattr(self.field.encoding, "width", self.field.inputs)
        per_sample = 4 * (4 * encoded + 4 * settings.width * settings.layers + 4 * self.field.outputs)
        samples = 8 * self.signal.samples * (self.field.inputs + self.field.outputs)
        return INTERPRETER_BYTES + samples + 2 * parameters + self.settings.train.samples * per_sample


def decibels(error: float) -> float:
    """Returns -10 log10 of a mean squared error, a part of the squared peak (psnr) or of the power (snr)."""
    return -10 * math.log10(error) if error > 0 else math.inf


def new_field(signal: Signal, settings: FitSettings, backend: str) -> CoordinateField:
    """Returns a field of a signal with its first parameters, drawn from the seed."""
    random = generator(settings.train.seed, "parameters")
    return CoordinateField(settings.field, signal.inputs, signal.outputs, random, backend)


def field_shapes(signal: Signal, settings: FitSettings) -> dict[str, torch.Size]:
    """Returns the shapes of a field's tensors by name, as `field_state` has them; takes no memory."""
    with torch.device("meta"):
        field = CoordinateField(settings.field, signal.inputs, signal.outputs, torch.Generator())
    return {f"field.{name}": value.shape for name, value in field.state_dict().items()}


def field_state(field: CoordinateField) -> dict[str, Tensor]:
    """Returns the tensors of a field by name, ``field.*``."""
    return {f"field.{name}": value.detach() for name, value in field.state_dict().items()}


def load_field_state(field: CoordinateField, tensors: dict[str, Tensor]) -> None:
    """Takes over the tensors of a field, exactly.

    Raises:
        InputError: a tensor is missing, has another shape than the settings say, or is not finite.
    """
    for name, value in field.state_dict().items():
        value.copy_(checked(tensors, f"field.{name}", value.shape))


def recorded_size(record: dict[str, Any], name: str) -> int:
    """Returns a number of a record that becomes a size.

    Raises:
        ValueError: it is no whole number from 1 to LARGEST_SIZE.
    """
    value = record[name]
    if isinstance(value, bool) or value != int(value) or not 1 <= value <= LARGEST_SIZE:
        raise ValueError(f"{name} is {short(value)}, expected a whole number from 1 to {LARGEST_SIZE}")
    return int(value)
