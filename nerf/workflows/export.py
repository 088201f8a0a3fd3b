"""From a run to the files that other programs read."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

from nerf.exporters.cameras import picture_names
from nerf.exporters.context import ExportContext, ExportRequest
from nerf.exporters.mesh import write as write_mesh
from nerf.exporters.outputs import NEEDS, OUTPUTS
from nerf.geometry.scale import measured_scale
from nerf.meshing.surface import SurfaceRequest
from nerf.report import say
from nerf.runs import RunFolder
from nerf.workflows.attempts import Attempts
from nerf.workflows.recorded import known_files
from nerf.workflows.run_settings import writable
from nerf.workflows.trained import TrainedRun


def mesh(trained: TrainedRun, file: Path, request: SurfaceRequest) -> str:
    """Writes the mesh and its report, and returns the sentence that says so.

    Raises:
        InputError: there is no surface, or it cannot be written.
    """
    return write_mesh(_context(trained, ExportRequest({"mesh": file}, request)), file)


def keep_scale(run: RunFolder, corners: Sequence[float], length: float, unit: str) -> None:
    """Writes down how long a scene unit is, by two points that are a length apart, and says so.

    Raises:
        InputError: the points or the length are none, or the run cannot be written to.
    """
    scale = measured_scale(corners, length, unit)
    with writable(run.path):
        run.save_scale(scale)
    say("scale", f"{scale.words}; kept in {run.path}")


def check_outputs(request: ExportRequest) -> None:
    """Refuses, before the work, what cannot be written under its name.

    Raises:
        InputError: naming the file and the fix.
    """
    for output in OUTPUTS:
        if output.name in request.outputs:
            output.exporter().check(request.outputs[output.name], request)


def export(trained: TrainedRun, request: ExportRequest) -> None:
    """Writes the outputs of a request, all in one frame, and says so; what fails does not keep the others from it.

    Raises:
        OutputError: at the end, if some could not be written.
    """
    context = _context(trained, request)
    if context.scale is not None:
        say("scale", context.scale.words)
    attempts = Attempts()
    for output in sorted(OUTPUTS, key=lambda output: NEEDS.index(output.needs)):
        if output.name in request.outputs:
            path = request.outputs[output.name]
            attempts.write(output.option, path, partial(output.exporter().write, context, path))
    attempts.finish()


def _context(trained: TrainedRun, request: ExportRequest) -> ExportContext:
    if not request.surface.whole:
        request = replace(request, surface=replace(request.surface, crop=trained.crop(request.surface.crop)))
    names = picture_names(trained.record["views"])
    files = known_files(trained.record) or names
    return ExportContext(trained.model, trained.cameras, names, request, trained.floor, files, trained.scale)
