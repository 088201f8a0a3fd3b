"""Held-out views rendered and scored: what metrics.json states, it states with its protocol."""

from __future__ import annotations

import json
import math
import os
from dataclasses import replace
from pathlib import Path
from statistics import mean
from typing import Any

import torch

from nerf import __version__
from nerf.color import BACKGROUNDS
from nerf.errors import InputError
from nerf.exporters.images import write_depth, write_rgb
from nerf.files import inside_run, whole_folder, write_text
from nerf.rendering.metrics import psnr, ssim
from nerf.rendering.model import Picture
from nerf.report import progress
from nerf.scenes import Views
from nerf.scenes.captures import FEWEST_TO_HOLD_OUT
from nerf.workflows.align import aligned_camera, aligned_colors
from nerf.workflows.recorded import recorded_scene, scene_at
from nerf.workflows.run_report import WORST, Judged, write_report
from nerf.workflows.trained import TrainedRun

MOVED = "say where it is with --scene FOLDER"
PROTOCOL = "float32 pictures clipped to [0, 1]; PSNR from each view's mean squared error, then the mean over views"


def evaluate(run: TrainedRun, scene: Path | None, split: str) -> dict[str, Any]:
    """Renders every view of a split, writes the pictures and the metrics into the run folder, returns the metrics.

    The metrics of the test split are ``metrics.json``, those of another ``metrics_<split>.json``.

    What was learned of the training pictures, poses or exposures, is aligned to each held-out picture, and stated.
    Pictures are compared as float32 clipped to [0, 1], at the resolution of the training, over `scene.background`.

    scene: the folder of the scene, if it is not where the run's record says.

    Raises:
        InputError: the scene is not there, a view cannot be scored, or another process writes into the run folder.
    """
    with run.folder.held():
        return _evaluate(run, scene, split)


def _evaluate(run: TrainedRun, scene: Path | None, split: str) -> dict[str, Any]:
    found = recorded_scene(run, (split,), MOVED) if scene is None else scene_at(run, scene, (split,))
    splits = found.splits
    if split not in splits:
        where = scene or run.record["folder"]
        raise InputError(
            f"{where}: no picture of the {split} split: with fewer than {FEWEST_TO_HOLD_OUT} pictures, or with "
            "scene.holdout=0, none is held out; score those that it learned from with --split train, or add pictures"
        )
    views = replace(splits[split], cameras=run.refined(splits[split].cameras))

    folder = inside_run(run.folder.path / split)
    file = run.folder.path / ("metrics.json" if split == "test" else f"metrics_{split}.json")
    with whole_folder(folder) as pictures:
        scores, worst = _scored(run, views, split, pictures)
        metrics = _metrics(run, views, split, scores)
        write_text(pictures / file.name, json.dumps(metrics, indent=1))
        file.unlink(missing_ok=True)  # older scores must not lie beside newer pictures
    os.replace(folder / file.name, file)
    if split == "test":
        write_report(run, worst)
    return metrics


def _scored(run: TrainedRun, views: Views, split: str, folder: Path) -> tuple[list[dict[str, Any]], list[Judged]]:
    """Returns the scores of all views, and the worst views; writes what was rendered into a folder.

    Raises:
        InputError: a view cannot be scored.
    """
    settings = run.settings.scene
    unit = depth_unit(run, views)
    scores = []
    worst: list[Judged] = []
    for frame, name in enumerate(progress(views.names, title=f"evaluating {split}", unit="view")):
        picture = aligned_picture(run, views, frame, split)
        rgb = picture.over(BACKGROUNDS[settings.background])
        truth = views.picture(frame, settings.background)
        if views.used is not None:  # what a mask hides is no error
            rgb = torch.where(views.used[frame, : len(rgb), : rgb.shape[1], None], rgb, truth)
        score = {"view": name, "psnr": psnr(rgb, truth), "ssim": ssim(rgb, truth)}
        if not all(math.isfinite(score[key]) for key in ("psnr", "ssim")):
            raise InputError(f"view {name}: PSNR is {score['psnr']}, as of an empty view rendered empty; leave it out")
        scores.append(score)
        worst = sorted([*worst, Judged(name, score["psnr"], rgb, truth)], key=lambda view: view.psnr)[:WORST]
        write_rgb(folder / f"{name}.png", rgb)
        write_depth(folder / f"{name}_depth.png", picture, unit)
    return scores, worst


def _metrics(run: TrainedRun, views: Views, split: str, scores: list[dict[str, Any]]) -> dict[str, Any]:
    """Returns what is written of scores: their mean, and the protocol."""
    settings = run.settings.scene

    return {
        "psnr": mean(score["psnr"] for score in scores),
        "ssim": mean(score["ssim"] for score in scores),
        "scene": run.record["name"],
        "split": split,
        "views": scores,
        "resolution": [views.cameras.width, views.cameras.height],
        "downscale": settings.downscale,
        "pixels": "as stored, not undistorted",
        "background": settings.background,
        "protocol": PROTOCOL,
        "alignment": alignment_words(run, split),
        "depth_unit": depth_unit(run, views),
        "training_seconds": run.facts["seconds"],
        "steps": run.facts["step"],
        "seed": run.settings.train.seed,
        "version": __version__,
        "trained_with": run.facts["version"],
        "device": "cpu",
        "backend": run.record["backend"],
        "rendered_by": f"{run.backend.name} ({run.backend.detail})",
        "threads": run.record["threads"],
    }


def aligned_picture(run: TrainedRun, views: Views, frame: int, split: str) -> Picture:
    """Returns what a view shows, from the pose and in the exposure that suit it best where the run has learned such."""
    capture = run.settings.capture
    background = run.settings.scene.background
    exposes = capture.exposure == "learn"
    cameras = views.cameras[frame : frame + 1]
    if capture.poses == "refine" and split == "train":
        cameras = run.cameras[frame : frame + 1]
    elif capture.poses == "refine":
        cameras = aligned_camera(run.model, views, frame, background, exposes)
    picture = run.model.picture(cameras, 0)
    return aligned_colors(picture, views, frame, background) if exposes else picture


def alignment_words(run: TrainedRun, split: str) -> str:
    """Returns what of each view is fitted to that view itself before it is scored."""
    capture = run.settings.capture
    words = []
    if capture.lens == "refine":
        words.append("lens as learned")
    if capture.poses == "refine":
        words.append("pose as learned" if split == "train" else "pose: 6 numbers, by the view's own colours")
    if capture.exposure == "learn":
        words.append("gain and offset of each colour channel: 6 numbers, least squares on the view itself")
    return "; ".join(words) or "none"


def depth_unit(run: TrainedRun, views: Views) -> float:
    """Returns the scene units of one count of a 16-bit depth picture: the farthest point that is rendered is 65535."""
    return run.model.box.farthest(views.cameras.world_from_camera[:, :, 3]) / 65535
