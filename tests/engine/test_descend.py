"""A step in two halves, gradients and then descend: the bits of the fused step."""

from __future__ import annotations

import ctypes

import pytest
import torch

from nerf.rendering.radiance_engine import StepResult, TrainingStep
from nerf.training.radiance import RadianceTask
from tests.backends.small_scene import ball_photographs, ball_task

OCCUPANCY = {"occupancy_every": 3, "occupancy_from": 3}
LEARNED = {"capture": {"poses": "refine", "exposure": "learn"}}
UNBOUNDED = {"scene": {"bounds": 0}, "train": {"distortion": 0.01, "fade_near": 1.0}}
SCENES = {
    "in its box": (None, {}),
    "one feature and odd widths": (
        None,
        {"field": {"levels": 5, "features_per_level": 1, "density_width": 19, "color_width": 21}},
    ),
    "with view gradients": (None, LEARNED),
    "near fade and distortion": (ball_photographs(), UNBOUNDED),
    "all of it": (ball_photographs(), UNBOUNDED | LEARNED),
}


def new_task(scene: str) -> RadianceTask:
    views, changes = SCENES[scene]
    return ball_task(
        changes={name: dict(values) for name, values in changes.items()} | {"render": OCCUPANCY}, views=views
    )


def take_steps_in_halves(task: RadianceTask) -> None:
    """Makes every further step of a task one for its gradients, and one that descends by them."""
    engine = task.model.engine()

    def halves(step: TrainingStep) -> StepResult:
        gradients, result = engine.gradients(step)
        engine.descend(step, gradients)
        return result

    engine.step = halves


def contents(task: RadianceTask) -> dict[str, torch.Tensor]:
    """Returns everything that a step may move, and what the packed copies give."""
    position = torch.rand(200, 3, generator=torch.Generator().manual_seed(1))
    state = task.state() | {"value": task.model.occupancy.value, "density": task.model.unit_density(position)}
    return {name: tensor.clone() for name, tensor in state.items()}


@pytest.mark.parametrize("scene", SCENES)
def test_gradients_and_then_descend_give_the_bits_of_the_fused_step(isa, threads, scene):
    fused, halves = new_task(scene), new_task(scene)
    take_steps_in_halves(halves)
    for step in range(8):
        progress = step / 7  # from the coarsest levels to all
        one, other = fused.train_step(step, progress), halves.train_step(step, progress)
        assert (one.error, one.rays, one.samples) == (other.error, other.rays, other.samples)
    expected, found = contents(fused), contents(halves)
    assert found.keys() == expected.keys()
    assert [name for name in expected if not torch.equal(expected[name], found[name])] == []
    assert fused.model.occupancy.value.any() and fused.moments["exp_avg_sq"]["encoding.table"].any()


def test_gradients_alone_move_nothing():
    task = new_task("in its box")
    before = contents(task)
    task.model.engine().gradients(task.next_step(1.0))
    after = contents(task)
    assert [name for name in before if not torch.equal(before[name], after[name])] == []


def test_descend_leaves_numbers_of_the_table_without_gradient_alone():
    task = new_task("in its box")
    gradients = {name: torch.zeros_like(value) for name, value in task.parameters.items()}
    gradients["encoding.table"][5, 1] = 1e-3
    before = {name: value.detach().clone() for name, value in task.parameters.items()}
    task.moments["exp_avg"]["encoding.table"].fill_(0.5)  # would go on moving all, were the step not sparse
    task.model.engine().descend(task.next_step(1.0), gradients)
    moved = task.parameters["encoding.table"].detach() != before["encoding.table"]
    assert moved.nonzero().tolist() == [[5, 1]]
    assert not gradients["encoding.table"].any()


def test_descend_after_a_step_of_no_ray_moves_nothing():
    task = new_task("in its box")
    task.rays_per_step = 0
    take_steps_in_halves(task)
    before = {name: value.detach().clone() for name, value in task.parameters.items()}
    task.train_step(0, 0.0)
    assert all(torch.equal(before[name], value) for name, value in task.parameters.items())


def test_descend_without_gradients_is_refused():
    engine = new_task("in its box").model.engine()
    call = engine.step_call(new_task("in its box").next_step(1.0))
    with pytest.raises(RuntimeError, match="nerf_radiance_descend: no gradients to descend by"):
        engine.native.call("nerf_radiance_descend", engine._handle, ctypes.byref(call))
