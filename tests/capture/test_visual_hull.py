"""The visual hull of the ball."""

import pytest
import torch

from nerf.capture.visual_hull import camera_box, carve, tight_cube
from nerf.errors import InputError
from nerf.geometry.scene_box import SceneBox
from nerf.scenes.blender import load_blender
from tests.conftest import DISTANCE, RADIUS


def test_cameras_round_a_point_give_a_cube_centred_there(ball_scene):
    box = camera_box(load_blender(ball_scene, "train").cameras)
    assert torch.allclose(box.corner + box.side / 2, torch.zeros(3), atol=1e-4)
    assert box.side == pytest.approx(DISTANCE, abs=1e-3)


def test_cameras_in_one_place_are_refused(ball_scene):
    with pytest.raises(InputError, match="stand in one place"):
        camera_box(load_blender(ball_scene, "train").cameras[:1])


def test_carving_keeps_the_ball_and_little_more(ball_scene):
    views = load_blender(ball_scene, "train")
    box = SceneBox(torch.full((3,), -0.8), 1.6)
    hull = carve(views, box, 32)
    axis = ((torch.arange(32) + 0.5) / 32 - 0.5) * 1.6
    distance = torch.stack(torch.meshgrid(axis, axis, axis, indexing="ij")).norm(dim=0)
    assert hull[distance < RADIUS].all()
    assert not hull[distance > RADIUS + 0.35].any()


def test_the_tight_cube_holds_the_ball_closely(ball_scene):
    views = load_blender(ball_scene, "train")
    box = tight_cube(views, camera_box(views.cameras))
    low, high = box.corner, box.corner + box.side
    assert (low <= -RADIUS).all() and (high >= RADIUS).all()
    assert box.side < 2 * RADIUS * 1.4


def test_empty_silhouettes_leave_the_cube_as_it_is(ball_scene):
    views = load_blender(ball_scene, "train")
    views.images.zero_()
    box = camera_box(views.cameras)
    assert tight_cube(views, box).side == box.side
