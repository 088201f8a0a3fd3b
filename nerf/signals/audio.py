"""Sounds: time -> amplitude. A sound is scaled to its peak; SNR is of the whole, over all channels."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor

from nerf.errors import InputError
from nerf.fields.coordinate import CoordinateField
from nerf.signals.files.sounds import read_sound, write_sound
from nerf.signals.settings import FitSettings, SignalDefaults
from nerf.signals.signal import DecodeRequest, Signal, decibels, recorded_size

LONGEST_OUTPUT = 2**30  # samples


class Audio(Signal):
    """A sound."""

    # Sound oscillates thousands of times a second: frequencies that suit a picture see none of it.
    defaults: ClassVar[SignalDefaults] = {
        "any": {"train": {"samples": 2**14}},
        "hash": {
            "field": {
                "levels": 10,
                "features_per_level": 2,
                "log2_table_size": 14,
                "base_resolution": 256,
                "finest_resolution": 2**16,
                "width": 32,
                "layers": 1,
            }
        },
        "siren": {"field": {"omega": 3000.0}},
        "encoding": {"field": {"octaves": 18}},
        "fourier": {"field": {"fourier_scale": 4000.0}},
    }
    figure = "snr"
    options = ("rate",)
    suffix = ".wav"
    inputs = 1

    values: Tensor  # (T, channels) by the peak; absent of a recalled sound
    power: float  # mean square of the values; absent of a recalled sound

    def __init__(self, samples: int, channels: int, rate: int, peak: float) -> None:
        """samples: T. rate: samples a second. peak: largest amplitude of the file."""
        self.samples = samples
        self.outputs = channels
        self.rate = rate
        self.peak = peak

    @classmethod
    def read(cls, file: Path, settings: FitSettings) -> Audio:
        """Returns the sound in a file."""
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
        """Returns the form of a fitted sound."""
        samples, channels, rate = (recorded_size(record, name) for name in ("samples", "channels", "rate"))
        return cls(samples, channels, rate, float(record["peak"]))

    def record(self) -> dict[str, Any]:
        """Returns the form of the sound."""
        return {"samples": self.samples, "channels": self.outputs, "rate": self.rate, "peak": self.peak}

    def describe(self) -> str:
        """Returns what was read, in words."""
        return f"{self.samples / self.rate:.2f} s at {self.rate} Hz, {self.outputs} channel{'s' * (self.outputs > 1)}"

    def loss(self, field: CoordinateField, n_samples: int, random: torch.Generator) -> tuple[Tensor, float]:
        """Returns the mean squared error of random samples, and that as a part of the power."""
        index = torch.randint(self.samples, (n_samples,), generator=random)
        error = (field((index[:, None] + 0.5) / self.samples) - self.values[index]).square().mean()
        return error, error.item() / self.power

    def render(self, field: CoordinateField, count: int) -> Tensor:
        """Returns (count, channels), amplitudes of the file, at evenly spread times."""
        time = (torch.arange(count, dtype=torch.float64)[:, None] + 0.5) / count
        return field.values(time.float()) * self.peak

    def evaluate(self, field: CoordinateField) -> dict[str, Any]:
        """Returns snr, and how many numbers the source holds."""
        error = self.render(field, self.samples) / self.peak - self.values
        part = error.double().square().mean().item() / self.power
        return {"snr": decibels(part), "source_samples": self.samples * self.outputs}

    def export(self, field: CoordinateField, file: Path, request: DecodeRequest) -> str:
        """Writes the sound as .wav, at any rate."""
        rate = round(request.rate) or self.rate
        count = round(self.samples * rate / self.rate)
        if not 1 <= count <= LONGEST_OUTPUT:
            raise InputError(f"--rate {rate}: {count} samples; expected 1 to {LONGEST_OUTPUT}")
        write_sound(file, self.render(field, count), rate)
        return f"sound: {file} ({count / rate:.2f} s at {rate} Hz)"
