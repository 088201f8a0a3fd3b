"""Points of the analytic ball are seen by whom geometry says, and are called what they are."""

import dataclasses
import math

import pytest
import torch

from nerf.coverage.sights import CLASSES, GOOD, Photographs, Sights, sights_of
from nerf.geometry.cameras import Cameras, look_at
from tests.ball import ball_model, cameras_round
from tests.conftest import RADIUS


def on_the_ball(count=200):
    k = torch.arange(count) + 0.5
    height = 1 - 2 * k / count
    across = (1 - height**2).sqrt()
    return torch.stack([across * (2.39996 * k).cos(), across * (2.39996 * k).sin(), height], dim=1)


def from_eyes(*eyes):
    up = torch.tensor([0.0, 0.0, 1.0])
    poses = torch.stack([look_at(torch.tensor(eye), torch.zeros(3), up) for eye in eyes])
    count = len(eyes)
    return Cameras(poses, torch.full((count, 2), 100.0), torch.full((count, 2), 48.0), 96, 96)


def sights_from(*eyes):
    normal = on_the_ball()
    photographs = Photographs.of(ball_model(), from_eyes(*eyes))
    return normal, sights_of([photographs], RADIUS * normal, normal)


def test_a_point_is_seen_by_the_cameras_that_face_it():
    normal, sights = sights_from((2.0, 0.0, 0.0), (0.0, 2.0, 0.0))
    facing = (normal[:, :2] > 0.5).sum(dim=1)  # well within the horizon, which is at 0.25
    sure = (normal[:, :2].abs() > 0.5).all(dim=1)
    assert sure.sum() > 20
    assert torch.equal(sights.count[sure].long(), facing[sure])


def test_directions_open_as_wide_as_the_cameras_stand():
    normal, sights = sights_from((2.0, 0.0, 0.0), (2 * math.cos(0.5), 2 * math.sin(0.5), 0.0))
    point = RADIUS * normal
    both = sights.count == 2
    to_eyes = [torch.tensor(eye) - point for eye in ((2.0, 0, 0), (2 * math.cos(0.5), 2 * math.sin(0.5), 0))]
    angle = torch.nn.functional.cosine_similarity(*to_eyes).acos().rad2deg()
    assert both.sum() > 20
    assert (sights.opening - angle)[both].abs().max() < 0.1
    assert (sights.opening[sights.count == 1] < 0.1).all()


def test_density_is_the_pixels_to_a_unit_where_a_camera_looks_straight():
    normal, sights = sights_from((2.0, 0.0, 0.0))
    straight = normal[:, 0].argmax()
    assert sights.density[straight].item() == pytest.approx(100 / 1.5, rel=0.03)


def test_one_sight_tells_nothing_along_its_line_and_two_tell_all():
    normal, sights = sights_from((2.0, 0.0, 0.0), (2 * math.cos(0.8), 2 * math.sin(0.8), 0.0))
    spread = torch.linalg.eigvalsh(sights.information)
    one, two = sights.count == 1, sights.count == 2
    assert (spread[one, 0].abs() < 1e-4 * spread[one, 2]).all()
    assert (spread[two, 0] > 0.01 * spread[two, 2]).all()


def test_points_are_called_what_they_are():
    normal = on_the_ball()
    photographs = Photographs.of(ball_model(), cameras_round(count=24, size=48))
    sights = sights_of([photographs], RADIUS * normal, normal)
    typical = sights.typical()
    assert (sights.classes(typical) == GOOD).all()

    def changed(**more):
        parts = {name: getattr(sights, name).clone() for name in Sights.__dataclass_fields__} | more
        return Sights(**parts).classes((typical[0], 0.01)).unique().tolist()

    every = torch.ones(len(normal))
    assert changed(count=0 * every) == [CLASSES.index("not seen")]
    assert changed(count=2 * every) == changed(opening=5 * every) == [CLASSES.index("one side only")]
    assert changed(density=typical[0] / 4 * every) == [CLASSES.index("far away")]
    assert changed(error=0.2 * every) == [CLASSES.index("disagreeing")]
    assert changed(error=0.05 * every) == [GOOD]  # within what is usual of pictures, whatever the others have


def test_a_photograph_that_lies_disagrees_where_it_looks():
    photographs = Photographs.of(ball_model(), from_eyes((2.0, 0.0, 0.0), (-2.0, 0.0, 0.0)))
    error = torch.zeros_like(photographs.distance)
    error[0] = 0.3
    lying = dataclasses.replace(photographs, error=error)
    normal = on_the_ball()
    found = sights_of([lying], RADIUS * normal, normal).error
    assert torch.allclose(found[normal[:, 0] > 0.5], torch.tensor(0.3))
    assert torch.allclose(found[normal[:, 0] < -0.5], torch.tensor(0.0))


def test_photographs_of_different_shapes_are_each_seen_whole_and_not_beside():
    model = ball_model(side=4.0, hull=False)
    model.field.density = lambda position: (600.0 * ((position - 0.5).abs().amax(1) > 0.48), position - 0.5)
    pose = look_at(torch.tensor([1.0, 0.0, 0.0]), torch.zeros(3), torch.tensor([0.0, 0.0, 1.0]))
    size = torch.tensor([[60, 80], [80, 60]])
    cameras = Cameras(pose.repeat(2, 1, 1), torch.full((2, 2), 50.0), size / 2, 80, 80, size=size)
    photographs = Photographs.of(model, cameras, 40)

    # The wall that both look at, in the middle, above and beside.
    point = torch.tensor([[-1.92, 0.0, 0.0], [-1.92, 0.0, 2.0], [-1.92, 2.0, 0.0]]) * torch.tensor([1, 0.98, 0.98])
    normal = torch.tensor([[1.0, 0, 0]]).repeat(3, 1)
    truth = [cameras.shows(frame, *cameras.project(frame, point)).tolist() for frame in (0, 1)]
    assert truth == [[True, True, False], [True, False, True]]
    seen = [photographs.information(frame, point, normal)[0].tolist() for frame in (0, 1)]
    assert seen == [[0, 1], [0, 2]]
