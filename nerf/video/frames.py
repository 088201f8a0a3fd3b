"""What a frame of a film can show: colour, depth with its scale, normals, opacity, or several side by side."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from nerf.color import BACKGROUNDS, to_bytes
from nerf.geometry.cameras import Cameras
from nerf.rendering.antialiasing import averaged_picture
from nerf.rendering.baked import BakedModel
from nerf.rendering.model import Picture, RadianceModel
from nerf.rendering.witnesses import Witnesses
from nerf.video.surroundings import filled, seen_weight

# The depth scale is taken from so many frames, of so many pixels along the longer side.
RANGE_FRAMES = 8
RANGE_SIDE = 64
RANGE_QUANTILES = (0.01, 0.99)  # of the depths met: what lies beyond takes the colour at the end of the scale
LEAST_OPACITY = 1e-3  # by which a colour is divided, where frames carry opacity
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
        before = torch.cat([blank, step], dim)
        after = torch.cat([step, blank], dim)
        to_before = before.norm(dim=2, keepdim=True).nan_to_num(torch.inf)
        to_after = after.norm(dim=2, keepdim=True).nan_to_num(torch.inf)
        return torch.where(to_before < to_after, before, after)

    normal = torch.linalg.cross(slope(0), slope(1))
    whole = normal.isfinite().all(dim=2) & distance.isfinite()
    normal = torch.nn.functional.normalize(torch.where(whole[..., None], normal, 0.0), dim=2)

    facing = (normal * rays.direction.view(normal.shape)).sum(2, keepdim=True)
    return torch.where(facing > 0, -normal, normal)


@dataclass(frozen=True)
class Frames:
    """Renders the frames of a film."""

    model: RadianceModel | BakedModel  # a baked one shows rgb and opacity only
    cameras: Cameras  # one a frame
    rays: Tensor  # (F,) int64, rays each way whose mean a pixel is
    shown: tuple[str, ...]  # of `choices.SHOWN`, left to right
    background: str  # behind the scene
    alpha: bool  # whether frames carry opacity instead of a background
    scale: tuple[float, float]  # nearest and farthest depth, scene units
    witnesses: Witnesses | None = None  # what nobody saw fades into its surroundings; None: nothing does
    fade: bool = False  # it fades into the background instead
    keep: Callable[[RenderedFrame], None] | None = None  # is given what each frame is made of

    @property
    def size(self) -> tuple[int, int]:
        """Width and height of a frame, pixels."""
        return self.cameras.width * len(self.shown), self.cameras.height

    def __getitem__(self, frame: int) -> Tensor:
        """Returns a frame, (H, W, 3), or (H, W, 4) with straight alpha, uint8."""
        fading = self.witnesses if self.fade else None
        rendered = RenderedFrame(self.model, self.cameras, frame, int(self.rays[frame]), fading)
        if self.keep is not None:
            self.keep(rendered)
        return torch.cat([self._panel(shown, rendered) for shown in self.shown], dim=1)

    def _panel(self, shown: str, rendered: RenderedFrame) -> Tensor:
        """Returns what one panel shows of a frame, (H, W, 3 or 4) uint8."""
        panel = to_bytes(self._rgb(shown, rendered))
        if self.alpha:
            panel = torch.cat([panel, to_bytes(rendered.picture.opacity[..., None])], dim=2)
        return with_legend(panel, self.scale) if shown == "depth" else panel

    def _rgb(self, shown: str, rendered: RenderedFrame) -> Tensor:
        """Returns the colours of a panel, (H, W, 3) float."""
        ground = BACKGROUNDS[self.background]
        if shown == "rgb":
            picture = rendered.picture
            if self.alpha:
                return picture.rgb / picture.opacity.clamp(min=LEAST_OPACITY)[..., None]
            if self.witnesses is None or self.fade:
                return picture.over(ground)
            seen = seen_weight(self.witnesses, self.cameras, rendered.frame)
            straight = picture.rgb / picture.opacity.clamp(min=LEAST_OPACITY)[..., None]
            return filled(straight.clamp(0, 1), seen * picture.opacity)

        if shown == "opacity":
            return rendered.picture.opacity[..., None].expand(-1, -1, 3)

        if shown == "normals":
            normal = normals_seen(self.cameras, rendered.frame, rendered.distance)
            return torch.where((normal != 0).any(2, keepdim=True), normal * 0.5 + 0.5, ground)

        near, far = self.scale
        rgb = turbo((rendered.distance - near) / (far - near))
        return torch.where(rendered.distance.isfinite()[..., None], rgb, ground)


@dataclass(frozen=True)
class RenderedFrame:
    """What one frame of a film sees; each kind is rendered once, when the first panel asks for it."""

    model: RadianceModel | BakedModel
    cameras: Cameras
    frame: int
    rays: int
    fading: Witnesses | None = None  # whatever they did not see is transparent

    @cached_property
    def picture(self) -> Picture:
        """Colour and opacity."""
        whole = averaged_picture(self.model, self.cameras, self.frame, self.rays)
        if self.fading is None:
            return whole
        seen = seen_weight(self.fading, self.cameras, self.frame)
        return Picture(whole.rgb * seen[..., None], whole.opacity * seen, whole.depth * seen)

    @cached_property
    def distance(self) -> Tensor:
        """(H, W) along the ray, scene units, infinite where light goes through."""
        if isinstance(self.model, BakedModel):
            raise ValueError("a baked model shows rgb and opacity only")
        return self.model.distances(self.cameras, self.frame)


def with_legend(panel: Tensor, scale: tuple[float, float]) -> Tensor:
    """Returns a depth panel (H, W, C) uint8 with the colour scale and its ends, scene units, down its right side."""
    import numpy
    from PIL import Image, ImageDraw, ImageFont

    height, width = panel.shape[:2]
    size = max(8, round(height / 28))
    bar = max(2, size // 2)
    top = size * 2
    bottom = height - 2 * size
    if bottom - top < size or width < 8 * size:
        return panel  # too small to be read

    # The scale, from near above to far below.
    image = Image.fromarray(panel.numpy())
    ramp = to_bytes(turbo(torch.linspace(0, 1, bottom - top)))[:, None].expand(-1, bar, -1)
    image.paste(Image.fromarray(numpy.ascontiguousarray(ramp.numpy())), (width - 2 * bar, top))

    # Its ends, in black with a white rim.
    draw = ImageDraw.Draw(image)
    font = ImageFont.load_default(size)
    for value, row, anchor in ((scale[0], top, "rd"), (scale[1], bottom, "ra")):
        corner = (width - bar, row)
        draw.text(corner, f"{value:.3g}", "black", font, anchor, stroke_width=2, stroke_fill="white")
    return torch.from_numpy(numpy.array(image))
