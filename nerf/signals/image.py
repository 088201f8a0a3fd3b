"""Pictures: pixel centres -> colours. Positions are pixels / the longer side, so that cells are square."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor

from nerf.errors import InputError
from nerf.fields.coordinate import CoordinateField
from nerf.rendering.metrics import psnr
from nerf.scenes.masks import shown_by_mask
from nerf.signals.files.budget import check_picture_memory
from nerf.signals.files.pictures import read_float_picture, write_float_picture
from nerf.signals.image_settings import ImageSettings
from nerf.signals.settings import FitSettings, SignalDefaults
from nerf.signals.signal import DecodeRequest, Signal, recorded_size

DARK = 0.1  # HDR light: errors of what is brighter count relatively, of what is darker absolutely
LARGEST_OUTPUT = 2**31  # values of a decoded picture
POSITIONS_AT_ONCE = 2**18  # of a decoded picture: whole rows


class Image(Signal):
    """A picture, of which some pixels may be unknown."""

    defaults: ClassVar[SignalDefaults] = {
        "any": {"train": {"samples": 2**11}},
        "hash": {"field": {"layers": 1}, "train": {"samples": 2**15}},
    }
    options = ("size", "region")
    inputs = 2

    pixels: Tensor  # (H, W, C) float32; absent of a recalled picture
    known: Tensor | None  # indices of the pixels that may be drawn; None: all

    def __init__(self, size: tuple[int, int], channels: int, hdr: bool, settings: ImageSettings) -> None:
        """size: (width, height). channels: C. hdr: linear light without a peak."""
        self.width, self.height = size
        self.outputs = channels
        self.hdr = hdr
        self.area = settings.area
        self.samples = self.width * self.height
        self.suffix = ".exr" if hdr else ".png"
        self.known = None

    @classmethod
    def read(cls, file: Path, settings: FitSettings) -> Image:
        """Returns the picture in a file."""
        check_picture_memory(file)
        picture, hdr = read_float_picture(file)
        picture = _box_averaged(picture, settings.image.downscale, file)
        height, width, channels = picture.shape

        self = cls((width, height), channels, hdr, settings.image)
        self.pixels = picture.contiguous()
        if settings.image.mask:
            self.known = self._read_mask(Path(settings.image.mask), settings.image.downscale)
        return self

    def _read_mask(self, file: Path, downscale: int) -> Tensor:
        """Returns the indices (N,) of the pixels that a mask shows as known."""
        white = torch.from_numpy(shown_by_mask(file)[0])
        mask = _box_averaged(white[..., None].float(), downscale, file)[..., 0]
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
        """Returns the form of a fitted picture."""
        size = (recorded_size(record, "width"), recorded_size(record, "height"))
        return cls(size, recorded_size(record, "channels"), record["hdr"], settings.image)

    def record(self) -> dict[str, Any]:
        """Returns the form of the picture."""
        return {"width": self.width, "height": self.height, "channels": self.outputs, "hdr": self.hdr}

    def describe(self) -> str:
        """Returns what was read, in words."""
        known = "" if self.known is None else f", {len(self.known)} known"
        return f"{self.width} x {self.height} x {self.outputs}{', HDR' if self.hdr else ''}{known}"

    def loss(self, field: CoordinateField, n_samples: int, random: torch.Generator) -> tuple[Tensor, float]:
        """Returns the mean squared error of random pixels, twice; of HDR pictures that of about the logarithm."""
        # Draw pixels.
        per_pixel = self.area**2
        count = len(self.known) if self.known is not None else self.samples
        index = torch.randint(count, (max(1, n_samples // per_pixel),), generator=random)
        if self.known is not None:
            index = self.known[index]
        target = self.pixels.view(-1, self.outputs)[index]

        # A pixel's colour is the field's at its centre, or the mean over its area.
        corner = torch.stack([index % self.width, index // self.width], dim=1).float()
        position = (corner[:, None] + self._offsets(len(index), random)) / max(self.width, self.height)
        value = self._light(field(position.view(-1, 2))).view(len(index), per_pixel, -1).mean(dim=1)

        if self.hdr:
            value = torch.asinh(value / DARK)
            target = torch.asinh(target / DARK)
        loss = (value - target).square().mean()
        return loss, loss.item()

    def _light(self, value: Tensor) -> Tensor:
        """Returns colours of the field's values: HDR light spans decades, so the field holds about its logarithm."""
        return DARK * torch.sinh(value) if self.hdr else value

    def _offsets(self, count: int, random: torch.Generator) -> Tensor:
        """Returns points inside pixels (count, area^2, 2) in [0, 1]: the centre, or one in each cell of a grid."""
        if self.area == 1:
            return torch.full((1, 1, 2), 0.5)
        line = torch.arange(self.area).float()
        cell = torch.stack(torch.meshgrid(line, line, indexing="xy"), dim=-1).view(1, -1, 2)
        return (cell + torch.rand(count, self.area**2, 2, generator=random)) / self.area

    def render(
        self, field: CoordinateField, size: tuple[int, int], region: tuple[float, float, float, float]
    ) -> Tensor:
        """Returns the field at the pixel centres of a picture (h, w, C) of a region, parts of the whole picture."""
        width, height = size
        left, top, right, bottom = region
        scale = torch.tensor([self.width, self.height]) / max(self.width, self.height)
        x = left + (torch.arange(width) + 0.5) / width * (right - left)

        picture = torch.empty(height, width, self.outputs)
        rows = max(1, POSITIONS_AT_ONCE // width)
        for start in range(0, height, rows):
            y = torch.arange(start, min(start + rows, height)) + 0.5
            y = top + y / height * (bottom - top)
            position = torch.stack(torch.meshgrid(x, y, indexing="xy"), dim=-1).view(-1, 2) * scale
            picture[start : start + len(y)] = self._light(field.values(position.clamp(0, 1))).view(len(y), width, -1)
        return picture

    def evaluate(self, field: CoordinateField) -> dict[str, Any]:
        """Returns psnr: of 8-bit pixels, those unknown apart from the others; of HDR pictures after tone mapping."""
        picture = self.render(field, (self.width, self.height), (0, 0, 1, 1))
        if self.hdr:
            relative = (picture - self.pixels) / (self.pixels.abs() + DARK)
            return {
                "psnr": psnr(_tone_mapped(picture), _tone_mapped(self.pixels)),
                "relative_mse": relative.square().mean().item(),
            }

        picture = (picture.clamp(0, 1) * 255).round() / 255
        if self.known is None:
            return {"psnr": psnr(picture, self.pixels)}

        unknown = torch.ones(self.samples, dtype=torch.bool)
        unknown[self.known] = False
        ours = picture.view(-1, self.outputs)
        truth = self.pixels.view(-1, self.outputs)
        scores = {"psnr": psnr(ours[~unknown], truth[~unknown])}
        if unknown.any():
            scores["psnr_unknown"] = psnr(ours[unknown], truth[unknown])
        return scores

    def export(self, field: CoordinateField, file: Path, request: DecodeRequest) -> str:
        """Writes the picture, or a region of it, at any size."""
        left, top, right, bottom = region = request.region or (0.0, 0.0, 1.0, 1.0)
        if not (0 <= left < right <= 1 and 0 <= top < bottom <= 1):
            raise InputError("--region: expected 0 <= X0 < X1 <= 1 and 0 <= Y0 < Y1 <= 1")

        columns = max(1, round(self.width * (right - left)))
        rows = max(1, round(self.height * (bottom - top)))
        width, height = request.size or (columns, rows)
        if width * height * self.outputs > LARGEST_OUTPUT:
            raise InputError(f"--size {width}x{height}: more than memory should hold; decode it by --region")

        write_float_picture(file, self.render(field, (width, height), region), self.hdr)
        return f"picture: {file} ({width} x {height})"


def _tone_mapped(light: Tensor) -> Tensor:
    """Returns light without a peak in [0, 1): l / (1 + l)."""
    light = light.clamp(min=0)
    return light / (1 + light)


def _box_averaged(picture: Tensor, factor: int, file: Path) -> Tensor:
    """Returns means over factor x factor boxes of (H, W, C); rows and columns that fill no box are cut off."""
    height = picture.shape[0] // factor
    width = picture.shape[1] // factor
    if min(height, width) == 0:
        raise InputError(f"{file}: smaller than image.downscale {factor}")
    boxes = picture[: height * factor, : width * factor].view(height, factor, width, factor, -1)
    return boxes.mean(dim=(1, 3))
