"""The way from a scene to a trained run with its film and its mesh, said aloud on standard output."""

from __future__ import annotations

import torch

from nerf.backends.choice import Backend
from nerf.color import BACKGROUNDS
from nerf.config import Settings
from nerf.errors import InputError
from nerf.export.images import write_rgb
from nerf.meshing.surface import SurfaceRequest
from nerf.rendering.metrics import psnr
from nerf.runs import RunFolder
from nerf.scenes import Scene, SceneFolder, Views, load_scene
from nerf.training.radiance import RadianceTask
from nerf.training.trainer import Trainer, TrainingEnd
from nerf.video.plan import FilmRequest
from nerf.workflows.check import bounds_line, checkpoint_bytes, memory_estimate, write_check
from nerf.workflows.export import mesh
from nerf.workflows.film import film
from nerf.workflows.trained import open_run


def reconstruct(run: RunFolder, place: SceneFolder, settings: Settings, backend: Backend, resume: bool) -> TrainingEnd:
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
    if task.settings != settings:
        settings = task.settings
        print(f"march: {settings.render.steps} steps along the diagonal (render.steps), from the cameras")
    if task.camera_optimizer:
        learned = ["poses"] * task.camera_optimizer.refines + ["exposures"] * task.camera_optimizer.exposes
        print(f"learned with the scene: the pictures' {' and '.join(learned)} (capture.*)")
    trainer = Trainer(task, settings.train, settings.optimizer.horizon, run)
    if resume and run.checkpoint.is_file():
        _check_same_scene(run, place, views)
        trainer.resume()
        print(f"resumed at step {trainer.step}, {trainer.seconds:.1f} s of training")
    else:
        if not resume:
            run.keep_earlier()
        run.save_settings(settings)
        run.save_scene(_record(place, scene, backend), views.cameras)
    print(bounds_line(task.model.box, settings, views))
    print(
        f"memory: about {memory_estimate(task) / 2**30:.1f} GiB; checkpoint: {checkpoint_bytes(task) / 2**20:.0f} MiB"
    )
    if trainer.step == 0:
        seen = write_check(place.name, scene, task, run.path / "check.html")
        print("".join(f"warning: {word}\n" for word in seen.warnings if f"warning: {word}" not in scene.notes), end="")
        print(f"capture check: {run.path / 'check.html'}")
    end = trainer.run_to_budget(lambda step: _preview(run, task, scene, settings, step))
    if end.step > 0:
        run.save_repeat(settings, end.step, trainer.pace.text())
    print("".join(f"{line}\n" for line in task.camera_optimizer.words()), end="")
    print(f"trained: {end.step} steps in {end.seconds:.1f} s; saved in {run.path}")
    if end.interrupted:
        print(f"interrupted; go on with --resume --out {run.path}")
    else:
        _write_outputs(run, settings, backend)
    return end


def _check_same_scene(run: RunFolder, place: SceneFolder, views: Views) -> None:
    """Refuses to go on with other pictures than the run began with."""
    record, cameras = run.load_scene()
    if record.get("views") != list(views.names) or not torch.equal(
        cameras.world_from_camera, views.cameras.world_from_camera
    ):
        raise InputError(
            f"--resume: {run.path} was trained on {record['folder']}, not on {place.folder}; name that scene"
        )


def _record(place: SceneFolder, scene: Scene, backend: Backend) -> dict[str, object]:
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


def _preview(run: RunFolder, task: RadianceTask, scene: Scene, settings: Settings, step: int) -> float | None:
    """Writes the first validation view beside its truth; returns its PSNR."""
    if "val" not in scene.splits:
        return None
    views, background = scene.splits["val"], settings.scene.background
    rgb = task.averaged().picture(views.cameras, 0).over(BACKGROUNDS[background])
    truth = views.picture(0, background)
    write_rgb(run.path / "validation" / f"step_{step:06d}.png", torch.cat([rgb, truth], dim=1))
    return psnr(rgb, truth)


def _write_outputs(run: RunFolder, settings: Settings, backend: Backend) -> None:
    trained = open_run(run.path, backend.name)
    if settings.output.video:
        size = (trained.cameras.width, trained.cameras.height)
        film(trained, run.path / settings.output.video, FilmRequest(settings.output.frames, size, settings.output.fps))
    if settings.output.mesh:
        mesh(trained, run.path / settings.output.mesh, SurfaceRequest(settings.output.mesh_resolution))
