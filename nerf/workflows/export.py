"""From a run to the files that other programs read."""

from __future__ import annotations

from pathlib import Path
from typing import cast

from nerf.errors import InputError
from nerf.export.cameras import picture_names
from nerf.export.context import ExportContext, ExportRequest
from nerf.export.mesh import write as write_mesh
from nerf.export.outputs import NEEDS, OUTPUTS, Output
from nerf.meshing.surface import SurfaceRequest
from nerf.rendering.model import RadianceModel
from nerf.workflows.trained import TrainedRun

OUT_OF_MEMORY = "not enough memory; lower --resolution, --texture or --count"


class ExportError(InputError):
    """Outputs that could not be written, a line each; the others were."""

    def __init__(self, failures: list[InputError]) -> None:
        super().__init__("\n".join(map(str, failures)))
        self.failures = failures  # each with its cause


def mesh(trained: TrainedRun, file: Path, request: SurfaceRequest) -> None:
    """Writes the mesh and its report, and says so.

    Raises:
        InputError: there is no surface, or it cannot be written.
    """
    _say(write_mesh(_context(trained, ExportRequest({"mesh": file}, request)), file))


def export(trained: TrainedRun, request: ExportRequest) -> None:
    """Writes the outputs of a request, all in one frame, and says so; what fails does not keep the others from it.

    Raises:
        ExportError: at the end, if some could not be written.
    """
    context = _context(trained, request)
    failures = []
    for output in sorted(OUTPUTS, key=lambda output: NEEDS.index(output.needs)):
        if output.name not in request.outputs:
            continue
        path = request.outputs[output.name]
        try:
            sentence = output.exporter().write(context, path)
        except Exception as error:
            failures.append(_failure(output, path, error))
        else:
            _say(sentence)
    if failures:
        raise ExportError(failures) from failures[0].__cause__


def _context(trained: TrainedRun, request: ExportRequest) -> ExportContext:
    model = cast(RadianceModel, trained.model)  # a run is opened with its exact model; only films are of a baked one
    return ExportContext(model, trained.cameras, picture_names(trained.record["views"]), request)


def _failure(output: Output, path: Path, error: Exception) -> InputError:
    """Returns the error, one line long, that says which output failed and why; its cause is the error that it met."""
    if isinstance(error, InputError):
        reason = str(error).removeprefix(f"{path}: ")
    elif isinstance(error, MemoryError):
        reason = OUT_OF_MEMORY
    else:
        reason = " ".join(f"{type(error).__name__}: {error}".split())
    failure = InputError(f"{output.option} {path}: {reason}")
    failure.__cause__ = error
    return failure


def _say(sentence: str) -> None:
    """Tells the user what was written."""
    print(sentence)
