"""What some pictures show and others do not: found by its error, discounted, and forgiven."""

from __future__ import annotations

import dataclasses

import pytest
import torch

from nerf.backends.reference import ReferenceEngine
from nerf.rendering.losses import photometric_errors
from nerf.scenes import Views
from nerf.training import transients
from nerf.training.radiance import RadianceTask
from nerf.training.transients import EVERY, MEMORY, Transients
from tests.backends.small_scene import ball_photographs, ball_task, ball_views
from tests.backends.test_fused_step import (
    TOLERANCE,
    drawn,
    native_gradients,
    relative_error,
    round_to_bfloat16,
    states_equal,
)
from tests.training.test_camera_optimizer import learned_ball, trained

LEARNED: dict[str, dict[str, object]] = {"capture": {"transients": "discount"}}


def looked(watched: Transients, error: torch.Tensor) -> torch.Tensor:
    """Returns the weights after every pixel of the pictures had an error (F, H, W) often enough to be remembered."""
    pixel = torch.arange(error.numel())
    for number in range(1, int(MEMORY) * EVERY + 1):
        watched.observe(number, pixel, error.flatten())
    return watched.weights.weight


def test_a_patch_of_large_errors_weighs_nothing_until_they_are_small_again():
    views = ball_photographs()
    watched = Transients(views)
    error = 1e-3 * torch.rand(views.images.shape[:3], generator=torch.Generator().manual_seed(0))
    error[2, 5:11, 4:10] = 0.1
    weight = looked(watched, error)
    assert watched.weights.scale == 1 and not weight[2, 6:10, 5:9].any()
    weight = weight.clone()
    weight[2, 4:12, 3:11] = 1  # its neighbours may be of either kind
    assert weight.all()
    assert "at most" in watched.found()
    error[2] = 1e-3
    assert looked(watched, error).all()


def test_a_single_pixel_of_large_error_is_detail_and_no_transient():
    views = ball_photographs()
    error = 1e-2 * torch.ones(views.images.shape[:3])
    error[1, 12, 12] = 0.15
    assert looked(Transients(views), error).all()


def weighted_task(views: Views, capture: dict[str, object]) -> RadianceTask:
    """Returns a task whose pixels weigh nothing, something or all, at random."""
    scene: dict[str, dict[str, object]] = {"scene": {"bounds": 0}} if views.unbounded else {}
    task = ball_task(changes={"capture": capture} | scene, views=views)
    assert task.transients is not None
    weight = task.transients.weights.weight
    weight.copy_((3 * torch.rand(weight.shape, generator=torch.Generator().manual_seed(3)) - 1).clamp(0, 1))
    round_to_bfloat16(task)
    return task


@pytest.mark.parametrize("views", [ball_views(), ball_photographs()], ids=["alpha", "photographs"])
def test_the_engine_weights_errors_as_the_reference_does_and_tells_of_every_ray(isa, threads, views):
    task = weighted_task(views, {"transients": "discount"})
    reference = ReferenceEngine(task.model)
    n = task.rays_per_step
    rays, offset, rgba, _ = drawn(task, n)
    found, loss, _ = native_gradients(task, 1.0)
    by_ray = task.arrays.by_ray
    assert by_ray is not None

    frame = by_ray.pixel[:n] // task.pixels.width // task.pixels.height
    column, row = by_ray.pixel[:n] % task.pixels.width, by_ray.pixel[:n] // task.pixels.width % task.pixels.height
    again = task.views.cameras.rays(frame, column, row)
    assert torch.allclose(again.direction, rays.direction, atol=1e-5)

    samples = reference.samples(rays, task.model.step_length(1.0), offset)
    rendering, _, _ = reference.shade(rays, samples, near=task.arrays.near)
    target = rgba if task.views.has_alpha else rgba[:, :3]
    errors = photometric_errors(rendering, target, "random")
    scale = task.pixels.weights.scale if task.pixels.weights else 1
    weight = task.transients.weights.weight[frame, row // scale, column // scale] if task.transients else errors
    truth = (weight * errors).mean()
    truth.backward()
    assert abs(loss - truth.item()) < TOLERANCE[isa] * truth.item()
    assert relative_error(by_ray.error[:n], errors.detach()) < TOLERANCE[isa]
    table = task.parameters["encoding.table"].grad
    assert table is not None and relative_error(found["encoding.table"], table) < TOLERANCE[isa]


def test_the_same_seed_gives_the_same_weights_and_a_resumed_run_continues_bit_for_bit():
    whole = learned_ball(task=ball_task(changes=LEARNED), steps=40)
    half = learned_ball(steps=25, threads=4, task=ball_task(changes=LEARNED)).state()
    resumed = ball_task(changes=LEARNED)
    resumed.load_state({name: value.clone() for name, value in half.items()})
    assert states_equal(learned_ball(task=resumed, first=25, steps=40).state(), whole.state())


def test_a_patch_in_one_picture_is_discounted_and_what_all_show_is_not(ball: Views, monkeypatch):
    monkeypatch.setattr(transients, "FACTOR", 3.0)  # after so few steps usual errors are large
    images = ball.images.clone()
    images[3, 20:44, 24:40] = torch.tensor([0, 0, 255, 255], dtype=torch.uint8)
    task = trained(dataclasses.replace(ball, images=images), "capture.transients=discount")
    assert task.transients is not None
    weight = task.transients.weights.weight.clone()
    assert weight[3, 22:42, 26:38].mean() < 0.1
    weight[3, 18:46, 22:42] = 1
    assert weight.mean() > 0.97
