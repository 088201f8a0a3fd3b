"""The table of what `nerf export` can write: one row an output.

The command line's options, the guard against an empty request, the checks before the work, the help and the table in
docs/export.md all read it. A new output is a module with `check` and `write`, and a row here with the function that
loads it: modules load when used, so that the command line starts without torch.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Protocol

if TYPE_CHECKING:
    from nerf.exporters.context import ExportContext, ExportRequest

Need = Literal["surface", "cameras", "views"]
# What an output is made from, in the order of writing: the surface, the cameras alone, or a rendering by each camera.
NEEDS: tuple[Need, ...] = ("surface", "cameras", "views")


class Exporter(Protocol):
    """The module that writes an output."""

    def check(self, path: Path, request: ExportRequest) -> None:
        """Raises InputError now, not after the work, if the output cannot be written under this name."""
        ...

    def write(self, context: ExportContext, path: Path) -> str:
        """Writes the output; returns the sentence that tells the user of it."""
        ...


@dataclass(frozen=True)
class Output:
    """One thing that can be exported."""

    name: str  # of its option, without the dashes
    metavar: str  # FILE or FOLDER
    exporter: Callable[[], Exporter]  # loads the module that writes it
    needs: Need
    help: str  # what is written, in one line

    @property
    def option(self) -> str:
        """What the user types."""
        return f"--{self.name}"


def _mesh() -> Exporter:
    from nerf.exporters import mesh

    return mesh


def _points() -> Exporter:
    from nerf.exporters import pointcloud

    return pointcloud


def _depth() -> Exporter:
    from nerf.exporters import depth_maps

    return depth_maps


def _cameras() -> Exporter:
    from nerf.exporters import cameras

    return cameras


def _page() -> Exporter:
    from nerf.exporters import page

    return page


def _splats() -> Exporter:
    from nerf.exporters import splats

    return splats


OUTPUTS = (
    Output("mesh", "FILE", _mesh, "surface", "the mesh, .ply, .obj, .glb or .stl"),
    Output("points", "FILE", _points, "surface", "the point cloud, .ply, with normals and colours"),
    Output("depth", "FOLDER", _depth, "views", "a depth map for each training camera"),
    Output("splats", "FILE", _splats, "cameras", "Gaussian splats, .ply, .spz, .splat or .glb"),
    Output("page", "FILE", _page, "cameras", "the scene as one .html file, rendered by the browser itself"),
    Output("cameras", "FOLDER", _cameras, "cameras", "transforms.json, a COLMAP text model, and cameras.glb"),
)


def option_list() -> str:
    """Returns the options of all outputs as a sentence names them: "--a, --b or --c"."""
    *others, last = (output.option for output in OUTPUTS)
    return f"{', '.join(others)} or {last}"
