"""Which pixels a training step draws."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from nerf.capture.stereo import MeasuredDistances
from nerf.capture.visual_hull import Silhouettes, find_silhouettes
from nerf.errors import InputError
from nerf.geometry.cameras import Rays
from nerf.scenes import Views
from nerf.scenes.picture_names import some


@dataclass(frozen=True)
class PixelWeights:
    """What the photometric errors of pixels weigh, by squares of pixels."""

    weight: Tensor  # (F, ceil(H / scale), ceil(W / scale)) float32
    scale: int  # side of a square, pixels


class Drawn(NamedTuple):
    """Pixels that were drawn, and what belongs to each."""

    pixel: Tensor  # (R,) int64, (frame * height + row) * width + column
    frame: Tensor  # (R,) int64, the picture
    rays: Rays
    color: Tensor  # (R, 3 or 4)
    distance: Tensor | None  # (R,), 0 where none was measured; None where none was at all
    weight: Tensor | None  # (R,), of the photometric error; None for all alike


RIM = 0.02  # how far outside silhouettes pixels are still drawn, as a part of the picture's longer side


class PixelSampler:
    """Draws training pixels: all of them, or with alpha those within a rim of the silhouettes.

    What lies farther from the silhouettes is carved away and cannot be wrong.
    """

    # (N,) int64, the pixels that may be drawn: (frame * height + row) * width + column. None: all, each its own number.
    candidates: Tensor | None = None
    count: int  # how many may be drawn
    part: float  # how much of all pixels may be drawn
    measured: MeasuredDistances | None  # along the pixels' rays
    weights: PixelWeights | None  # of their errors

    def __init__(
        self,
        views: Views,
        slack: float = 0.0,
        silhouettes: Silhouettes | None = None,
        measured: MeasuredDistances | None = None,
        weights: PixelWeights | None = None,
    ) -> None:
        """Chooses the pixels.

        Args:
            views: the training pictures.
            slack: how much wider the rim is, as a part of the pictures' longer side.
            silhouettes: those of the pictures if they have alpha; found here if not given.
            measured: how far what the pictures show was measured to be, if it was.
            weights: of the pixels' errors, if they do not weigh alike; may change between steps.

        Raises:
            InputError: no pixel is left.
        """
        self.views = views
        self.measured = measured
        self.weights = weights
        frames, self.height, self.width, _ = views.images.shape
        n_pixels = frames * self.height * self.width

        if silhouettes is None:
            silhouettes = find_silhouettes(views)
        if silhouettes is not None:
            self.candidates = self._near(silhouettes, RIM + slack)

        if views.used is not None:
            used = views.used.flatten()
            self.candidates = (
                used.nonzero().squeeze(1) if self.candidates is None else self.candidates[used[self.candidates]]
            )
            n_pixels = int(views.used.sum())

        self.count = n_pixels if self.candidates is None else len(self.candidates)
        if self.count == 0:
            raise InputError(f"{some(views.names)}: no training picture shows anything: alpha or masks leave no pixel")
        self.part = self.count / n_pixels

    @property
    def bytes(self) -> int:
        """What the list of candidates takes."""
        return 0 if self.candidates is None else self.candidates.numel() * self.candidates.element_size()

    def _near(self, silhouettes: Silhouettes, rim: float) -> Tensor:
        """Returns the pixels (N,) int64 within a rim of the silhouettes; rim: a part of the longer side."""
        height = self.height
        width = self.width
        longer = max(height, width)
        factor = -(-longer // max(silhouettes.distances.shape[1:]))
        pixels = []
        for frame, distance in enumerate(silhouettes.distances):
            near = (distance <= rim * longer).repeat_interleave(factor, 0).repeat_interleave(factor, 1)
            pixels.append(near[:height, :width].flatten().nonzero().squeeze(1) + frame * height * width)
        return torch.cat(pixels)

    def draw(self, n_rays: int, random: torch.Generator) -> Drawn:
        """Returns random pixels."""
        pixel = torch.randint(self.count, (n_rays,), generator=random)
        if self.candidates is not None:
            pixel = self.candidates[pixel]
        column = pixel % self.width
        row = pixel // self.width % self.height
        frame = pixel // (self.width * self.height)

        def square(values: Tensor, scale: int) -> Tensor:
            return values[frame, row // scale, column // scale]

        return Drawn(
            pixel,
            frame,
            self.views.cameras.rays(frame, column, row),
            self.views.pixels(frame, row, column),
            None if self.measured is None else square(self.measured.distance, self.measured.scale),
            None if self.weights is None else square(self.weights.weight, self.weights.scale),
        )
