"""The output `--page`: one HTML file that is the scene, rendered by a shader that evaluates the field itself.

The file holds a poster, a head of facts (JSON), the field (one stream of bytes, deflated), and a client in JavaScript.
Nothing in it is a photograph, asks a network for anything, or tells where it was made.
"""

from __future__ import annotations

import copy
from pathlib import Path

import torch
from torch import Tensor

from nerf.coverage.page import layer
from nerf.coverage.suggestions import told_apart
from nerf.coverage.survey import survey
from nerf.errors import InputError
from nerf.exporters.context import ExportContext, ExportRequest
from nerf.files import check_writable, write_text
from nerf.geometry.cameras import Cameras
from nerf.geometry.up import find_up
from nerf.rendering.metrics import psnr
from nerf.rendering.model import RadianceModel
from nerf.rendering.witnesses import thumbnails
from nerf.video.plan import FilmRequest, plan
from nerf.viewer.page import file_text, poster, scene_facts
from nerf.viewer.shader import browser_field, plain_field

TRACK = 90  # frames of the path that the page plays
SUGGESTED = 5  # photographs, in the layer of coverage
COMPARED = (3, 160)  # frames of the path, and the longer side of the pictures, that tell what 8 bits cost


def check(path: Path, request: ExportRequest) -> None:
    """Raises InputError now if the page cannot be written under this name."""
    if path.suffix.lower() not in (".html", ".htm"):
        raise InputError(f"{path}: a page is a .html file")
    check_writable(path)


def write(context: ExportContext, path: Path) -> str:
    """Writes the page; returns the sentence that tells of it.

    Raises:
        InputError: the field is of another kind than the page evaluates, or too large for it.
    """
    film = plan(context.model(), context.cameras, FilmRequest(frames=TRACK, floor=context.floor), _no_test_cameras)
    model = film.witnesses.model
    field = browser_field(model)
    up = find_up(context.cameras, context.floor)
    facts = scene_facts(model, field, context.cameras, film.cameras, up.direction, film.witnesses.views.distance)
    if context.request.coverage:  # without the photographs, which are not at hand
        found = survey(context.model(), context.cameras, told_apart(context.files), up, None, SUGGESTED)
        facts["coverage"] = layer(found)
    text = file_text(facts, field.stream, poster(model, film.cameras[:1]))
    write_text(path, text)

    megabytes = len(text) / 2**20
    loss = bits_quality(model, field.table.features(), film.cameras)
    return f"page: {path} ({megabytes:.1f} MiB; its 8 bits against the exact pictures: {loss:.1f} dB)"


def _no_test_cameras() -> Cameras:
    raise AssertionError("the path of a page asks for no test cameras")


def bits_quality(model: RadianceModel, table: Tensor, cameras: Cameras) -> float:
    """Returns the PSNR of pictures of the field with another table, against its own."""
    other = copy.copy(model)
    other._modules = {**model._modules, "field": copy.deepcopy(model.field)}
    other.field.load_tensors({**dict(plain_field(model).named_parameters()), "encoding.table": table})
    other.forget_engine()
    count, side = COMPARED
    some = thumbnails(cameras[torch.linspace(0, len(cameras) - 1, count).round().long()], side)
    pictures = [[each.picture(some, frame).over(0.0) for frame in range(count)] for each in (model, other)]
    return psnr(torch.stack(pictures[0]), torch.stack(pictures[1]))
