"""The fused step's gradients by poses and colours of its pictures, against the reference's autograd."""

from __future__ import annotations

import pytest
import torch

from nerf.backends.reference import ReferenceEngine
from nerf.rendering.losses import photometric_loss
from nerf.training.camera_optimizer import apply_exposure, perturbed_rays
from nerf.training.radiance import RadianceTask
from tests.backends.small_scene import ball_photographs, ball_task, ball_views
from tests.backends.test_fused_step import TOLERANCE, drawn, relative_error, round_to_bfloat16

LEARNED = {"capture": {"poses": "refine", "exposure": "learn"}}


def view_gradients(task: RadianceTask, progress: float) -> tuple[torch.Tensor, torch.Tensor]:
    """Returns gradients by views (F, 12) of the engine's next step and of the reference's autograd."""
    n = len(task.views)
    color = torch.tensor([1.2, 0.9, 1.1, 0.05, 0.0, -0.04]) + 0.1 * torch.rand(n, 6)
    task.camera_optimizer.colors.copy_(color)
    model = task.model
    reference = ReferenceEngine(model)
    rays, offset, rgba, _ = drawn(task, task.rays_per_step)
    eye = task.views.cameras.world_from_camera[:, :, 3]
    frame = (rays.origin[:, None] - eye).norm(dim=2).argmin(1)
    change = torch.zeros(n, 6, requires_grad=True)
    color.requires_grad_()
    with model.field.encoding.coarsest(model.active_levels(progress)):
        moved = perturbed_rays(rays, *change[frame].split(3, dim=1))
        samples = reference.samples(moved, model.step_length(progress), offset)
        rendering, _, density = reference.shade(moved, samples, near=task.arrays.near)
    loss = photometric_loss(
        apply_exposure(rendering, color[frame], rgba), rgba if task.views.has_alpha else rgba[:, :3], "random"
    )
    loss = loss + task.settings.train.distortion * reference.distortion(rays, samples, density)
    truth = torch.cat(torch.autograd.grad(loss, [change, color]), dim=1)
    task.camera_optimizer.gradients.fill_(7.0)
    model.engine().step(task.next_step(progress))
    return task.camera_optimizer.gradients, truth


SCENES = {
    "in its cube": (ball_views(), {}, 1.0),
    "the coarse levels": (ball_views(), {"render": {"minimum_weight": 0.0}}, 0.0),
    "photographs through lenses": (
        ball_photographs(),
        {"scene": {"bounds": 0}, "train": {"distortion": 0.01, "fade_near": 1.0}},
        1.0,
    ),
}


@pytest.mark.parametrize(("views", "changes", "progress"), SCENES.values(), ids=SCENES.keys())
def test_gradients_by_the_pictures_are_those_of_the_reference(isa, threads, views, changes, progress):
    task = ball_task(changes=changes | LEARNED, views=views)
    round_to_bfloat16(task)
    found, truth = view_gradients(task, progress)
    for columns in (slice(0, 3), slice(3, 6), slice(6, 9), slice(9, 12)):
        # By position a field's slope jumps from cell to cell: samples on a bound may fall on either side.
        tolerance = max(TOLERANCE[isa], 2e-2) if columns.stop <= 6 else TOLERANCE[isa]
        assert relative_error(found[:, columns], truth[:, columns]) < tolerance, columns
