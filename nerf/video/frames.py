"""What a frame of a film can show: colour, depth with its scale, normals, opacity, or several side by side."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from nerf.color import BACKGROUNDS, to_bytes
from nerf.geometry.cameras import Cameras
from nerf.rendering.model import RadianceModel

RANGE_FRAMES, RANGE_SIDE = 8, 64  # frames, and pixels of their longer side, from which the depth scale is taken
RANGE_QUANTILES = (0.01, 0.99)  # of the depths met: what lies beyond takes the colour at the end of the scale
# Turbo (Mikhailov 2019, Google AI): coefficients of its polynomial of degree 5 in red, green and blue, lowest first.
TURBO = (
    (0.13572138, 4.61539260, -42.66032258, 132.13108234, -152.94239396, 59.28637943),
    (0.09140261, 2.19418839, 4.84296658, -14.18503333, 4.27729857, 2.82956604),
    (0.10667330, 12.64194608, -60.58204836, 110.36276771, -89.90310912, 27.34824973),
)


def turbo(value: Tensor) -> Tensor:
    """Returns RGB (..., 3) in [0, 1] of values (...) in [0, 1], blue for 0 to red for 1."""
    value = value.clamp(0, 1)
    powers = torch.stack([value**n for n in range(6)], dim=-1)
    return (powers @ torch.tensor(TURBO).T).clamp(0, 1)


def depth_range(model: RadianceModel, cameras: Cameras) -> tuple[float, float]:
    """Returns the nearest and the farthest surface along a camera path, scene units, but for a hundredth each."""
    factor = min(1.0, RANGE_SIDE / max(cameras.width, cameras.height))
    small = cameras.resized(max(1, round(cameras.width * factor)), max(1, round(cameras.height * factor)))
    chosen = torch.linspace(0, len(cameras) - 1, min(len(cameras), RANGE_FRAMES)).round().long().tolist()
    met = torch.cat([model.distances(small, frame).flatten() for frame in chosen])
    met = met[met.isfinite()]
    if len(met) == 0:
        return 0.0, model.box.core.diagonal
    near, far = torch.quantile(met, torch.tensor(RANGE_QUANTILES)).tolist()
    return near, max(far, near + 1e-6 * model.box.core.side)  # a flat wall seen straight has depth, but no range of it


def normals_seen(cameras: Cameras, frame: int, distance: Tensor) -> Tensor:
    """Returns unit normals (H, W, 3) in the world, towards the camera, of a surface at distances (H, W); 0 off it.

    Each comes from the nearer neighbour to either side, so that edges of things stay sharp.
    """
    rays = cameras.image_rays(frame)
    point = rays.origin.view(*distance.shape, 3) + distance[..., None] * rays.direction.view(*distance.shape, 3)

    def slope(dim: int) -> Tensor:
        step = point.diff(dim=dim)
        blank = torch.full_like(step.narrow(dim, 0, 1), torch.inf)
        before, after = torch.cat([blank, step], dim), torch.cat([step, blank], dim)
        nearer = before.norm(dim=2, keepdim=True).nan_to_num(torch.inf) < after.norm(dim=2, keepdim=True).nan_to_num(
            torch.inf
        )
        return torch.where(nearer, before, after)

    normal = torch.linalg.cross(slope(0), slope(1))
    whole = normal.isfinite().all(dim=2) & distance.isfinite()
    normal = torch.nn.functional.normalize(torch.where(whole[..., None], normal, 0.0), dim=2)
    facing = (normal * rays.direction.view(normal.shape)).sum(2, keepdim=True)
    return torch.where(facing > 0, -normal, normal)


@dataclass(frozen=True)
class Frames:
    """Renders the frames of a film.

    shown: of `words.SHOWN`, left to right. background: behind the scene. alpha: whether frames carry opacity instead.
    scale: nearest and farthest depth, scene units.
    """

    model: RadianceModel
    cameras: Cameras
    shown: tuple[str, ...]
    background: str
    alpha: bool
    scale: tuple[float, float]

    @property
    def size(self) -> tuple[int, int]:
        """Width and height of a frame, pixels."""
        return self.cameras.width * len(self.shown), self.cameras.height

    def __getitem__(self, frame: int) -> Tensor:
        """Returns a frame, (H, W, 3), or (H, W, 4) with straight alpha, uint8."""
        picture = self.model.picture(self.cameras, frame) if {"rgb", "opacity"} & {*self.shown} or self.alpha else None
        distance = self.model.distances(self.cameras, frame) if {"depth", "normals"} & {*self.shown} else None
        ground = BACKGROUNDS[self.background]
        panels = []
        for kind in self.shown:
            if kind == "rgb":
                rgb = picture.rgb / picture.opacity.clamp(min=1e-3)[..., None] if self.alpha else picture.over(ground)
            elif kind == "opacity":
                rgb = picture.opacity[..., None].expand(-1, -1, 3)
            elif kind == "normals":
                normal = normals_seen(self.cameras, frame, distance)
                rgb = torch.where((normal != 0).any(2, keepdim=True), normal * 0.5 + 0.5, ground)
            else:
                near, far = self.scale
                rgb = turbo((distance - near) / (far - near))
                rgb = torch.where(distance.isfinite()[..., None], rgb, ground)
            panel = to_bytes(rgb)
            if self.alpha:
                panel = torch.cat([panel, to_bytes(picture.opacity[..., None])], dim=2)
            panels.append(with_legend(panel, self.scale) if kind == "depth" else panel)
        return torch.cat(panels, dim=1)


def with_legend(panel: Tensor, scale: tuple[float, float]) -> Tensor:
    """Returns a depth panel (H, W, C) uint8 with the colour scale and its ends, scene units, down its right side."""
    import numpy
    from PIL import Image, ImageDraw, ImageFont

    height, width = panel.shape[:2]
    size = max(8, round(height / 28))
    bar, top, bottom = max(2, size // 2), size * 2, height - 2 * size
    if bottom - top < size or width < 8 * size:
        return panel  # too small to be read
    image = Image.fromarray(panel.numpy())
    ramp = to_bytes(turbo(torch.linspace(0, 1, bottom - top)))[:, None].expand(-1, bar, -1)
    image.paste(Image.fromarray(numpy.ascontiguousarray(ramp.numpy())), (width - 2 * bar, top))
    draw, font = ImageDraw.Draw(image), ImageFont.load_default(size)
    for value, row, anchor in ((scale[0], top, "rd"), (scale[1], bottom, "ra")):
        draw.text(
            (width - bar, row), f"{value:.3g}", font=font, anchor=anchor, fill="black", stroke_width=2,
            stroke_fill="white",
        )  # fmt: skip
    return torch.from_numpy(numpy.array(image))
