"""The order of things in a training: read the scene, check it, train, write film and mesh."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial

import torch

from nerf.backends.choice import Backend
from nerf.capture.camera_check import checked_scene
from nerf.capture.orientation import oriented_scene
from nerf.capture.scale import scale_by_gps
from nerf.color import BACKGROUNDS
from nerf.config import Settings
from nerf.errors import InputError
from nerf.exporters.images import write_rgb
from nerf.files import inside_run
from nerf.geometry.scale import Scale
from nerf.geometry.up import floor_normal
from nerf.meshing.surface import SurfaceRequest
from nerf.rendering.metrics import psnr
from nerf.rendering.model import model_shapes
from nerf.report import say
from nerf.runs import RunFolder
from nerf.scenes import Scene, SceneFolder, Views
from nerf.scenes.picture_names import within
from nerf.training.observers import LogFile, Observer
from nerf.training.radiance import RadianceTask
from nerf.training.trainer import Trainer, TrainingEnd
from nerf.video.plan import FilmRequest
from nerf.workflows.attempts import Attempts
from nerf.workflows.check import bounds_text, check_memory, check_sizes, training_needs, write_check
from nerf.workflows.export import mesh
from nerf.workflows.film import film
from nerf.workflows.recorded import shows_the_same
from nerf.workflows.run_report import FILE as REPORT
from nerf.workflows.run_report import write_report
from nerf.workflows.trained import open_run


def reconstruct(
    run: RunFolder,
    folder: SceneFolder,
    settings: Settings,
    backend: Backend,
    *,
    resume: bool,
    observers: Sequence[Observer] = (),
) -> TrainingEnd:
    """Trains on a scene in a run folder, from its checkpoint if `resume`; then, unless interrupted, films and meshes.

    Raises:
        InputError: the scene cannot be read, or the training diverges.
    """
    if resume and run.checkpoint.is_file():
        run.check_shapes(model_shapes(settings))
    scene, settings = read_scene(folder, settings, backend)
    check_memory(scene.splits["train"], settings)
    task = new_task(scene, settings, backend)
    watching = [LogFile(run), *observers]
    for observer in observers:
        observer.read(scene)
    trainer = Trainer(task, task.settings.train, task.settings.optimizer.horizon, run, watching, backend.bits)
    begin_run(trainer, task, folder, scene, backend, resume)
    say_needs(task)
    if trainer.step == 0:
        say_capture_check(run, folder, scene, task)

    end = trainer.run_to_budget(lambda step: _preview(run, task, scene, step))
    end_run(run, trainer, task, end)
    if not end.interrupted:
        write_outputs(run, task.settings, backend)
    return end


def read_scene(folder: SceneFolder, settings: Settings, backend: Backend) -> tuple[Scene, Settings]:
    """Returns the pictures to learn from and to validate with, and how they were read; says what was read."""
    say("scene", f"scene: {folder.name}: {folder.folder} ({folder.why})")
    scene, read = oriented_scene(folder, ("train", "val"), settings.scene)
    check_sizes(scene, folder.folder)
    scene = checked_scene(scene, settings.scene.bounds)
    for note in scene.notes:
        say("scene", note)
    views = scene.splits["train"]
    say(
        "scene",
        f"pictures: {len(views)} of {views.cameras.width} x {views.cameras.height}"
        f"{', with alpha' if views.has_alpha else ''}; backend: {backend.name} ({backend.detail}), "
        f"{torch.get_num_threads()} threads",
    )
    return scene, replace(settings, scene=read)


def new_task(scene: Scene, settings: Settings, backend: Backend) -> RadianceTask:
    """Returns what is to be learned, and says what was chosen for it."""
    task = backend.task(scene.splits["train"], settings)
    if task.settings != settings:
        steps = task.settings.render.steps
        say("march", f"march: {steps} steps along the diagonal (render.steps), from the cameras")
    if task.camera_optimizer:
        learned = ["poses"] * task.camera_optimizer.refines + ["exposures"] * task.camera_optimizer.exposes
        say("capture", f"learned with the scene: the pictures' {' and '.join(learned)} (capture.*)")
    return task


def begin_run(
    trainer: Trainer, task: RadianceTask, folder: SceneFolder, scene: Scene, backend: Backend, resume: bool
) -> None:
    """Resumes the run that is in the folder, or writes down what a new one is made of.

    Raises:
        InputError: the run to be resumed was trained on other pictures.
    """
    run = trainer.run
    if resume and run.checkpoint.is_file():
        _check_same_scene(run, folder, scene.splits["train"])
        trainer.resume()
        say("training", f"resumed at step {trainer.step}, {trainer.seconds:.1f} s of training")
        return
    if not resume:
        run.keep_earlier()
    run.save_settings(task.settings)
    _save_scale(run, scene.splits["train"], task.space.scale)
    run.save_scene(_record(folder, scene, backend), scene.splits["train"].cameras)


def say_needs(task: RadianceTask) -> None:
    """Says where the scene is, and what memory and disk its training takes."""
    say("bounds", bounds_text(task.model.box, task.settings, task.views))
    needs = training_needs(task.views, task.settings, task.pixels.bytes)
    say("memory", f"memory: about {needs.memory / 2**30:.1f} GiB; checkpoint: {needs.checkpoint / 2**20:.0f} MiB")


def say_capture_check(run: RunFolder, folder: SceneFolder, scene: Scene, task: RadianceTask) -> None:
    """Looks the capture over, writes a page about it into the run folder, and says its warnings."""
    page = run.path / "check.html"
    check = write_check(folder.name, scene, task.settings, (task.space, task.pixels), page)
    for warning in check.warnings:
        line = f"warning: {warning}"
        if line not in scene.notes:
            say("capture", line)
    say("capture", f"capture check: {page}")


def end_run(run: RunFolder, trainer: Trainer, task: RadianceTask, end: TrainingEnd) -> None:
    """Writes down how the training can be repeated, and says what came of it."""
    if end.step > 0:
        run.save_repeat(task.settings, end.step, trainer.schedule.text())
    for line in task.camera_optimizer.found():
        say("capture", line)
    if task.lens is not None:
        say("capture", task.lens.change.found())
        # The cameras stand elsewhere now.
        sensed = task.space.scale
        moved = None if sensed is None else replace(sensed, metres=sensed.metres / task.lens.change.stretch)
        _save_scale(run, task.views, moved)
    if task.transients is not None:
        say("capture", task.transients.found())
    say("training", f"trained: {end.step} steps in {end.seconds:.1f} s; saved in {run.path}")
    if end.interrupted:
        say("training", f"interrupted; go on with --resume --out {run.path}")


def write_outputs(run: RunFolder, settings: Settings, backend: Backend) -> None:
    """Writes the film and the mesh that the settings ask for into the run folder, and the report.

    Raises:
        OutputError: one could not be written; the others were.
    """
    trained = open_run(run.path, backend.name)
    output = settings.output
    attempts = Attempts()
    if output.video:
        request = FilmRequest(output.frames, fps=output.fps, up=output.up)
        file = run.path / output.video
        attempts.write("output.video", file, partial(film, trained, file, request))
    if output.mesh:
        file = run.path / output.mesh
        attempts.write("output.mesh", file, partial(mesh, trained, file, SurfaceRequest(output.mesh_resolution)))
    attempts.write("report", run.path / REPORT, partial(write_report, trained))
    attempts.finish()


def _save_scale(run: RunFolder, views: Views, sensed: Scale | None) -> None:
    """Says how long a scene unit is, and keeps it, if depth maps (`sensed`) or the photographs tell."""
    scale, sentence = (sensed, sensed.words) if sensed is not None else scale_by_gps(views)
    if sentence:
        say("scale", sentence)
    if scale is not None:
        run.save_scale(scale)


def _check_same_scene(run: RunFolder, folder: SceneFolder, views: Views) -> None:
    """Refuses to go on with other pictures than the run began with."""
    if not shows_the_same(run, views):
        before = run.load_scene()[0]["folder"]
        raise InputError(f"--resume: {run.path} was trained on {before}, not on {folder.folder}; name that scene")
    known = run.load_scene()[0].get("checksum")  # not of older runs
    if known is not None and known != views.checksum():
        raise InputError(
            f"--resume: {folder.folder}: the pictures have changed since {run.path} was begun; put the old ones "
            "back, or start a new run with --out"
        )


def _record(folder: SceneFolder, scene: Scene, backend: Backend) -> dict[str, object]:
    """Returns what scene.json says of where the pictures came from."""
    cameras = scene.splits["train"].cameras
    floor = None if scene.points is None else floor_normal(cameras, scene.points)
    return {
        "name": folder.name,
        "format": scene.kind,
        "folder": str(folder.folder.resolve()),
        "chosen": folder.why,
        "views": list(scene.splits["train"].names),
        "checksum": scene.splits["train"].checksum(),
        "files": [within(folder.folder, file) for file in scene.splits["train"].files],
        "backend": backend.name,
        "threads": torch.get_num_threads(),
        "floor": None if floor is None else floor.tolist(),
    }


def _preview(run: RunFolder, task: RadianceTask, scene: Scene, step: int) -> float | None:
    """Writes the first validation view beside its truth; returns its PSNR."""
    if "val" not in scene.splits:
        return None
    views = scene.splits["val"]
    background = task.settings.scene.background
    cameras = views.cameras if task.lens is None else task.lens.change.of(views.cameras)
    rgb = task.averaged().picture(cameras, 0).over(BACKGROUNDS[background])
    truth = views.picture(0, background)
    write_rgb(inside_run(run.path / "validation") / f"step_{step:06d}.png", torch.cat([rgb, truth], dim=1))
    return psnr(rgb, truth)
