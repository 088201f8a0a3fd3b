"""What is learned of the pictures: poses and colours, with the scene, in both backends."""

from __future__ import annotations

import dataclasses
import math

import pytest
import torch

from nerf.backends.choice import Backend
from nerf.config import settings_from_dict
from nerf.errors import InputError
from nerf.geometry.cameras import Cameras
from nerf.ops.composite import Rendering
from nerf.scenes import Views
from nerf.training.camera_optimizer import apply_exposure, perturbed_rays, rotations
from nerf.training.radiance import RadianceTask
from tests.backends.small_scene import ball_photographs, ball_task, ball_views, native_task, reference_task
from tests.backends.test_fused_step import states_equal
from tests.conftest import RADIUS, small_settings

LEARNED = {"capture": {"poses": "refine", "exposure": "learn"}}


def test_a_quarter_turn_about_z_is_written_by_hand():
    turn = rotations(torch.tensor([[0.0, 0.0, math.pi / 2], [0.0, 0.0, 0.0]]))
    expected = torch.tensor([[0.0, -1, 0], [1, 0, 0], [0, 0, 1]])
    assert torch.allclose(turn[0], expected, atol=1e-6) and torch.equal(turn[1], torch.eye(3))


def test_turned_rays_are_those_of_a_turned_camera_to_first_order():
    views = ball_photographs()
    change = 1e-3 * torch.randn(6, generator=torch.Generator().manual_seed(1))
    rays = views.cameras.image_rays(1)
    moved = perturbed_rays(rays, change[None, :3].expand(len(rays), 3), change[None, 3:].expand(len(rays), 3))
    pose = views.cameras.world_from_camera.clone()
    pose[1] = torch.cat([rotations(change[None, :3])[0] @ pose[1, :, :3], pose[1, :, 3:] + change[3:, None]], 1)
    exact = dataclasses.replace(views.cameras, world_from_camera=pose).image_rays(1)
    assert torch.allclose(moved.origin, exact.origin, atol=1e-6)
    assert (moved.direction - exact.direction).abs().max() < 2e-6  # half the square of the turn
    assert (rays.direction - exact.direction).abs().max() > 5e-4


def test_a_picture_shows_gain_times_colour_and_its_offset_only_where_something_is():
    rendering = Rendering(torch.tensor([[0.2, 0.4, 0.6], [0.0, 0.0, 0.0]]), torch.tensor([1.0, 0.0]), torch.zeros(2))
    color = torch.tensor([[2.0, 1.0, 0.5, 0.1, 0.0, -0.1]]).expand(2, 6)
    assert torch.allclose(apply_exposure(rendering, color).rgb, torch.tensor([[0.5, 0.4, 0.2], [0.0, 0.0, 0.0]]))


def learned_ball(threads: int = 1, steps: int = 20, task: RadianceTask | None = None, first: int = 0):
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    task = task or ball_task(changes=LEARNED)
    for step in range(first, steps):
        task.train_step(step, step / 40)
    torch.set_num_threads(before)
    return task


def test_the_same_seed_gives_the_same_poses_and_colours_on_any_number_of_threads():
    states = [learned_ball(threads).state() for threads in (1, 2, 4)]
    assert all(states_equal(states[0], state) for state in states[1:])
    assert (states[0]["views.color"] != 0).any()


def test_a_resumed_run_continues_with_its_poses_bit_for_bit():
    whole = learned_ball()
    half = {name: value.clone() for name, value in learned_ball(steps=11).state().items()}
    resumed = ball_task(changes=LEARNED)
    resumed.load_state(half)
    assert states_equal(learned_ball(task=resumed, first=11).state(), whole.state())


def test_a_run_passes_between_backends_with_what_was_learned_of_its_pictures():
    native = learned_ball()
    reference = reference_task(ball_views(), native.settings)
    reference.load_state(native.state())
    assert torch.equal(reference.views.cameras.world_from_camera, native.views.cameras.world_from_camera)
    before = reference.camera_optimizer.colors.clone()
    reference.train_step(20, 0.5)
    assert not torch.equal(reference.camera_optimizer.colors, before)
    assert not torch.equal(reference.views.cameras.world_from_camera, native.views.cameras.world_from_camera)


def test_the_pictures_that_were_read_keep_their_poses_and_the_mean_change_is_none():
    views = ball_views()
    given = views.cameras.world_from_camera.clone()
    task = learned_ball(task=ball_task(changes=LEARNED, views=views))
    assert torch.equal(views.cameras.world_from_camera, given)
    moved = task.views.cameras.world_from_camera[:, :, 3] - given[:, :, 3]
    assert moved.abs().max() > 1e-3 and moved.mean(0).abs().max() < 1e-6
    rotation = task.views.cameras.world_from_camera[:, :, :3]
    assert torch.allclose(rotation @ rotation.mT, torch.eye(3).expand(6, 3, 3), atol=1e-6)


def trained(views: Views, *words: str) -> RadianceTask:
    task = native_task(views, small_settings(*words))
    for step in range(500):
        task.train_step(step, step / 500)
    return task


def pixels_off(cameras: Cameras, truth: Cameras) -> float:
    """Returns how far the ball's surface is from where it belongs in the pictures, pixels, in the mean."""
    normal = torch.nn.functional.normalize(torch.randn(400, 3, generator=torch.Generator().manual_seed(0)), dim=1)
    off = []
    for frame in range(len(truth)):
        facing = normal[normal @ truth.world_from_camera[frame, :, 3] > 1.0] * RADIUS
        off.append((cameras.project(frame, facing)[0] - truth.project(frame, facing)[0]).norm(dim=1).mean())
    return torch.stack(off).mean().item()


def test_disturbed_poses_are_found_again(ball):
    random = torch.Generator().manual_seed(3)
    turn = torch.nn.functional.normalize(torch.randn(24, 3, generator=random), dim=1) * math.radians(3)
    pose = ball.cameras.world_from_camera.clone()
    pose[:, :, :3] = rotations(turn) @ pose[:, :, :3]
    wrong = dataclasses.replace(ball, cameras=dataclasses.replace(ball.cameras, world_from_camera=pose))
    task = trained(wrong, "capture.poses=refine", "capture.pose_rate=5e-3")
    before, after = (pixels_off(views.cameras, ball.cameras) for views in (wrong, task.views))
    assert before > 2 and after < 0.5 * before  # measured: 2.85 and 1.01 pixels


def test_uneven_exposures_are_found_again(ball):
    # At random, and without colours that depend on the view: those could learn a picture's gain as well.
    gain = 1.3 ** (2 * torch.rand(24, generator=torch.Generator().manual_seed(6)) - 1)
    images = ball.images.clone()
    images[..., :3] = (ball.images[..., :3] * gain[:, None, None, None]).clamp(0, 255).round().to(torch.uint8)
    task = trained(dataclasses.replace(ball, images=images), "capture.exposure=learn", "field.direction_degree=1")
    gains, offsets = task.camera_optimizer.colors.split(3, dim=1)
    found = (0.5 * gains + offsets).mean(1).log()  # of a middle grey
    wanted = gain.log() - gain.log().mean()
    # Measured: 0.31; what little the pictures have in common leaves room for errors.
    assert (found - found.mean() - wanted).abs().mean() < 0.5 * wanted.abs().mean()


@pytest.mark.parametrize("learned", [{"poses": "refine"}, {"exposure": "learn"}, {"transients": "discount"}])
def test_what_cuda_does_not_learn_yet_is_refused_before_anything_is_made(learned):
    with pytest.raises(InputError, match="not on CUDA yet"):
        Backend("cuda", "").task(ball_views(), settings_from_dict({"capture": learned}, "test"))
