"""The audio task: time -> amplitude. A sound is scaled to its peak; SNR is of the whole, over all channels."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor

from nerf.errors import InputError
from nerf.fields.coordinate import SignalField
from nerf.signals.files.sounds import read_sound, write_sound
from nerf.signals.settings import FitSettings
from nerf.signals.signal import DecodeRequest, Signal

LONGEST_OUTPUT = 2**30  # samples


class Audio(Signal):
    """A sound. values: (T, channels) by its peak, absent if only its form is known."""

    figure, suffix = "snr", ".wav"
    options: ClassVar = ("rate",)
    inputs = 1

    def __init__(self, samples: int, channels: int, rate: int, peak: float) -> None:
        self.samples, self.outputs, self.rate, self.peak = samples, channels, rate, peak
        self.values: Tensor | None = None
        self.power = 0.0

    @classmethod
    def read(cls, file: Path, settings: FitSettings) -> Audio:
        sound, rate = read_sound(file)
        peak = sound.abs().max().item()
        if peak == 0:
            raise InputError(f"{file}: silence; there is nothing to fit")
        self = cls(len(sound), sound.shape[1], rate, peak)
        self.values = sound / peak
        self.power = self.values.square().mean().item()
        return self

    @classmethod
    def recall(cls, record: dict[str, Any], settings: FitSettings) -> Audio:
        return cls(int(record["samples"]), int(record["channels"]), int(record["rate"]), float(record["peak"]))

    def record(self) -> dict[str, Any]:
        return {"samples": self.samples, "channels": self.outputs, "rate": self.rate, "peak": self.peak}

    def describe(self) -> str:
        return f"{self.samples / self.rate:.2f} s at {self.rate} Hz, {self.outputs} channel{'s' * (self.outputs > 1)}"

    def loss(self, field: SignalField, n_samples: int, random: torch.Generator) -> tuple[Tensor, float]:
        index = torch.randint(self.samples, (n_samples,), generator=random)
        error = (field((index[:, None] + 0.5) / self.samples) - self.values[index]).square().mean()
        return error, error.item() / self.power

    def render(self, field: SignalField, count: int) -> Tensor:
        """Returns (count, channels), amplitudes of the file, at evenly spread times."""
        time = (torch.arange(count, dtype=torch.float64)[:, None] + 0.5) / count
        return field.values(time.float()) * self.peak

    def evaluate(self, field: SignalField) -> dict[str, Any]:
        error = self.render(field, self.samples) / self.peak - self.values
        part = error.double().square().mean().item() / self.power
        return {"snr": -10 * math.log10(part) if part > 0 else math.inf, "source_samples": self.samples * self.outputs}

    def export(self, field: SignalField, file: Path, request: DecodeRequest) -> str:
        rate = round(request.rate) or self.rate
        count = round(self.samples * rate / self.rate)
        if not 1 <= count <= LONGEST_OUTPUT:
            raise InputError(f"--rate {rate}: {count} samples; expected 1 to {LONGEST_OUTPUT}")
        write_sound(file, self.render(field, count), rate)
        return f"sound: {file} ({count / rate:.2f} s at {rate} Hz)"
