"""A capture looked over before training, and what training will take."""

from __future__ import annotations

from pathlib import Path

import torch

from nerf.capture.page import write_page
from nerf.capture.quality import CaptureCheck, check_capture
from nerf.config import Settings
from nerf.geometry.scene_box import Cube
from nerf.scenes import Place, Scene, Views, load_scene
from nerf.training.radiance import RadianceTask


def looked_over(place: Place, settings: Settings, file: Path) -> CaptureCheck:
    """Returns what there is to say about a scene before training, and writes it as a page.

    Raises:
        InputError: the scene cannot be read.
    """
    scene = load_scene(place, ("train", "test"), settings.scene)
    return write_check(place.name, scene, RadianceTask(scene.splits["train"], settings), file)


def write_check(name: str, scene: Scene, task: RadianceTask, file: Path) -> CaptureCheck:
    """Returns what there is to say about a scene that has been read, and writes it as a page."""
    cube = task.model.cube
    bounds = bounds_line(cube, task.settings, task.views).removeprefix("bounds: ")
    check = check_capture(scene, bounds, memory_estimate(task))
    cameras = {split: views.cameras for split, views in scene.splits.items()}
    write_page(file, f"Capture check: {name}", check, cameras, scene.points, cube)
    return check


def bounds_line(cube: Cube, settings: Settings, views: Views) -> str:
    """Returns where the scene is and from what that is known."""
    if cube.contraction is not None:
        space = cube.contraction
        source = "the cameras" if views.depths is None else "the cameras and the points they see"
        return (
            f"bounds: none; space is contracted about {_place(space.center)}, radius {space.radius:.3f}, "
            f"near {space.near:.3f}, from {source}"
        )
    source = "the silhouettes" if views.has_alpha else "the cameras"
    if settings.scene.bounds > 0:
        source = "scene.bounds"
    return f"bounds: cube of side {cube.side:.3f} around {_place(cube.corner + cube.side / 2)}, from {source}"


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
