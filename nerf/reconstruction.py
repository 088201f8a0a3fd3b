"""The way from a scene to a trained run with its film and its mesh, said aloud on standard output."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import torch

from nerf.backends import Backend
from nerf.cameras import Cameras
from nerf.capture_check import CaptureCheck, check_capture
from nerf.capture_page import write_page
from nerf.colour import BACKGROUNDS
from nerf.config import Settings
from nerf.errors import InputError
from nerf.export.box import Box, cropped
from nerf.export.film import FilmRequest, plan, write_film
from nerf.export.images import write_rgb
from nerf.export.mesh import Mesh
from nerf.export.mesh_files import mesh_report, write_mesh, write_report
from nerf.export.paths import up_direction
from nerf.export.placement import Placement, placement
from nerf.export.pointcloud import sampled, write_points
from nerf.export.surface import SurfaceRequest, make_surface
from nerf.export.views import picture_names, write_colmap, write_depths, write_transforms
from nerf.metrics import psnr
from nerf.ops.march import Cube
from nerf.preview import BakedModel, bake, coarse, lost
from nerf.runs import RunFolder
from nerf.scenes import Place, Scene, Views, load_scene
from nerf.tasks.radiance import RadianceTask
from nerf.trained import TrainedRun, open_run
from nerf.training import Trainer, TrainingEnd

PREVIEWED = 8  # training cameras whose pictures tell what a preview loses


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
    if task.settings != settings:
        settings = task.settings
        print(f"march: {settings.render.steps} steps along the diagonal (render.steps), from the cameras")
    if task.adjustments:
        learned = ["poses"] * task.adjustments.refines + ["exposures"] * task.adjustments.exposes
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
    print(_bounds_line(task.model.cube, settings, views))
    print(
        f"memory: about {_memory_estimate(task) / 2**30:.1f} GiB; checkpoint: {_checkpoint_bytes(task) / 2**20:.0f} MiB"
    )
    if trainer.step == 0:
        seen = _check(place.name, scene, task, run.path / "check.html")
        print("".join(f"warning: {word}\n" for word in seen.warnings if f"warning: {word}" not in scene.notes), end="")
        print(f"capture check: {run.path / 'check.html'}")
    end = trainer.run_to_budget(lambda step: _preview(run, task, scene, settings, step))
    if end.step > 0:
        run.save_repeat(settings, end.step, trainer.pace.text())
    print("".join(f"{line}\n" for line in task.adjustments.words()), end="")
    print(f"trained: {end.step} steps in {end.seconds:.1f} s; saved in {run.path}")
    if end.interrupted:
        print(f"interrupted; go on with --resume --out {run.path}")
    else:
        _write_outputs(run, settings, backend)
    return end


def looked_over(place: Place, settings: Settings, file: Path) -> CaptureCheck:
    """Returns what there is to say about a scene before training, and writes it as a page.

    Raises:
        InputError: the scene cannot be read.
    """
    scene = load_scene(place, ("train", "test"), settings.scene)
    return _check(place.name, scene, RadianceTask(scene.splits["train"], settings), file)


def _check(name: str, scene: Scene, task: RadianceTask, file: Path) -> CaptureCheck:
    cube = task.model.cube
    bounds = _bounds_line(cube, task.settings, task.views).removeprefix("bounds: ")
    check = check_capture(scene, bounds, _memory_estimate(task))
    cameras = {split: views.cameras for split, views in scene.splits.items()}
    write_page(file, f"Capture check: {name}", check, cameras, scene.points, cube)
    return check


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


def film(trained: TrainedRun, file: Path, request: FilmRequest, box: Box | None = None) -> None:
    """Writes a film of what is in the box, and its camera track, and says so."""
    trained = replace(trained, model=cropped(trained.model, box))
    model = trained.model
    way = plan(model, trained.cameras, request, lambda: _test_cameras(trained))
    if request.preview:
        if {"depth", "normals"} & {*request.shown}:
            raise InputError("--preview shows rgb and opacity only; leave it out for depth and normals")
        model = previewed(trained, request.preview).model
    track = write_film(file, model, way, request, trained.settings.scene.background)
    width, height = way.cameras.width * len(request.shown), way.cameras.height
    print(f"film: {file} ({way.name}, {len(way.cameras)} frames of {width} x {height}, {request.fps} a second)")
    print(f"camera track: {track}")


def previewed(trained: TrainedRun, kind: str) -> TrainedRun:
    """Returns a run that renders quickly, and says what that loses. kind: baked or coarse.

    Raises:
        InputError: the native engine, which renders what is baked, is not there.
    """
    model, cameras = trained.model, trained.cameras
    if model.cube.contraction is not None and kind == "baked":
        print("preview: what is baked has bounds, this scene has none: coarse steps instead")
        kind = "coarse"
    preview = bake(model, cameras) if kind == "baked" else coarse(model)
    some = torch.linspace(0, len(cameras) - 1, min(PREVIEWED, len(cameras))).long()
    lens = cameras[some]
    loss = lost(model, preview, lens, BACKGROUNDS[trained.settings.scene.background])
    made = ""
    if isinstance(preview, BakedModel):
        size = preview.bytes / 2**20
        made = f"{len(preview.opacity)} bricks, {size:.0f} MiB, baked in {preview.seconds:.2f} s; "
    print(
        f"preview ({kind}): {made}{loss.psnr:.2f} dB against the exact pictures of "
        f"{len(some)} training cameras; {1000 * loss.seconds:.1f} ms a picture of {lens.width} x {lens.height}, "
        f"{1 / loss.seconds:.0f} a second (exact: {1000 * loss.exact_seconds:.1f} ms)"
    )
    return replace(trained, model=preview)


def _test_cameras(trained: TrainedRun) -> Cameras:
    folder = Path(trained.record["folder"])
    if not folder.is_dir():
        raise InputError(f"--path test: the scene is not at {folder} any more, where its test cameras are")
    place = Place(trained.record["name"], folder, "")
    return load_scene(place, ("test",), trained.settings.scene).splits["test"].cameras


def mesh(trained: TrainedRun, file: Path, request: SurfaceRequest) -> None:
    """Writes the mesh and its report, and says so."""
    export(trained, ExportRequest(surface=request, mesh=file))


@dataclass(frozen=True)
class ExportRequest:
    """What is to be written, where: files, or folders for depth maps and cameras; None = not.

    up, scale, unit: see `nerf.export.placement`. points: how many of them. depth_format: of `views.DEPTH_FORMATS`.
    """

    surface: SurfaceRequest
    mesh: Path | None = None
    cloud: Path | None = None
    depth: Path | None = None
    cameras: Path | None = None
    up: str = ""
    scale: float = 1.0
    unit: str = ""
    points: int = 200_000
    depth_format: str = "png"


def export(trained: TrainedRun, request: ExportRequest) -> None:
    """Writes mesh, point cloud, depth maps and cameras of a run, all in one frame, and says so."""
    placed = placement(request.up, up_direction(trained.cameras), request.scale, request.unit)
    box = request.surface.box
    if request.mesh or request.cloud:
        cropped(trained.model, box)  # says how much is cut
        surface, how = make_surface(trained.model, trained.cameras, request.surface)
        surface = replace(
            surface,
            vertices=placed.points(torch.from_numpy(surface.vertices)).numpy(),
            normals=placed.directions(torch.from_numpy(surface.normals)).numpy(),
        )
        if request.mesh:
            _write_mesh(request.mesh, surface, how, placed)
        if request.cloud:
            write_points(request.cloud, sampled(surface, request.points))
            print(f"point cloud: {request.cloud} ({request.points} points; {placed.words})")
    names = picture_names(trained.record["views"])
    if request.cameras:
        cameras = placed.cameras(trained.cameras)
        write_transforms(request.cameras / "transforms.json", cameras, names)
        write_colmap(request.cameras / "sparse" / "0", cameras, names)
        print(f"cameras: {request.cameras} (transforms.json and COLMAP text; {placed.words})")
    if request.depth:
        write_depths(
            request.depth, cropped(trained.model, box), trained.cameras, names, placed.scale, request.depth_format
        )
        print(f"depth maps: {request.depth} ({len(names)} views; {request.unit or 'scene units'})")


def _write_mesh(file: Path, surface: Mesh, how: dict[str, object], placed: Placement) -> None:
    write_mesh(file, surface, placed.unit)
    report = mesh_report(surface, how, placed)
    beside = write_report(file, report)
    extent = " x ".join(f"{value:.4g}" for value in report["extent"])
    print(
        f"mesh: {file} ({how['method']}; {report['triangles']} triangles, {report['pieces']} pieces, "
        f"{'' if report['watertight'] else 'not '}watertight, {extent}; {placed.words}); report: {beside}"
    )
