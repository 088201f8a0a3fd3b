"""Films: (x, y, t) -> colour. x and y are pixels / the longer side, t is the part of the film."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor

from nerf.errors import InputError
from nerf.fields.coordinate import CoordinateField
from nerf.signals.files.films import MOST_VALUES, Film, read_film, write_film
from nerf.signals.settings import FitSettings, SignalDefaults
from nerf.signals.signal import DecodeRequest, Signal, decibels, recorded_size


class Video(Signal):
    """A film."""

    defaults: ClassVar[SignalDefaults] = {
        "hash": {"field": {"log2_table_size": 15, "finest_resolution": 512, "layers": 1}}
    }
    options = ("size", "rate")
    suffix = ".mp4"
    inputs = 3
    outputs = 3

    film: Film  # absent of a recalled one

    def __init__(self, size: tuple[int, int], count: int, rate: float) -> None:
        """size: (width, height). count: frames that are written at the rate, frames a second, of the film."""
        self.width, self.height = size
        self.count = count
        self.rate = rate
        self.samples = self.width * self.height * count
        self.side = max(self.width, self.height)

    @classmethod
    def read(cls, file: Path, settings: FitSettings) -> Video:
        """Returns the film in a file, or its first frames."""
        film = read_film(file, settings.video.frames)
        size = (film.frames.shape[2], film.frames.shape[1])
        self = cls(size, max(1, round(film.seconds * film.rate)), film.rate)
        self.film = film
        self.samples = self.width * self.height * len(film.frames)
        return self

    @classmethod
    def recall(cls, record: dict[str, Any], settings: FitSettings) -> Video:
        """Returns the form of a fitted film."""
        width, height, frames = (recorded_size(record, name) for name in ("width", "height", "frames"))
        return cls((width, height), frames, float(record["rate"]))

    def record(self) -> dict[str, Any]:
        """Returns the form of the film."""
        return {"width": self.width, "height": self.height, "frames": self.count, "rate": self.rate}

    def describe(self) -> str:
        """Returns what was read, in words."""
        read = f"{len(self.film.frames)} frames of {self.width} x {self.height}"
        if self.film.even:
            return f"{read}, {self.rate:g} a second"
        return f"{read} at a variable rate, {self.film.seconds:.2f} s; written at {self.rate:g} a second"

    def _times(self, frame: Tensor, part: Tensor | float) -> Tensor:
        """Returns times (N,), parts of the film, at parts of how long frames (N,) are shown."""
        if self.film.even:
            return (frame + 0.5) / len(self.film.frames)
        start = self.film.start[frame]
        return ((start + part * (self.film.start[frame + 1] - start)) / self.film.seconds).float()

    def loss(self, field: CoordinateField, n_samples: int, random: torch.Generator) -> tuple[Tensor, float]:
        """Returns the mean squared error of random pixels of random frames, twice.

        A frame of an even film belongs to the middle of its time, so that others may be found between; one of a
        variable rate to all of its time, which may be long.
        """
        index = torch.randint(self.samples, (n_samples,), generator=random)
        column = index % self.width
        row = index // self.width % self.height
        frame = index // (self.width * self.height)

        x = (column + 0.5) / self.side
        y = (row + 0.5) / self.side
        part = 0.5 if self.film.even else torch.rand(n_samples, generator=random)
        target = self.film.frames.view(-1, 3)[index].float() / 255
        error = (field(torch.stack([x, y, self._times(frame, part)], dim=1)) - target).square().mean()
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
        times = self._times(torch.arange(len(self.film.frames)), 0.5)
        for time, truth in zip(times.tolist(), self.film.frames):
            ours = self.frame(field, time, (self.width, self.height))
            error += ((ours.double() - truth.double()) / 255).square().mean().item() / len(times)

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
