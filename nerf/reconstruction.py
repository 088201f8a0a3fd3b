"""The way from a scene to a trained run with its film and its mesh, said aloud on standard output."""

from __future__ import annotations

import os
from itertools import count
from pathlib import Path

import torch

from nerf.backends import Backend
from nerf.colour import BACKGROUNDS
from nerf.config import Settings, settings_from_dict
from nerf.errors import InputError
from nerf.export.images import write_rgb
from nerf.export.mesh import extract_mesh, write_mesh
from nerf.export.paths import camera_path
from nerf.export.video import write_video
from nerf.files import unwritable
from nerf.metrics import psnr
from nerf.ops.march import Cube
from nerf.runs import RunFolder
from nerf.scenes import Place, Scene, Views, load_scene
from nerf.tasks.radiance import RadianceTask
from nerf.trained import TrainedRun, open_run
from nerf.training import Trainer, TrainingEnd


def reconstruct(run: RunFolder, place: Place, settings: Settings, backend: Backend, resume: bool) -> TrainingEnd:
    """Trains on a scene in a run folder, from its checkpoint if `resume`; then, unless interrupted, films and meshes.

    Raises:
        InputError: the scene cannot be read, or the training diverges.
    """
    print(f"scene: {place.name}: {place.folder} ({place.why})")
    scene = load_scene(place, ("train", "val"), settings.scene)
    views = scene.splits["train"]
    print("\n".join(scene.notes), end="\n" if scene.notes else "")
    print(
        f"pictures: {len(views)} of {views.cameras.width} x {views.cameras.height}"
        f"{', with alpha' if views.has_alpha else ''}; backend: {backend.name} ({backend.detail}), "
        f"{torch.get_num_threads()} threads"
    )
    task = backend.task(views, settings)
    trainer = Trainer(task, settings.train, settings.optimizer.horizon, run)
    if resume and run.checkpoint.is_file():
        _check_same_scene(run, place, views)
        trainer.resume()
        print(f"resumed at step {trainer.step}, {trainer.seconds:.1f} s of training")
    else:
        if not resume:
            _keep_earlier_run(run)
        run.save_settings(settings)
        run.save_scene(_record(place, scene, backend), views.cameras)
    print(_bounds_line(task.model.cube, settings, views))
    print(
        f"memory: about {_memory_estimate(task) / 2**30:.1f} GiB; checkpoint: {_checkpoint_bytes(task) / 2**20:.0f} MiB"
    )
    end = trainer.run_to_budget(lambda step: _preview(run, task, scene, settings, step))
    if end.step > 0:
        run.save_settings(_repeating(settings, end.step, trainer.pace.text()), "repeat.yaml")
    print(f"trained: {end.step} steps in {end.seconds:.1f} s; saved in {run.path}")
    if end.interrupted:
        print(f"interrupted; go on with --resume --out {run.path}")
    else:
        _write_outputs(run, settings, backend)
    return end


def _keep_earlier_run(run: RunFolder) -> None:
    """Moves a run that lies in the folder to a numbered one beside it: training again must not lose it."""
    if not (run.path / "settings.yaml").exists():
        return
    number = next(n for n in count(1) if not run.path.with_name(f"{run.path.name}.{n}").exists())
    kept = run.path.with_name(f"{run.path.name}.{number}")
    try:
        os.rename(run.path, kept)
        run.path.mkdir()
    except OSError as error:
        raise unwritable(kept, error) from None
    print(f"{run.path} held an earlier run: kept as {kept}")


def _check_same_scene(run: RunFolder, place: Place, views: Views) -> None:
    """Refuses to go on with other pictures than the run began with."""
    record, cameras = run.load_scene()
    if record.get("views") != list(views.names) or not torch.equal(
        cameras.world_from_camera, views.cameras.world_from_camera
    ):
        raise InputError(
            f"--resume: {run.path} was trained on {record['folder']}, not on {place.folder}; name that scene"
        )


def _bounds_line(cube: Cube, settings: Settings, views: Views) -> str:
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


def _record(place: Place, scene: Scene, backend: Backend) -> dict[str, object]:
    """Returns what scene.json says of where the pictures came from."""
    return {
        "name": place.name,
        "format": scene.kind,
        "folder": str(place.folder.resolve()),
        "chosen": place.why,
        "views": list(scene.splits["train"].names),
        "backend": backend.name,
        "threads": torch.get_num_threads(),
    }


def _checkpoint_bytes(task: RadianceTask) -> int:
    return sum(tensor.numel() * tensor.element_size() for tensor in task.state().values())


def _memory_estimate(task: RadianceTask) -> int:
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
        + 2 * _checkpoint_bytes(task)
        + 4 * task.settings.train.samples * per_sample
        + interpreter
    )


def _preview(run: RunFolder, task: RadianceTask, scene: Scene, settings: Settings, step: int) -> float | None:
    """Writes the first validation view beside its truth; returns its PSNR."""

    if "val" not in scene.splits:
        return None
    views, background = scene.splits["val"], settings.scene.background
    rgb = task.model.picture(views.cameras, 0).over(BACKGROUNDS[background])
    truth = views.picture(0, background)
    write_rgb(run.path / "validation" / f"step_{step:06d}.png", torch.cat([rgb, truth], dim=1))
    return psnr(rgb, truth)


def _repeating(settings: Settings, step: int, pace: str) -> Settings:
    """Returns settings that take the same steps again without looking at the clock."""
    return settings_from_dict({"train": {"steps": step, "max_seconds": 0, "pace": pace}}, "repeat", settings)


def _write_outputs(run: RunFolder, settings: Settings, backend: Backend) -> None:

    trained = open_run(run.path, backend.name)
    if settings.output.video:
        size = (trained.cameras.width, trained.cameras.height)
        film(trained, run.path / settings.output.video, settings.output.frames, size, settings.output.fps)
    if settings.output.mesh:
        mesh(trained, run.path / settings.output.mesh, settings.output.mesh_resolution)


def film(trained: TrainedRun, file: Path, frames: int, size: tuple[int, int], fps: int) -> None:
    """Writes a film of an orbit or, if the cameras do not surround the scene, a sway; `size` (width, height) pixels."""
    cube = trained.model.cube
    name, path = camera_path(trained.cameras, cube.contraction and cube.contraction.center, frames, *size)
    write_video(file, trained.model, path, fps, trained.settings.scene.background)
    print(f"film: {file} ({name}, {frames} frames of {size[0]} x {size[1]}, {fps} a second)")


def mesh(trained: TrainedRun, file: Path, resolution: int) -> None:
    """Writes the mesh from a lattice of `resolution` cells a side, and says so."""

    surface = extract_mesh(trained.model, trained.cameras, resolution)
    write_mesh(file, surface)
    extent = " x ".join(f"{value:.3f}" for value in surface.vertices.max(0) - surface.vertices.min(0))
    print(f"mesh: {file} ({len(surface.faces)} triangles, {extent} scene units, in the frame of the input poses)")
