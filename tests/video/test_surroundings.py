"""What nobody saw fades into a blur of what is around it."""

import torch

from nerf.rendering.witnesses import Witnesses
from nerf.video.frames import Frames
from nerf.video.surroundings import filled, seen_weight
from tests.ball import ball_model, cameras_round


def test_what_was_seen_keeps_its_colours_and_a_hole_takes_those_around_it():
    generator = torch.Generator().manual_seed(0)
    rgb = 0.2 + 0.2 * torch.rand(37, 50, 3, generator=generator)
    weight = torch.ones(37, 50)
    assert torch.equal(filled(rgb, weight), rgb)
    weight[10:25, 12:40] = 0
    rgb[10:25, 12:40] = 1.0  # white there, which must not show
    whole = filled(rgb, weight)
    assert torch.equal(whole[weight == 1], rgb[weight == 1])
    hole = whole[weight == 0]
    assert hole.min() > 0.19 and hole.max() < 0.41 and hole.std() < 0.05


def test_a_hole_is_as_its_own_side_is():
    rgb = torch.zeros(40, 80, 3)
    rgb[:, 40:] = 1.0
    weight = torch.ones(40, 80)
    weight[:, 70:] = 0
    weight[:, :10] = 0
    whole = filled(rgb, weight)
    assert whole[:, 75:].min() > 0.9 and whole[:, :5].max() < 0.1


def test_a_picture_of_which_nothing_was_seen_is_finite():
    assert filled(torch.rand(9, 7, 3), torch.zeros(9, 7)).isfinite().all()


def test_a_place_that_no_camera_saw_is_not_shown():
    cameras = cameras_round(count=24, size=48)
    from_above = cameras[cameras.world_from_camera[:, 2, 3] > 0.8]
    witnesses = Witnesses.of(ball_model(), from_above)
    below = cameras.world_from_camera[:, 2, 3].argmin()
    weight = seen_weight(witnesses, cameras, int(below))
    assert weight[24, 24] == 0 and weight[1, 1] == 1  # the ball's underside; the background of a scene with bounds
    above = cameras.world_from_camera[:, 2, 3].argmax()
    assert seen_weight(witnesses, cameras, int(above)).min() == 1


def test_what_fades_goes_over_into_the_ground_and_out_of_the_opacity():
    cameras = cameras_round(count=24, size=48)
    model = ball_model()
    witnesses = Witnesses.of(model, cameras[cameras.world_from_camera[:, 2, 3] > 0.8])
    below = int(cameras.world_from_camera[:, 2, 3].argmin())
    above = int(cameras.world_from_camera[:, 2, 3].argmax())
    rays = torch.ones(24, dtype=torch.long)

    def frame(number, alpha, fade):
        frames = Frames(model, cameras, rays, ("rgb",), "white", alpha, (0.0, 1.0), witnesses if fade else None, fade)
        return frames[number].float() / 255

    assert frame(below, False, True)[24, 24].min() == 1 and frame(below, False, False)[24, 24].min() < 0.9
    assert frame(below, True, True)[24, 24, 3] == 0 and frame(below, True, False)[24, 24, 3] > 0.9
    assert torch.equal(frame(above, False, True), frame(above, False, False))
