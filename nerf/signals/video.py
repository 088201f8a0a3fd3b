"""Films: (x, y, t) -> colour. x and y are pixels / the longer side, t is the part of the film."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor

from nerf.errors import InputError
from nerf.fields.coordinate import CoordinateField
from nerf.signals.files.films import MOST_VALUES, read_film, write_film
from nerf.signals.settings import FitSettings, SignalDefaults
from nerf.signals.signal import DecodeRequest, Signal, decibels


class Video(Signal):
    """A film."""

    defaults: ClassVar[SignalDefaults] = {
        "hash": {"field": {"log2_table_size": 15, "finest_resolution": 512, "layers": 1}}
    }
    options = ("size", "rate")
    suffix = ".mp4"
    inputs = 3
    outputs = 3

    frames: Tensor  # (F, H, W, 3) uint8; absent of a recalled film

    def __init__(self, size: tuple[int, int], count: int, rate: float) -> None:
        """size: (width, height). count: F. rate: frames a second."""
        self.width, self.height = size
        self.count = count
        self.rate = rate
        self.samples = self.width * self.height * count
        self.side = max(self.width, self.height)

    @classmethod
    def read(cls, file: Path, settings: FitSettings) -> Video:
        """Returns the film in a file, or its first frames."""
        frames, rate = read_film(file, settings.video.frames)
        self = cls((frames.shape[2], frames.shape[1]), len(frames), rate)
        self.frames = frames
        return self

    @classmethod
    def recall(cls, record: dict[str, Any], settings: FitSettings) -> Video:
        """Returns the form of a fitted film."""
        return cls((int(record["width"]), int(record["height"])), int(record["frames"]), float(record["rate"]))

    def record(self) -> dict[str, Any]:
        """Returns the form of the film."""
        return {"width": self.width, "height": self.height, "frames": self.count, "rate": self.rate}

    def describe(self) -> str:
        """Returns what was read, in words."""
        return f"{self.count} frames of {self.width} x {self.height}, {self.rate:g} a second"

    def loss(self, field: CoordinateField, n_samples: int, random: torch.Generator) -> tuple[Tensor, float]:
        """Returns the mean squared error of random pixels of random frames, twice."""
        index = torch.randint(self.samples, (n_samples,), generator=random)
        column = index % self.width
        row = index // self.width % self.height
        frame = index // (self.width * self.height)

        x = (column + 0.5) / self.side
        y = (row + 0.5) / self.side
        time = (frame + 0.5) / self.count
        target = self.frames.view(-1, 3)[index].float() / 255
        error = (field(torch.stack([x, y, time], dim=1)) - target).square().mean()
        return error, error.item()

    def frame(self, field: CoordinateField, time: float, size: tuple[int, int]) -> Tensor:
        """Returns the frame (h, w, 3) uint8 at a part of the film."""
        width, height = size
        x = (torch.arange(width) + 0.5) / width * (self.width / self.side)
        y = (torch.arange(height) + 0.5) / height * (self.height / self.side)
        position = torch.stack(torch.meshgrid(x, y, torch.tensor([time]), indexing="xy"), dim=-1).view(-1, 3)
        return (field.values(position).clamp(0, 1) * 255 + 0.5).to(torch.uint8).view(height, width, 3)

    def evaluate(self, field: CoordinateField) -> dict[str, Any]:
        """Returns psnr over all frames, and the bytes of the film and of the field."""
        error = 0.0
        for index, truth in enumerate(self.frames):
            ours = self.frame(field, (index + 0.5) / self.count, (self.width, self.height))
            error += ((ours.double() - truth.double()) / 255).square().mean().item() / self.count

        numbers = sum(parameter.numel() for parameter in field.parameters())
        return {
            "psnr": decibels(error),
            "raw_bytes": self.samples * 3,
            "field_bytes": 4 * numbers,  # float32, as the checkpoint holds them beside Adam's moments
        }

    def export(self, field: CoordinateField, file: Path, request: DecodeRequest) -> str:
        """Writes the film at any size and rate."""
        width, height = request.size or (self.width, self.height)
        rate = request.rate or self.rate
        count = max(1, round(self.count * rate / self.rate))
        if count * width * height * 3 > MOST_VALUES:
            raise InputError(f"{file}: {count} frames of {width} x {height} are too many; lower --size or --rate")

        frames = [self.frame(field, (index + 0.5) / count, (width, height)) for index in range(count)]
        write_film(file, torch.stack(frames), rate)
        return f"film: {file} ({count} frames of {width} x {height}, {rate:g} a second)"
