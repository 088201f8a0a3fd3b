"""What the outputs of one export share: the request, the cameras, the surface, and what each camera sees of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Generic, TypeVar

import torch
from torch import Tensor

from nerf.geometry.cameras import Cameras
from nerf.geometry.scale import Scale
from nerf.geometry.similarity import Placement, placement
from nerf.geometry.up import find_up
from nerf.meshing.mesh import Mesh, present
from nerf.meshing.surface import SurfaceRequest, make_surface, pinhole_cameras
from nerf.rendering.crop import cropped
from nerf.rendering.depth_views import DepthViews, render_depths
from nerf.rendering.model import RadianceModel

T = TypeVar("T")


@dataclass(frozen=True)
class ExportRequest:
    """What is to be written, where, and the choices that all outputs share."""

    outputs: Mapping[str, Path]  # name of an output -> its file or folder
    surface: SurfaceRequest  # how the surface is made; its crop box holds for all outputs
    up: str = ""  # the axis that is to be up, "z" or "-y"; "" = as in the input
    scale: float | None = None  # multiplies all lengths; None = to `unit`, where the scale is known
    unit: str = ""  # what lengths are in, after scaling; "" = scene units
    count: int = 0  # of points, or of splats at most; 0 = as usual
    depth_format: str = "png"  # of `choices.DEPTH_FORMATS`
    coverage: bool = False  # whether the page tells where photographs tell little


class Once(Generic[T]):
    """A thing that is made when it is first asked for. If making it failed, every later call fails likewise."""

    def __init__(self, make: Callable[[], T]) -> None:
        self._make = make
        self._made: list[T] = []  # at most one
        self._error: Exception | None = None

    @property
    def made(self) -> bool:
        """Whether it is there already."""
        return bool(self._made)

    def __call__(self) -> T:
        if self._error is not None:
            raise self._error
        if not self._made:
            try:
                self._made.append(self._make())
            except Exception as error:
                self._error = error
                raise
        return self._made[0]


class ExportContext:
    """A run on its way out: what the outputs of one export are made from, each part made once."""

    def __init__(
        self,
        model: RadianceModel,
        cameras: Cameras,
        names: list[str],
        request: ExportRequest,
        floor: Tensor | None = None,
        files: list[str] | None = None,
        scale: Scale | None = None,
    ) -> None:
        """files: paths of the pictures relative to the scene's folder; None: their names."""
        self.cameras = cameras  # F, of the training views, in the frame of the input poses
        self.names = names  # F, unique, usable as file names
        self.files = names if files is None else files  # F
        self.request = request
        self.scale = scale  # how long a scene unit is, if it is known
        self.floor = floor  # (3,), the normal of a floor that is known; it tells which way is up
        self.model: Callable[[], RadianceModel] = Once(lambda: cropped(model, request.surface.crop))
        self.surface: Callable[[], tuple[Mesh, dict[str, object]]] = Once(self._make_surface)
        self._whole_model = model
        self._views: Once[DepthViews] = Once(lambda: render_depths(model, pinhole_cameras(cameras)))

    @cached_property
    def placement(self) -> Placement:
        """From the frame of the input poses to the one that is asked for."""
        request = self.request
        up = find_up(self.cameras, self.floor).direction
        return placement(request.up, up, request.scale, request.unit, self.cameras.origin, self.scale)

    def rendered_views(self) -> DepthViews | None:
        """Returns how far the cameras see, if that was rendered for the surface and is what the cameras see exactly.

        It is not where a crop box cuts away what the surface is made from, nor where lenses bend or pictures differ in
        size, see `pinhole_cameras`.
        """
        if not self._views.made or self.request.surface.crop is not None:
            return None
        views = self._views()
        return views if views.cameras is self.cameras else None

    def _make_surface(self) -> tuple[Mesh, dict[str, object]]:
        """Returns the surface in the frame that is asked for, and how it was made."""
        self.model()  # an empty crop box is refused before the work; says how much is cut

        # Of a whole place a mesh needs only what the cameras see of the thing.
        views = self._views() if self._whole_model.box.contraction is None else None
        mesh, how = make_surface(self._whole_model, self.cameras, self.request.surface, views)
        vertices = self.placement.points(torch.from_numpy(mesh.vertices)).numpy()
        normals = self.placement.directions(torch.from_numpy(present(mesh.normals))).numpy()
        return replace(mesh, vertices=vertices, normals=normals), how
