"""The text of the page: one HTML file with its style and its client, which alone may run, and what it knows of a scene.

The same client is used twice: in a file that holds the field, and served beside a live one (`nerf.viewer.server`).
"""

from __future__ import annotations

import hashlib
import json
import zlib
from base64 import b64encode
from importlib import resources
from io import BytesIO

import torch
from torch import Tensor

from nerf import __version__
from nerf.color import to_bytes
from nerf.geometry.cameras import Cameras
from nerf.rendering.model import RadianceModel
from nerf.rendering.witnesses import thumbnails
from nerf.viewer.shader import BrowserField, background

FORMAT = "nerf page 2"
VIEWS = 12  # named views, of training cameras
POSTER = 480  # pixels of the longer side
DIGITS = 7  # of numbers in the facts
NOTHING = "data:,"  # an address that nobody is asked for


def scene_facts(
    model: RadianceModel, field: BrowserField, cameras: Cameras, track: Cameras, up: Tensor, distance: Tensor
) -> dict:
    """Returns what the page knows of a scene beside the field's numbers.

    cameras: of the training views. track: the path that is played. up: (3,). distance: how far what cameras see is,
    scene units, any shape; depths in that range are told apart by colour.
    """
    met = distance[distance.isfinite()]
    near, far = torch.quantile(met[:: max(1, len(met) // 100_000)], torch.tensor([0.02, 0.98])).tolist()
    some = torch.linspace(0, len(cameras) - 1, min(VIEWS, len(cameras))).round().long()
    core = model.box.core
    return {
        "format": FORMAT,
        "version": __version__,
        **field.facts,
        "range": [near, max(far, near * 1.001)],
        "core": [*core.corner.tolist(), core.side],
        "up": up.tolist(),
        "track": poses(track),
        "views": poses(cameras[some]),
    }


def poses(cameras: Cameras) -> list[list[float]]:
    """Returns right, down, ahead and place of cameras, and their heights over focal lengths: 13 numbers each."""
    pose = cameras.world_from_camera.transpose(1, 2).reshape(len(cameras), 12)
    view = cameras.size[:, 1:] / cameras.focal[:, 1:]
    return [[float(f"{value:.{DIGITS}g}") for value in row] for row in torch.cat([pose, view], dim=1).tolist()]


def poster(model: RadianceModel, camera: Cameras) -> bytes:
    """Returns a JPEG of what a camera sees: what there is where a browser has no WebGL2, and before it is ready."""
    return jpeg(model.picture(thumbnails(camera, POSTER), 0).over(background(model)), 85)


def jpeg(rgb: Tensor, quality: int) -> bytes:
    """Returns a picture (H, W, 3) in [0, 1] as JPEG."""
    from PIL import Image

    file = BytesIO()
    Image.fromarray(to_bytes(rgb).numpy()).save(file, "JPEG", quality=quality)
    return file.getvalue()


def file_text(facts: dict, stream: bytes, picture: bytes) -> str:
    """Returns the page that holds a scene: everything in one text, which asks nobody for anything."""
    packed = b64encode(zlib.compress(stream, 9)).decode()
    address = f"data:image/jpeg;base64,{b64encode(picture).decode()}"
    layer = ["over.js", "coverage.js"] if "coverage" in facts else []
    return _assembled(["scene.js", *layer, "file.js"], ["page.css"], "img-src data:", address, facts, packed)


def live_text() -> str:
    """Returns the page that shows what the server which sent it knows; it holds nothing of the scene itself."""
    policy = "connect-src 'self'; img-src data: blob:"
    return _assembled(
        ["scene.js", "over.js", "compare.js", "live.js"], ["page.css", "live.css"], policy, NOTHING, None, ""
    )


def _assembled(
    scripts: list[str], styles: list[str], policy: str, picture: str, facts: dict | None, packed: str
) -> str:
    """Returns a page with the hashes of its style and its client.

    policy: what the page may do beside running them. picture: the poster's address.
    """
    client = "\n".join(_part(name) for name in scripts)
    style = "\n".join(_part(name) for name in styles)
    page = _part("page.html")
    parts = {
        "POLICY": f"{policy}; style-src 'sha256-{_hash(style)}'; script-src 'sha256-{_hash(client)}'",
        ">STYLE<": f">{style}<",
        ">CLIENT<": f">{client}<",
        "POSTER": picture,
        ">HEAD<": ">" + json.dumps(facts, allow_nan=False).replace("<", "\\u003c") + "<",
        ">STREAM<": f">{packed}<",
    }
    for word, text in parts.items():
        page = page.replace(word, text, 1)
    return page + "\n"


def _part(name: str) -> str:
    return resources.files("nerf.viewer").joinpath("client", name).read_text(encoding="utf-8").strip()


def _hash(text: str) -> str:
    return b64encode(hashlib.sha256(text.encode()).digest()).decode()
