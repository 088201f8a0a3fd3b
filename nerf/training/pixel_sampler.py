"""Which pixels a training step draws."""

from __future__ import annotations

import torch
from torch import Tensor

from nerf.capture.visual_hull import silhouette_distances
from nerf.errors import InputError
from nerf.geometry.cameras import Rays
from nerf.scenes import Views

RIM = 0.02  # of the picture's longer side: how far outside silhouettes pixels are still drawn


class PixelSampler:
    """Draws training pixels: all of them, or with alpha those within a rim of the silhouettes.

    What lies farther from the silhouettes is carved away and cannot be wrong. slack: of the longer side, by which the
    rim is wider. part: of all pixels that may be drawn.
    """

    def __init__(self, views: Views, slack: float = 0.0) -> None:
        self.views = views
        frames, self.height, self.width, _ = views.images.shape
        n_pixels = frames * self.height * self.width
        if views.has_alpha:
            self.candidates = self._near_silhouettes(RIM + slack)
        else:
            self.candidates = torch.arange(n_pixels)
        if views.used is not None:
            self.candidates = self.candidates[views.used.flatten()[self.candidates]]
            n_pixels = int(views.used.sum())
        if len(self.candidates) == 0:
            raise InputError("no training picture shows anything: alpha or masks leave no pixel")
        self.part = len(self.candidates) / n_pixels

    def _near_silhouettes(self, rim: float) -> Tensor:
        distances, _ = silhouette_distances(self.views)
        size = (self.height, self.width)
        factor = -(-max(size) // max(distances.shape[1:]))
        rows = []
        for frame, distance in enumerate(distances):
            near = (distance <= rim * max(size)).repeat_interleave(factor, 0).repeat_interleave(factor, 1)
            rows.append(near[: size[0], : size[1]].flatten().nonzero().squeeze(1) + frame * size[0] * size[1])
        return torch.cat(rows)

    def draw(self, n_rays: int, random: torch.Generator) -> tuple[Tensor, Rays, Tensor]:
        """Returns random pixels: their pictures (R,), the rays through them and their colours (R, 3 or 4)."""
        pixel = self.candidates[torch.randint(len(self.candidates), (n_rays,), generator=random)]
        column = pixel % self.width
        row = pixel // self.width % self.height
        frame = pixel // (self.width * self.height)
        return frame, self.views.cameras.rays(frame, column, row), self.views.pixels(frame, row, column)
