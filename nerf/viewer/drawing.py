"""Pictures that the program renders for a browser, strip by strip: nothing waits long for another's picture."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from nerf.geometry.cameras import NOT_GIVEN, Cameras
from nerf.geometry.scene_box import CropBox, crop_box
from nerf.rendering.crop import within
from nerf.rendering.model import RadianceModel
from nerf.rendering.witnesses import thumbnails
from nerf.viewer.asked import crop_of, flag, number, numbers, whole
from nerf.viewer.page import jpeg
from nerf.viewer.server import Visitor
from nerf.viewer.shader import background

STRIP_SECONDS = 0.01  # that a piece of a picture takes
SHORTEST_STRIP = 256  # pixels: of so many the first one is, before it is known how many take so long
LONGEST_STRIP = 2**16  # pixels
LARGEST_SIDE = 2048  # pixels of a picture that is rendered for a browser
MOVING_QUALITY = 60  # of JPEG, while something moves
STILL_QUALITY = 92


class Pace:
    """How many pixels a strip has."""

    pixels = SHORTEST_STRIP

    def took(self, count: int, seconds: float) -> None:
        """Learns from a strip of so many pixels."""
        fit = round(count * STRIP_SECONDS / max(seconds, 1e-6))
        self.pixels = max(SHORTEST_STRIP, min(2 * self.pixels, LONGEST_STRIP, fit))


class CutModel:
    """What is left of a model in a crop box, remembered for the next strip."""

    def __init__(self) -> None:
        self._of: tuple[RadianceModel, int, list[float]] | None = None
        self._made: RadianceModel | None = None

    def __call__(self, model: RadianceModel, step: int, crop: CropBox | None) -> RadianceModel:
        """Returns it. step: after which the model is as it is."""
        if crop is None:
            return model
        asked = (model, step, [*crop.low.tolist(), *crop.high.tolist()])
        if self._made is None or self._of is None or self._of[0] is not model or self._of[1:] != asked[1:]:
            self._of, self._made = asked, within(model, crop)[0]
        return self._made


@dataclass
class Drawing:
    """A picture that is being rendered for a visitor."""

    visitor: Visitor
    identity: Any  # of the message that asked
    camera: Cameras  # one
    moving: bool
    ground: float | None  # the grey behind the scene; None: what the page has there
    crop: CropBox | None  # relative to the camera's origin
    found: list[Tensor] = field(default_factory=list)  # (R, 3) each

    @torch.no_grad()
    def advance(self, model: RadianceModel, pace: Pace) -> bool:
        """Renders a strip; returns whether it was the last."""
        start = time.perf_counter()
        done = sum(map(len, self.found))
        rays = self.camera.image_rays(0, done, done + pace.pixels)
        part = model.render(rays)
        ground = background(model) if self.ground is None else self.ground
        self.found.append(part.rgb + (1 - part.opacity[:, None]) * ground)
        pace.took(len(rays), time.perf_counter() - start)
        return done + len(rays) == self.camera.size[0].prod()

    def finished(self) -> tuple[dict[str, Any], bytes]:
        """Returns the answer, and the picture as JPEG."""
        width, height = self.camera.size[0].tolist()
        picture = torch.cat(self.found).view(height, width, 3)
        facts = {"id": self.identity, "width": width, "height": height}
        return facts, jpeg(picture, MOVING_QUALITY if self.moving else STILL_QUALITY)


def asked_drawing(visitor: Visitor, message: dict[str, Any], cameras: Cameras, ground: float) -> Drawing:
    """Returns the picture that a message asks for: of a photograph's own camera, or of a pinhole.

    cameras: of the photographs. ground: the grey behind what photographs show.

    Raises:
        InputError: something of it will not do.
    """
    if "view" in message:
        frame = whole(message, "view", 0, len(cameras) - 1)
        camera = thumbnails(cameras[frame : frame + 1], whole(message, "side", 16, LARGEST_SIDE))
    else:
        width = whole(message, "width", 2, LARGEST_SIDE)
        height = whole(message, "height", 2, LARGEST_SIDE)
        pose = torch.tensor(numbers(message, "pose", 12)).view(4, 3).T[None]
        focal = number(message, "focal", 1e-3, 1e6)
        lens = torch.tensor([[focal, focal]]), torch.tensor([[width / 2, height / 2]])
        camera = Cameras(pose.contiguous(), *lens, width, height, NOT_GIVEN, origin=cameras.origin)
    crop = None if message.get("crop") is None else crop_box(crop_of(message, cameras.origin), "crop")
    moving, behind = flag(message, "moving"), ground if "view" in message else None
    about = None if crop is None else crop.about(cameras.origin)
    return Drawing(visitor, message.get("id"), camera, moving, behind, about)
