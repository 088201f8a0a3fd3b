"""A run folder opened for use: the model, its settings and the cameras it learned from."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from nerf.backends.choice import Backend, choose_backend
from nerf.config import Settings
from nerf.geometry.cameras import Cameras
from nerf.geometry.scale import Scale
from nerf.geometry.scene_box import CropBox, SceneBox
from nerf.geometry.up import checked_direction
from nerf.rendering.model import RadianceModel, load_model_state, model_shapes
from nerf.report import say
from nerf.runs import RunFolder
from nerf.training.camera_optimizer import refined_poses
from nerf.training.lens_refinement import LensChange, learned_lens


@dataclass(frozen=True)
class TrainedRun:
    """What a run folder holds.

    backend: what renders the model. facts: step, seconds and version of the checkpoint. record: what scene was read.
    cameras: of the training views, refined if they were. lens: what was found wrong with all cameras' lens, if asked.
    """

    folder: RunFolder
    backend: Backend
    settings: Settings
    facts: dict[str, Any]
    record: dict[str, Any]
    cameras: Cameras
    model: RadianceModel
    lens: LensChange | None = None

    def refined(self, cameras: Cameras) -> Cameras:
        """Returns cameras of the same capture with the lens that was found, relative to the run's origin."""
        cameras = cameras.about(self.cameras.origin)
        return cameras if self.lens is None else self.lens.of(cameras)

    @property
    def floor(self) -> Tensor | None:
        """The normal (3,) of a floor in the capture's sparse points; None if they show none.

        Raises:
            InputError: it is none.
        """
        numbers = self.record.get("floor")
        if numbers is None:
            return None
        return checked_direction(numbers, f'{self.folder.path / "scene.json"}: "floor"')

    @property
    def scale(self) -> Scale | None:
        """How long a scene unit is, if anything told it.

        Raises:
            InputError: its file is damaged.
        """
        return self.folder.load_scale()

    def crop(self, asked: CropBox | None) -> CropBox | None:
        """Returns the crop box, relative to the cameras' origin, that is asked for, else the run's own, which is said.

        Raises:
            InputError: the file of the run's own is damaged.
        """
        if asked is None:
            asked = self.folder.load_crop()
            if asked is not None:
                say("crop", f"crop: as {self.folder.path / 'crop.json'} says; --crop overrules it")
        return None if asked is None else asked.about(self.cameras.origin)


def open_run(path: Path, backend: str = "auto") -> TrainedRun:
    """Returns the run in a folder, rendered by a backend; needs no pictures.

    A field that the fastest backend here does not compute is rendered by the reference, which is said.

    Raises:
        InputError: the folder holds no whole run.
    """
    folder = RunFolder(path)
    settings = folder.load_settings()
    record, cameras = folder.load_scene()
    folder.check_shapes(model_shapes(settings))
    tensors, facts = folder.load_checkpoint()
    chosen = choose_backend(backend)
    reason = chosen.refuses(settings, training=False)
    if reason and backend == "auto":
        chosen = choose_backend("reference")
        say("backend", f"backend: {chosen.name} ({chosen.detail}); {reason}")

    model = chosen.model(settings, SceneBox(torch.zeros(3), 1.0))
    load_model_state(model, tensors)
    lens = learned_lens(tensors)
    cameras = refined_poses(cameras, tensors)
    cameras = cameras if lens is None else lens.of(cameras)
    return TrainedRun(folder, chosen, settings, facts, record, cameras, model.eval(), lens)
