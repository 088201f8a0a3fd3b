"""The image task: pixel centres -> colours. Positions are pixels / the longer side, so that cells are square."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor

from nerf.errors import InputError
from nerf.fields.coordinate import SignalField
from nerf.rendering.metrics import psnr
from nerf.signals.files.pictures import read_picture, write_picture
from nerf.signals.settings import FitSettings, ImageSettings
from nerf.signals.signal import DecodeRequest, Signal

DARK = 0.1  # HDR light: errors of what is brighter count relatively, of what is darker absolutely
LARGEST_OUTPUT = 2**31  # values of a decoded picture


class Image(Signal):
    """A picture, of which some pixels may be unknown. pixels: (H, W, C), absent if only its form is known."""

    options: ClassVar = ("size", "region")

    def __init__(self, size: tuple[int, int], channels: int, hdr: bool, settings: ImageSettings) -> None:
        self.width, self.height = size
        self.outputs, self.hdr, self.area = channels, hdr, settings.area
        self.inputs, self.samples = 2, self.width * self.height
        self.suffix = ".exr" if hdr else ".png"
        self.pixels: Tensor | None = None
        self.known: Tensor | None = None  # indices of the pixels that may be drawn; None: all

    @classmethod
    def read(cls, file: Path, settings: FitSettings) -> Image:
        picture, hdr = read_picture(file)
        picture = _box_averaged(picture, settings.image.downscale, file)
        self = cls((picture.shape[1], picture.shape[0]), picture.shape[2], hdr, settings.image)
        self.pixels = picture.contiguous()
        if settings.image.mask:
            self.known = self._read_mask(Path(settings.image.mask), settings.image.downscale)
        return self

    def _read_mask(self, file: Path, downscale: int) -> Tensor:
        mask = _box_averaged(read_picture(file)[0][..., :3].mean(-1, keepdim=True), downscale, file)[..., 0]
        if mask.shape != (self.height, self.width):
            raise InputError(
                f"{file}: {mask.shape[1]} x {mask.shape[0]} pixels, the picture {self.width} x {self.height}"
            )
        known = (mask > 0.5).flatten().nonzero().squeeze(1)
        if len(known) == 0:
            raise InputError(f"{file}: black everywhere; white is where pixels are known")
        return known

    @classmethod
    def recall(cls, record: dict[str, Any], settings: FitSettings) -> Image:
        return cls(
            (int(record["width"]), int(record["height"])), int(record["channels"]), record["hdr"], settings.image
        )

    def record(self) -> dict[str, Any]:
        return {"width": self.width, "height": self.height, "channels": self.outputs, "hdr": self.hdr}

    def describe(self) -> str:
        known = "" if self.known is None else f", {len(self.known)} known"
        return f"{self.width} x {self.height} x {self.outputs}{', HDR' if self.hdr else ''}{known}"

    def loss(self, field: SignalField, n_samples: int, random: torch.Generator) -> tuple[Tensor, float]:
        per_pixel = self.area**2
        count = len(self.known) if self.known is not None else self.samples
        index = torch.randint(count, (max(1, n_samples // per_pixel),), generator=random)
        if self.known is not None:
            index = self.known[index]
        target = self.pixels.view(-1, self.outputs)[index]
        corner = torch.stack([index % self.width, index // self.width], dim=1).float()
        position = (corner[:, None] + self._places(len(index), random)) / max(self.width, self.height)
        value = self._light(field(position.view(-1, 2))).view(len(index), per_pixel, -1).mean(dim=1)
        if self.hdr:
            value, target = torch.asinh(value / DARK), torch.asinh(target / DARK)
        loss = (value - target).square().mean()
        return loss, loss.item()

    def _light(self, value: Tensor) -> Tensor:
        """Returns colours of the field's values: HDR light spans decades, so the field holds about its logarithm."""
        return DARK * torch.sinh(value) if self.hdr else value

    def _places(self, count: int, random: torch.Generator) -> Tensor:
        """Returns places inside pixels (count, area^2, 2) in [0, 1]: their centres, or one in each cell of a grid."""
        if self.area == 1:
            return torch.full((1, 1, 2), 0.5)
        line = torch.arange(self.area).float()
        cell = torch.stack(torch.meshgrid(line, line, indexing="xy"), dim=-1).view(1, -1, 2)
        return (cell + torch.rand(count, self.area**2, 2, generator=random)) / self.area

    def render(self, field: SignalField, size: tuple[int, int], region: tuple[float, float, float, float]) -> Tensor:
        """Returns the field at the pixel centres of a picture (h, w, C) of a region, parts of the whole picture."""
        width, height = size
        scale = torch.tensor([self.width, self.height]) / max(self.width, self.height)
        x = region[0] + (torch.arange(width) + 0.5) / width * (region[2] - region[0])
        picture = torch.empty(height, width, self.outputs)
        rows = max(1, 2**18 // width)
        for start in range(0, height, rows):
            y = torch.arange(start, min(start + rows, height)) + 0.5
            y = region[1] + y / height * (region[3] - region[1])
            place = torch.stack(torch.meshgrid(x, y, indexing="xy"), dim=-1).view(-1, 2) * scale
            picture[start : start + len(y)] = self._light(field.values(place.clamp(0, 1))).view(len(y), width, -1)
        return picture

    def evaluate(self, field: SignalField) -> dict[str, Any]:
        picture = self.render(field, (self.width, self.height), (0, 0, 1, 1))
        if self.hdr:
            relative = (picture - self.pixels) / (self.pixels.abs() + DARK)
            tone = lambda value: value.clamp(min=0) / (1 + value.clamp(min=0))  # noqa: E731
            return {"psnr": psnr(tone(picture), tone(self.pixels)), "relative_mse": relative.square().mean().item()}
        picture = (picture.clamp(0, 1) * 255).round() / 255
        if self.known is None:
            return {"psnr": psnr(picture, self.pixels)}
        unknown = torch.ones(self.samples, dtype=torch.bool)
        unknown[self.known] = False
        ours, truth = picture.view(-1, self.outputs), self.pixels.view(-1, self.outputs)
        scores = {"psnr": psnr(ours[~unknown], truth[~unknown])}
        return scores | ({"psnr_unknown": psnr(ours[unknown], truth[unknown])} if unknown.any() else {})

    def export(self, field: SignalField, file: Path, request: DecodeRequest) -> str:
        region = request.region or (0.0, 0.0, 1.0, 1.0)
        if not (0 <= region[0] < region[2] <= 1 and 0 <= region[1] < region[3] <= 1):
            raise InputError("--region: expected 0 <= X0 < X1 <= 1 and 0 <= Y0 < Y1 <= 1")
        own = (self.width * (region[2] - region[0]), self.height * (region[3] - region[1]))
        size = request.size or (max(1, round(own[0])), max(1, round(own[1])))
        if size[0] * size[1] * self.outputs > LARGEST_OUTPUT:
            raise InputError(f"--size {size[0]}x{size[1]}: more than memory should hold; decode it by --region")
        write_picture(file, self.render(field, size, region), self.hdr)
        return f"picture: {file} ({size[0]} x {size[1]})"


def _box_averaged(picture: Tensor, factor: int, file: Path) -> Tensor:
    """Returns means over factor x factor boxes of (H, W, C); rows and columns that fill no box are cut off."""
    height, width = picture.shape[0] // factor, picture.shape[1] // factor
    if min(height, width) == 0:
        raise InputError(f"{file}: smaller than image.downscale {factor}")
    boxes = picture[: height * factor, : width * factor].view(height, factor, width, factor, -1)
    return boxes.mean(dim=(1, 3))
