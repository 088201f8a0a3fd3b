"""The visual hull of the ball."""

import dataclasses

import pytest
import torch

from nerf.capture.visual_hull import Silhouettes, camera_box, carve, find_silhouettes, scene_space, tight_box
from nerf.errors import InputError
from nerf.geometry.scene_box import SceneBox
from nerf.scenes.blender import load_blender
from nerf.training.pixel_sampler import PixelSampler
from tests.conftest import DISTANCE, RADIUS


def test_cameras_round_a_point_give_a_box_centred_there(ball_scene):
    box = camera_box(load_blender(ball_scene, "train").cameras)
    assert torch.allclose(box.corner + box.side / 2, torch.zeros(3), atol=1e-4)
    assert box.side == pytest.approx(DISTANCE, abs=1e-3)


def test_cameras_in_one_place_are_refused(ball_scene):
    with pytest.raises(InputError, match="stand in one place"):
        camera_box(load_blender(ball_scene, "train").cameras[:1])


def test_carving_keeps_the_ball_and_little_more(ball_scene):
    views = load_blender(ball_scene, "train")
    box = SceneBox(torch.full((3,), -0.8), 1.6)
    hull = carve(views, find_silhouettes(views), box, 32)
    axis = ((torch.arange(32) + 0.5) / 32 - 0.5) * 1.6
    distance = torch.stack(torch.meshgrid(axis, axis, axis, indexing="ij")).norm(dim=0)
    assert hull[distance < RADIUS].all()
    assert not hull[distance > RADIUS + 0.35].any()


def test_the_tight_box_holds_the_ball_closely(ball_scene):
    views = load_blender(ball_scene, "train")
    box = tight_box(views, find_silhouettes(views), camera_box(views.cameras))
    low, high = box.corner, box.corner + box.side
    assert (low <= -RADIUS).all() and (high >= RADIUS).all()
    assert box.side < 2 * RADIUS * 1.4


def test_empty_silhouettes_leave_the_box_as_it_is(ball_scene):
    views = load_blender(ball_scene, "train")
    views.images.zero_()
    box = camera_box(views.cameras)
    assert tight_box(views, find_silhouettes(views), box).side == box.side


def test_silhouettes_found_once_give_the_space_and_the_pixels_of_those_found_each_time(ball_scene):
    views = load_blender(ball_scene, "train")
    silhouettes = find_silhouettes(views)

    for bounds in (0.0, 0.8):
        box, hull = scene_space(views, bounds, 32, 0.01, silhouettes)
        other_box, other_hull = scene_space(views, bounds, 32, 0.01)
        assert torch.equal(box.corner, other_box.corner) and box.side == other_box.side
        assert torch.equal(hull, other_hull)

    candidates = PixelSampler(views, 0.01, silhouettes).candidates
    assert torch.equal(candidates, PixelSampler(views, 0.01).candidates)

    # Those that are given are used: where all else is farther from them, fewer pixels and cells are left.
    outside = silhouettes.distances > 0
    far = Silhouettes(silhouettes.distances + 5 * outside, silhouettes.scale)
    assert len(PixelSampler(views, 0.01, far).candidates) < len(candidates)
    assert scene_space(views, 0.8, 32, 0.0, far)[1].sum() < scene_space(views, 0.8, 32)[1].sum()


def test_pictures_without_alpha_have_no_silhouettes(ball_scene):
    views = load_blender(ball_scene, "train")
    assert find_silhouettes(dataclasses.replace(views, images=views.images[..., :3])) is None
