"""How long a scene unit is, by two points and by known places."""

import pytest
import torch

from nerf.errors import InputError
from nerf.geometry.scale import best_similarity, checked_scale, measured_scale
from nerf.training.camera_optimizer import rotations


def test_two_points_and_their_distance_tell_the_scale():
    scale = measured_scale((0, 0, 0, 0, 3, 4), 20, "cm")
    assert scale.metres == pytest.approx(0.04) and "5 units are 20 cm" in scale.words


@pytest.mark.parametrize(
    ("corners", "length"),
    [((1, 1, 1, 1, 1, 1), 1), ((0, 0, 0, 1, 0, 0), 0), ((0, 0, 0, 1, 0, 0), -1), ((0, 0, 0, float("nan"), 0, 0), 1)],
)
def test_what_is_no_measure_is_refused(corners, length):
    with pytest.raises(InputError, match="--measure: give two different points"):
        measured_scale(corners, length, "m")


@pytest.mark.parametrize("metres", [None, "1", 0, -1, float("nan"), 1e300, [1]])
def test_what_is_no_scale_is_refused(metres):
    with pytest.raises(InputError, match="scale.json: not the length of a scene unit"):
        checked_scale(metres, "why", "scale.json")


def test_the_best_similarity_finds_turn_scale_and_move():
    random = torch.Generator().manual_seed(0)
    points = torch.randn(20, 3, generator=random, dtype=torch.float64)
    turn = rotations(torch.tensor([[0.3, -0.8, 0.5]], dtype=torch.float64))[0]
    truth = 7.0 * points @ turn.T + torch.tensor([1.0, 2.0, 3.0])
    scale, moved = best_similarity(points, truth)
    assert scale == pytest.approx(7) and torch.allclose(moved, truth)
    mirrored = truth * torch.tensor([1.0, 1.0, -1.0])
    assert (best_similarity(points, mirrored)[1] - mirrored).norm() > 1  # a mirror is no similarity here
