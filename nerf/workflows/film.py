"""From a run to a film."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import torch

from nerf.color import BACKGROUNDS
from nerf.errors import InputError
from nerf.geometry.cameras import Cameras
from nerf.geometry.scene_box import CropBox
from nerf.geometry.similarity import placement
from nerf.geometry.up import find_up
from nerf.rendering.baked import BakedModel, bake, coarse, preview_quality
from nerf.rendering.crop import cropped
from nerf.rendering.model import RadianceModel
from nerf.report import say
from nerf.video.plan import FilmRequest, plan, write_film
from nerf.workflows.recorded import recorded_scene
from nerf.workflows.trained import TrainedRun

PREVIEWED = 8  # training cameras whose pictures tell what a preview loses


def film(trained: TrainedRun, file: Path, request: FilmRequest, crop: CropBox | None = None) -> str:
    """Writes a film of what is in the box, and its camera track, and returns the sentences that say so."""
    trained = replace(trained, model=cropped(trained.model, trained.crop(crop)))
    # As `nerf export` has it: meshes and tracks are in one space.
    up = find_up(trained.cameras, trained.floor).direction
    placed = placement("", up, origin=trained.cameras.origin, known=trained.scale)
    request = replace(request, floor=trained.floor, placed=placed)
    path = plan(trained.model, trained.cameras, request, lambda: _test_cameras(trained))

    trained = replace(trained, model=path.witnesses.model)
    model: RadianceModel | BakedModel = trained.model
    if request.preview:
        if {"depth", "normals"} & {*request.shown}:
            raise InputError("--preview shows rgb and opacity only; leave it out for depth and normals")
        model = preview_model(trained, request.preview)

    track = write_film(file, model, path, request, trained.settings.scene.background)
    width = path.cameras.width * len(request.shown)
    height = path.cameras.height
    frames = f"{len(path.cameras)} frames of {width} x {height}, {request.fps} a second"
    also = f", {request.track}" if request.track else ""
    return f"film: {file} ({path.name}, {frames}); camera track: {track}{also}"


def preview_model(trained: TrainedRun, kind: str) -> RadianceModel | BakedModel:
    """Returns a model that renders quickly, and says what that loses. kind: baked or coarse.

    Raises:
        InputError: the native engine, which renders what is baked, is not there.
    """
    model = trained.model
    cameras = trained.cameras
    if model.box.contraction is not None and kind == "baked":
        say("film", "preview: what is baked has bounds, this scene has none: coarse steps instead")
        kind = "coarse"
    if trained.settings.field.kind != "hash" and kind == "baked":
        say("film", "preview: only hash fields are baked: coarse steps instead")
        kind = "coarse"

    preview = bake(model, cameras) if kind == "baked" else coarse(model)
    some = torch.linspace(0, len(cameras) - 1, min(PREVIEWED, len(cameras))).long()
    lens = cameras[some]
    quality = preview_quality(model, preview, lens, BACKGROUNDS[trained.settings.scene.background])

    made = ""
    if isinstance(preview, BakedModel):
        size = preview.bytes / 2**20
        made = f"{len(preview.opacity)} bricks, {size:.0f} MiB, baked in {preview.seconds:.2f} s; "
    say(
        "film",
        f"preview ({kind}): {made}{quality.psnr:.2f} dB against the exact pictures of "
        f"{len(some)} training cameras; {1000 * quality.seconds:.1f} ms a picture of {lens.width} x {lens.height}, "
        f"{1 / quality.seconds:.0f} a second (exact: {1000 * quality.exact_seconds:.1f} ms)",
    )
    return preview


def _test_cameras(trained: TrainedRun) -> Cameras:
    scene = recorded_scene(trained, ("test",), "--path test films its test cameras: choose another path")
    if "test" not in scene.splits:
        raise InputError(f"--path test: {trained.record['folder']} has no test split; choose another path")
    return trained.refined(scene.splits["test"].cameras)
