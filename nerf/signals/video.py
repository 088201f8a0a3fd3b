"""The video task: (x, y, t) -> colour. x and y are pixels / the longer side, t is the part of the film."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor

from nerf.errors import InputError
from nerf.fields.coordinate import SignalField
from nerf.signals.files.films import MOST_VALUES, read_film, write_film
from nerf.signals.settings import FitSettings
from nerf.signals.signal import DecodeRequest, Signal


class Video(Signal):
    """A film. frames: (F, H, W, 3) uint8, absent if only its form is known."""

    options: ClassVar = ("size", "rate")
    suffix = ".mp4"
    inputs, outputs = 3, 3

    def __init__(self, size: tuple[int, int], count: int, rate: float) -> None:
        (self.width, self.height), self.count, self.rate = size, count, rate
        self.samples = self.width * self.height * count
        self.side = max(self.width, self.height)
        self.frames: Tensor | None = None

    @classmethod
    def read(cls, file: Path, settings: FitSettings) -> Video:
        frames, rate = read_film(file, settings.video.frames)
        self = cls((frames.shape[2], frames.shape[1]), len(frames), rate)
        self.frames = frames
        return self

    @classmethod
    def recall(cls, record: dict[str, Any], settings: FitSettings) -> Video:
        return cls((int(record["width"]), int(record["height"])), int(record["frames"]), float(record["rate"]))

    def record(self) -> dict[str, Any]:
        return {"width": self.width, "height": self.height, "frames": self.count, "rate": self.rate}

    def describe(self) -> str:
        return f"{self.count} frames of {self.width} x {self.height}, {self.rate:g} a second"

    def loss(self, field: SignalField, n_samples: int, random: torch.Generator) -> tuple[Tensor, float]:
        index = torch.randint(self.samples, (n_samples,), generator=random)
        column, row = index % self.width, index // self.width % self.height
        frame = index // (self.width * self.height)
        place = torch.stack([(column + 0.5) / self.side, (row + 0.5) / self.side, (frame + 0.5) / self.count], dim=1)
        target = self.frames.view(-1, 3)[index].float() / 255
        error = (field(place) - target).square().mean()
        return error, error.item()

    def frame(self, field: SignalField, time: float, size: tuple[int, int]) -> Tensor:
        """Returns the frame (h, w, 3) uint8 at a part of the film."""
        width, height = size
        x = (torch.arange(width) + 0.5) / width * (self.width / self.side)
        y = (torch.arange(height) + 0.5) / height * (self.height / self.side)
        place = torch.stack(torch.meshgrid(x, y, torch.tensor([time]), indexing="xy"), dim=-1).view(-1, 3)
        return (field.values(place).clamp(0, 1) * 255 + 0.5).to(torch.uint8).view(height, width, 3)

    def evaluate(self, field: SignalField) -> dict[str, Any]:
        error = 0.0
        for index, truth in enumerate(self.frames):
            ours = self.frame(field, (index + 0.5) / self.count, (self.width, self.height))
            error += ((ours.double() - truth.double()) / 255).square().mean().item() / self.count
        numbers = sum(parameter.numel() for parameter in field.parameters())
        return {
            "psnr": -10 * math.log10(error) if error > 0 else math.inf,
            "raw_bytes": self.samples * 3,
            "field_bytes": 4 * numbers,  # float32, as the checkpoint holds them beside Adam's moments
        }

    def export(self, field: SignalField, file: Path, request: DecodeRequest) -> str:
        size, rate = request.size or (self.width, self.height), request.rate or self.rate
        count = max(1, round(self.count * rate / self.rate))
        if count * size[0] * size[1] * 3 > MOST_VALUES:
            raise InputError(f"{file}: {count} frames of {size[0]} x {size[1]} are too many; lower --size or --rate")
        frames = torch.stack([self.frame(field, (index + 0.5) / count, size) for index in range(count)])
        write_film(file, frames, rate)
        return f"film: {file} ({count} frames of {size[0]} x {size[1]}, {rate:g} a second)"
