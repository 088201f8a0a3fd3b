"""The radiance task with tiny-cuda-nn's grid and networks on the GPU; marching and compositing are the reference's."""

from __future__ import annotations

import torch
from torch import Tensor

from nerf.backends.tcnn_field import TcnnField, from_tcnn, to_tcnn
from nerf.config import Settings
from nerf.geometry.scene_box import SceneBox
from nerf.rendering.model import RadianceModel
from nerf.runs import checked
from nerf.seeding import generator
from nerf.training.radiance import RadianceTask, load_model_state, model_state, new_model

MOMENTS = ("exp_avg", "exp_avg_sq")


def tcnn_model(settings: Settings, box: SceneBox, hull: Tensor | None = None) -> RadianceModel:
    """Returns the model that `new_model` returns, its field computed by tiny-cuda-nn."""
    made = new_model(settings, box, hull)
    field = TcnnField(settings.field, generator(settings.train.seed, "parameters"))
    return RadianceModel(field, made.occupancy, made.box, made.settings)


class TcnnRadianceTask(RadianceTask):
    """The reference's task on another field; its state has the names and the shapes of the reference's."""

    def _new_model(self, box: SceneBox, hull: Tensor) -> RadianceModel:
        return tcnn_model(self.settings, box, hull)

    def state(self) -> dict[str, Tensor]:
        shapes = self.model.field.shapes
        tensors = model_state(self.model)
        for name, value in self.model.field.state_dict().items():
            tensors[f"adam.{name}.value"] = value
        means = {name: mean.float().cpu() for name, mean in self.average.mean.items()}
        tensors |= {f"field.{name}": mean for name, mean in from_tcnn(means, shapes).items()}
        states = self.descent.moments()
        for key in MOMENTS:
            arrays = {name: state[key].float().cpu() for name, state in states.items()}
            for name, moment in from_tcnn(arrays, shapes).items():
                tensors[f"adam.{name}.{key}"] = moment
                tensors[f"adam.{name}.step"] = states["density"]["step"].cpu().clone()
        return tensors | {"rays_per_step": torch.tensor(self.rays_per_step)}

    def load_state(self, tensors: dict[str, Tensor]) -> None:
        load_model_state(self.model, tensors)
        shapes = self.model.field.shapes
        for name, array in self.model.field.named_parameters():
            self.average.mean[name].copy_(array.detach())
        self.model.field.load_tensors({name: checked(tensors, f"adam.{name}.value", shapes[name]) for name in shapes})
        states = self.descent.moments()
        for key in MOMENTS:
            moments = {name: checked(tensors, f"adam.{name}.{key}", shape) for name, shape in shapes.items()}
            for name, array in to_tcnn(moments).items():
                states[name][key].copy_(array)
        for state in states.values():
            state["step"].copy_(checked(tensors, f"adam.{next(iter(shapes))}.step", state["step"].shape))
        self.rays_per_step = int(checked(tensors, "rays_per_step", state["step"].shape))
