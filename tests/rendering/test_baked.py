"""Previews: a baked brick by hand, a learned ball against its exact pictures, and what they say they lose."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch

from nerf.geometry.cameras import Cameras, look_at
from nerf.geometry.scene_box import SceneBox
from nerf.rendering.baked import COMPONENTS, BakedModel, bake, coarse, preview_quality
from nerf.training.radiance import RadianceTask
from tests.backends.small_scene import ball_task


@pytest.fixture(scope="module")
def learned() -> RadianceTask:
    """A task that has learned the ball."""
    task = ball_task()
    for step in range(150):
        task.train_step(step, step / 150)
    return task


def one_brick(cell: tuple[int, int, int], opacity: int, color: list[int]) -> BakedModel:
    """Returns a box of 4^3 cells, [-1, 1]^3, whose only brick holds the same bytes at all its vertices."""
    brick = torch.zeros(4, 4, 4, dtype=torch.int32)
    distance = torch.zeros(4, 4, 4, dtype=torch.uint8)
    for index in torch.cartesian_prod(*[torch.arange(4)] * 3):
        distance[tuple(index)] = (index - torch.tensor(cell)).abs().max()

    opacities = torch.full((1, 3, 3, 3), opacity, dtype=torch.uint8)
    colors = torch.tensor(color + [0] * (COMPONENTS - len(color)), dtype=torch.uint8).repeat(1, 3, 3, 3, 1)
    scale = torch.full((COMPONENTS,), 1 / 255)
    box = SceneBox(torch.full((3,), -1.0), 2.0)
    return BakedModel(box, opacities, colors, brick, distance, scale, torch.zeros(COMPONENTS), 2 / 320, 0.0)


def one_pixel(eye: list[float], target: list[float]) -> Cameras:
    pose = look_at(torch.tensor(eye), torch.tensor(target), torch.tensor([0.1, 0.2, 1.0]))
    return Cameras(pose[None], torch.ones(1, 2), torch.full((1, 2), 0.5), 1, 1)


def test_a_ray_through_one_brick_is_done_by_hand(isa, threads):
    # Opacity 5/255 a step, colour (255, 0, 51) / 255 of it, which along -x is halved: the slope by x is +half.
    baked = one_brick((2, 1, 1), 5, [5, 0, 1, 2, 0, 0])
    seen = baked.picture(one_pixel([-3.0, -0.25, -0.25], [0.0, -0.25, -0.25]), 0)
    steps = 320 // 4  # the brick is a quarter of the cube long
    opacity = 1 - (1 - 5 / 255) ** steps
    assert seen.opacity.item() == pytest.approx(opacity, abs=1e-4)
    assert seen.rgb[0, 0].tolist() == pytest.approx([opacity * 1.4, 0, opacity * 0.2], abs=1e-4)
    # All light is met in cell x in [0, 0.5], 3 to 3.5 from the eye, most of it in front.
    assert 3.0 < seen.depth.item() / seen.opacity.item() < 3.25

    back = baked.picture(one_pixel([3.0, -0.25, -0.25], [0.0, -0.25, -0.25]), 0)
    assert back.rgb[0, 0].tolist() == pytest.approx([opacity * 0.6, 0, opacity * 0.2], abs=1e-4)


def test_samples_less_than_half_as_heavy_as_the_heaviest_are_left_out_of_a_foggy_ray(isa):
    # The first of 80 samples is the heaviest, 10/255; the others weigh half of that until half of the light is left.
    baked = replace(one_brick((2, 1, 1), 10, [10, 10, 10]), minimum_weight=0.1)
    seen = baked.picture(one_pixel([-3.0, -0.25, -0.25], [0.0, -0.25, -0.25]), 0)
    kept = 1 + math.floor(math.log(0.5) / math.log(1 - 10 / 255))
    assert seen.opacity.item() == pytest.approx(1 - (1 - 10 / 255) ** kept, abs=1e-4)


def test_a_ray_sees_the_same_alone_and_among_others(isa, learned):
    baked = bake(learned.model, learned.views.cameras)
    pose = learned.views.cameras.world_from_camera[:1]
    width, height = 7, 5
    focal = torch.full((1, 2), 8.0)
    center = torch.tensor([[3.5, 2.5]])

    picture = baked.picture(Cameras(pose, focal, center, width, height), 0)
    assert 0 < (picture.opacity > 0.5).sum() < width * height
    for row in range(height):
        for column in range(width):
            alone = baked.picture(Cameras(pose, focal, center - torch.tensor([[column, row]]), 1, 1), 0)
            assert torch.equal(alone.rgb[0, 0], picture.rgb[row, column])


@pytest.mark.parametrize("eye", [[-3.0, 0.7, 0.7], [0.3, 0.4, -3.0], [3.0, 3.0, 3.0]])
def test_rays_past_the_brick_see_nothing(eye):
    baked = one_brick((2, 1, 1), 255, [255, 255, 255])
    away = one_pixel(eye, [eye[0] * 0.5, eye[1], eye[2]] if eye[2] == 0.7 else [eye[0], eye[1] * 1.5, 0.9])
    assert baked.picture(away, 0).opacity.item() == 0


def test_a_baked_ball_is_nearly_the_ball(isa, learned):
    baked = bake(learned.model, learned.views.cameras)
    quality = preview_quality(learned.model, baked, learned.views.cameras, 1.0)
    assert quality.psnr > 30

    exact, quick = (model.picture(learned.views.cameras, 0) for model in (learned.model, baked))
    full = exact.opacity > 0.9
    assert full.any()
    assert (exact.depth / exact.opacity - quick.depth / quick.opacity)[full].abs().max() < 0.05
    assert not quick.opacity[exact.opacity == 0].any()


def test_pictures_of_two_sizes_are_previewed_each_in_its_own(learned):
    cameras = learned.views.cameras[:2]
    small = replace(cameras, size=torch.tensor([[cameras.width, cameras.height], [cameras.width - 5, 7]]))
    baked = bake(learned.model, small)
    whole = baked.picture(cameras, 1)
    cut = baked.picture(small, 1)
    assert cut.rgb.shape == (7, cameras.width - 5, 3)
    assert torch.equal(cut.rgb, whole.rgb[:7, :-5]) and torch.equal(cut.opacity, whole.opacity[:7, :-5])
    assert preview_quality(learned.model, baked, small, 1.0).psnr > 25


def test_more_vertices_lose_less(learned):
    cameras = learned.views.cameras
    few, many = (
        preview_quality(learned.model, bake(learned.model, cameras, corners), cameras, 1.0) for corners in (2, 4)
    )
    assert many.psnr > few.psnr


def test_a_baked_picture_has_the_same_bits_on_any_number_of_threads(learned):
    baked = bake(learned.model, learned.views.cameras)
    before = torch.get_num_threads()
    seen = []
    for threads in (1, 2, 4):
        torch.set_num_threads(threads)
        seen.append(baked.picture(learned.views.cameras, 1).rgb)
    torch.set_num_threads(before)
    assert torch.equal(seen[0], seen[1]) and torch.equal(seen[0], seen[2])


def test_an_empty_model_bakes_to_nothing():
    task = ball_task()
    task.model.occupancy.occupied.zero_()
    baked = bake(task.model, task.views.cameras)
    assert len(baked.opacity) == 0
    assert not baked.picture(task.views.cameras, 0).opacity.any()


def test_coarse_steps_are_longer_and_share_the_model(learned):
    quick = coarse(learned.model, 3)
    assert quick.step_length() == pytest.approx(3 * learned.model.step_length())
    assert quick.field is learned.model.field
    quality = preview_quality(learned.model, quick, learned.views.cameras, 1.0)
    assert 20 < quality.psnr < math.inf


def test_what_loses_nothing_says_so(learned):
    few = replace(learned.views.cameras[:2])
    assert preview_quality(learned.model, learned.model, few, 1.0).psnr == math.inf
