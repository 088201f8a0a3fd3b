"""A capture looked over before training, and what training will take."""

from __future__ import annotations

from pathlib import Path

import torch

from nerf.capture.page import write_page
from nerf.capture.quality import CaptureCheck, check_capture
from nerf.config import Settings
from nerf.geometry.scene_box import SceneBox
from nerf.scenes import Scene, SceneFolder, Views, load_scene
from nerf.training.radiance import RadianceTask


def looked_over(place: SceneFolder, settings: Settings, file: Path) -> CaptureCheck:
    """Returns what there is to say about a scene before training, and writes it as a page.

    Raises:
        InputError: the scene cannot be read.
    """
    scene = load_scene(place, ("train", "test"), settings.scene)
    return write_check(place.name, scene, RadianceTask(scene.splits["train"], settings), file)


def write_check(name: str, scene: Scene, task: RadianceTask, file: Path) -> CaptureCheck:
    """Returns what there is to say about a scene that has been read, and writes it as a page."""
    box = task.model.box
    bounds = bounds_line(box, task.settings, task.views).removeprefix("bounds: ")
    check = check_capture(scene, bounds, memory_estimate(task))
    cameras = {split: views.cameras for split, views in scene.splits.items()}
    write_page(file, f"Capture check: {name}", check, cameras, scene.points, box)
    return check


def bounds_line(box: SceneBox, settings: Settings, views: Views) -> str:
    """Returns where the scene is and from what that is known."""
    if box.contraction is not None:
        space = box.contraction
        source = "the cameras" if views.depths is None else "the cameras and the points they see"
        return (
            f"bounds: none; space is contracted about {_place(space.center)}, radius {space.radius:.3f}, "
            f"near {space.near:.3f}, from {source}"
        )
    source = "the silhouettes" if views.has_alpha else "the cameras"
    if settings.scene.bounds > 0:
        source = "scene.bounds"
    return f"bounds: cube of side {box.side:.3f} around {_place(box.corner + box.side / 2)}, from {source}"


def _place(point: torch.Tensor) -> str:
    return f"({', '.join(f'{value:.3f}' for value in point.tolist())})"


def checkpoint_bytes(task: RadianceTask) -> int:
    """Returns the size of a checkpoint."""
    return sum(tensor.numel() * tensor.element_size() for tensor in task.state().values())


def memory_estimate(task: RadianceTask) -> int:
    """Returns bytes: pictures, pixel list, parameters with moments and gradients, and one batch of samples."""
    images, candidates = task.views.images, task.pixels.candidates
    field = task.settings.field
    per_sample = 4 * (
        field.levels * 8 * 8
        + 2 * (field.density_width + field.geometry_features + 16)
        + 2 * field.color_layers * field.color_width
    )
    interpreter = 400 * 2**20
    return (
        images.numel() * images.element_size()
        + candidates.numel() * 8
        + 2 * checkpoint_bytes(task)
        + 4 * task.settings.train.samples * per_sample
        + interpreter
    )
