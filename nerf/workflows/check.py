"""A capture looked over before training, and what training will take."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor

from nerf.capture.camera_check import checked_scene
from nerf.capture.orientation import oriented_scene
from nerf.capture.page import write_page
from nerf.capture.quality import CaptureCheck, check_capture
from nerf.capture.space import SceneSpace, find_space
from nerf.config import Settings
from nerf.errors import InputError
from nerf.fields.table import new_field
from nerf.geometry.origin import absolute
from nerf.geometry.scene_box import SceneBox
from nerf.memory import INTERPRETER_BYTES, machine_memory
from nerf.rendering.metrics import SSIM_WINDOW
from nerf.scenes import Scene, SceneFolder, Views
from nerf.training.pixel_sampler import PixelSampler
from nerf.training.radiance import pose_slack, resolved_settings

COPIES = 4  # of the parameters in a checkpoint: their average, their values, two moments
CELL_BYTES = 6  # of a cell of the occupancy grid: hull, occupied, value


@dataclass(frozen=True)
class TrainingNeeds:
    """What a training takes."""

    memory: int  # bytes
    checkpoint: int  # bytes


def look_over(folder: SceneFolder, settings: Settings, page: Path) -> CaptureCheck:
    """Returns what there is to say about a scene before training, and writes it as a page.

    Raises:
        InputError: the scene cannot be read.
    """
    scene, read = oriented_scene(folder, ("train", "test"), settings.scene)
    settings = replace(settings, scene=read)
    check_sizes(scene, folder.folder)
    scene = checked_scene(scene, settings.scene.bounds)
    views = scene.splits["train"]
    settings = resolved_settings(settings, views)
    slack = pose_slack(settings)
    space = find_space(views, settings, slack)
    pixels = PixelSampler(views, slack, space.silhouettes)
    return write_check(folder.name, scene, settings, (space, pixels), page)


def check_sizes(scene: Scene, folder: Path) -> None:
    """Refuses a scene with pictures that are too small to be scored.

    Raises:
        InputError: a side is shorter than the window of SSIM.
    """
    for views in scene.splits.values():
        frame = int(views.cameras.size.amin(1).argmin())
        width, height = views.cameras.size[frame].tolist()
        if min(width, height) < SSIM_WINDOW:
            raise InputError(
                f"{folder}: picture {views.names[frame]} has {width} x {height} pixels, after --downscale; "
                f"at least {SSIM_WINDOW} a side are needed"
            )


def write_check(
    name: str, scene: Scene, settings: Settings, learned: tuple[SceneSpace, PixelSampler], page: Path
) -> CaptureCheck:
    """Returns what there is to say about a scene that has been read, and writes it as a page.

    learned: where the scene is, and the pixels that will be drawn.
    """
    space, pixels = learned
    views = scene.splits["train"]
    bounds = bounds_text(space.box, settings, views).removeprefix("bounds: ")
    needs = training_needs(views, settings, pixels.bytes)
    check = check_capture(scene, bounds, needs.memory)
    cameras = {split: views.cameras for split, views in scene.splits.items()}
    write_page(page, f"Capture check: {name}", check, cameras, scene.points, space)
    return check


def bounds_text(box: SceneBox, settings: Settings, views: Views) -> str:
    """Returns where the scene is and from what that is known."""
    if box.contraction is not None:
        space = box.contraction
        source = "the cameras" if views.depths is None else "the cameras and the depths that they see"
        center = absolute(space.center, views.cameras.origin)
        radius = _length_text(space.radius, space.radius)
        return (
            f"bounds: none; space is contracted about {_point_text(center, space.radius)}, radius {radius}, "
            f"near {_length_text(space.near, space.radius)}, from {source}"
        )
    source = "the silhouettes" if views.has_alpha else "the cameras"
    if settings.scene.bounds > 0:
        source = "scene.bounds"
        if absolute(box.corner + box.side / 2, views.cameras.origin).abs().max() > box.side / 4:
            source += ", about what the cameras look at: no camera sees such a cube about the origin"
    center = absolute(box.corner + box.side / 2, views.cameras.origin)
    side = _length_text(box.side, box.side)
    return f"bounds: cube of side {side} around {_point_text(center, box.side)}, from {source}"


def _point_text(point: Tensor, size: float) -> str:
    return f"({', '.join(_length_text(value, size) for value in point.tolist())})"


def _length_text(value: float, size: float) -> str:
    """Returns a length with the decimals that a scene of some size needs, at least three."""
    return f"{value:.{max(3, 3 - math.floor(math.log10(size)))}f}"


def check_memory(views: Views, settings: Settings) -> None:
    """Refuses a training that takes more memory than there is, before it takes it.

    Raises:
        InputError: it does.
    """
    needed = training_needs(views, settings, 0).memory
    present = machine_memory()
    if needed > present:
        raise InputError(
            f"the training takes about {needed / 2**30:.1f} GiB of memory, there is {present / 2**30:.1f}; give a "
            "greater --downscale, or lower field.log2_table_size, field.levels or render.occupancy_resolution"
        )


def training_needs(views: Views, settings: Settings, listed: int) -> TrainingNeeds:
    """Returns an estimate: pictures, pixels to draw, parameters with moments and gradients, and one batch of samples.

    listed: bytes of the list of pixels that are drawn from.
    """
    with torch.device("meta"):  # sizes alone
        parameters = new_field(settings.field, torch.Generator()).parameters()
    cells = settings.render.occupancy_resolution**3
    checkpoint = COPIES * sum(value.numel() * value.element_size() for value in parameters) + CELL_BYTES * cells

    field = settings.field
    per_sample = 4 * (
        field.levels * 8 * 8
        + 2 * (field.density_width + field.geometry_features + 16)
        + 2 * field.color_layers * field.color_width
    )
    memory = (
        views.images.numel() * views.images.element_size()
        + listed
        + 2 * checkpoint
        + 4 * settings.train.samples * per_sample
        + INTERPRETER_BYTES
    )
    return TrainingNeeds(memory, checkpoint)
