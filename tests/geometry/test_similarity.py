"""Frames that users want: turned, scaled, with a unit."""

import pytest
import torch

from nerf.geometry.scale import Scale
from nerf.geometry.similarity import placement
from tests.ball import cameras_round


@pytest.mark.parametrize("source", [[0, 0, 1.0], [0, 1.0, 0], [0, 0, -1.0], [0.6, 0, 0.8]])
@pytest.mark.parametrize("up", ["x", "y", "z", "-x", "-y", "-z"])
def test_up_is_turned_to_the_axis_asked_for_by_a_rotation(source, up):
    placed = placement(up, torch.tensor(source), 1.0, "")
    turned = placed.directions(torch.tensor([source]))[0]
    expected = torch.zeros(3)
    expected["xyz".index(up[-1])] = -1 if up[0] == "-" else 1
    assert torch.allclose(turned, expected, atol=1e-6)
    assert torch.allclose(placed.turn @ placed.turn.T, torch.eye(3), atol=1e-6) and torch.linalg.det(placed.turn) > 0


def test_cameras_and_points_move_together():
    placed = placement("y", torch.tensor([0.0, 0, 1]), 3.0, "cm")
    cameras = cameras_round(5)
    point = torch.randn(10, 3, generator=torch.Generator().manual_seed(0)) * 0.3
    before, depth = cameras.project(2, point)
    after, scaled = placed.cameras(cameras).project(2, placed.points(point))
    assert torch.allclose(before, after, atol=1e-3) and torch.allclose(3 * depth, scaled, atol=1e-4)
    assert "cm" in placed.words and "frame of the input" not in placed.words


def test_lengths_are_converted_where_the_scale_is_known():
    up, known = torch.tensor([0.0, 0, 1]), Scale(0.5, "measured")
    assert placement("", up, unit="cm", known=known).scale == 50
    assert placement("", up, 2.0, "cm", known=known).metres == 0.01  # the user says what they are
    assert placement("", up, 2.0, known=known).metres == 0.25
    assert placement("", up, known=known).scale == 1 and placement("", up).metres is None
    assert placement("", up, unit="cm").scale == 1


def test_nothing_asked_for_changes_nothing():
    placed = placement("", torch.tensor([0.0, 1, 0]), 1.0, "")
    point = torch.rand(4, 3)
    assert torch.equal(placed.points(point), point) and placed.words == "scene units, in the frame of the input poses"
