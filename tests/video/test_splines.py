"""Splines through poses, and the order in which a tour visits them."""

import itertools
import math

import numpy
import pytest
import torch

from nerf.errors import InputError
from nerf.geometry.cameras import look_at
from nerf.video.splines import pose_distances, short_tour, spline, spread_out


def ring(count, radius=2.0):
    """Returns poses on a circle, looking at its centre."""
    up = torch.tensor([0.0, 0, 1])
    angles = [2 * math.pi * k / count for k in range(count)]
    eyes = [torch.tensor([radius * math.cos(a), radius * math.sin(a), 0.5]) for a in angles]
    return torch.stack([look_at(eye, torch.zeros(3), up) for eye in eyes])


VIEW = torch.full((8,), 0.7)


@pytest.mark.parametrize("loop", [True, False])
def test_a_spline_passes_through_its_keys(loop):
    keys = ring(8)
    when = torch.arange(9.0 if loop else 8.0)
    poses, view = spline(keys, VIEW, torch.arange(8) / (8 if loop else 7), loop, when)
    assert torch.allclose(poses, keys, atol=1e-5) and torch.allclose(view, VIEW)


def test_between_keys_on_a_circle_a_loop_keeps_to_the_circle_upright_and_turned_inwards():
    poses, _ = spline(ring(8), VIEW, torch.linspace(0, 1, 200), True, None)
    eye = poses[:, :, 3]
    assert (eye[:, :2].norm(dim=1) - 2).abs().max() < 0.02
    inwards = -torch.nn.functional.normalize(eye, dim=1)
    assert (inwards * poses[:, :, 2]).sum(1).min() > 0.999
    assert poses[:, 2, 0].abs().max() < 0.01  # the camera's right stays level
    assert torch.allclose(poses[0], poses[-1], atol=1e-5)


def test_poses_on_a_spline_are_rotations_and_nothing_jumps():
    poses, _ = spline(ring(5)[[0, 2, 1, 4]], VIEW[:4], torch.linspace(0, 1, 300), False, None)
    turn = poses[:, :, :3]
    assert torch.allclose(turn @ turn.transpose(1, 2), torch.eye(3).expand(300, 3, 3), atol=1e-5)
    step = poses.diff(dim=0).flatten(1).norm(dim=1)
    assert step.max() < 5 * step.mean()


def test_keys_in_one_place_are_one_key_and_fewer_than_two_are_refused():
    keys = ring(4)
    doubled = keys[[0, 0, 1, 2, 3]]
    u = torch.linspace(0, 1, 20)
    assert torch.allclose(spline(doubled, VIEW[:5], u, False, None)[0], spline(keys, VIEW[:4], u, False, None)[0])
    closed = keys[[0, 1, 2, 3, 0]]
    assert torch.allclose(
        spline(closed, VIEW[:5], u, True, None)[0], spline(keys, VIEW[:4], u, True, None)[0], atol=1e-5
    )
    with pytest.raises(InputError, match="two different"):
        spline(keys[[0, 0, 0]], VIEW[:3], u, False, None)


@pytest.mark.parametrize("loop", [True, False])
def test_a_short_tour_is_nearly_the_shortest(loop):
    points = numpy.random.default_rng(3).random((8, 2))
    distance = numpy.linalg.norm(points[:, None] - points[None], axis=2)

    def length(order):
        order = [*order, order[0]] if loop else order
        return distance[order[:-1], order[1:]].sum()

    order = short_tour(distance, loop)
    assert sorted(order) == list(range(8))
    assert length(order) < 1.1 * min(length(list(rest)) for rest in itertools.permutations(range(8)))


def test_a_tour_of_a_ring_goes_round_it():
    mixed = [3, 0, 6, 2, 7, 1, 5, 4]
    order = [mixed[k] for k in short_tour(pose_distances(ring(8)[mixed]), True)]
    assert {abs(a - b) % 6 for a, b in zip(order, order[1:])} == {1}


def test_spread_out_poses_are_far_from_each_other():
    chosen = spread_out(pose_distances(ring(12)), 4)
    gaps = numpy.diff(sorted(chosen))
    assert len(chosen) == 4 and gaps.min() >= 2
