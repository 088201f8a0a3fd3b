"""Origins: what stands far away is kept near, and comes back exactly."""

import dataclasses

import numpy
import pytest
import torch

from nerf.geometry.origin import NO_ORIGIN, absolute_poses, near_origin
from nerf.geometry.scene_box import crop_box
from nerf.geometry.similarity import placement
from tests.ball import cameras_round

UTM = (448262.3, 5411932.7, 205.4)


def poses(offset, count=12):
    found = cameras_round(count).world_from_camera.double().numpy().copy()
    found[:, :, 3] += offset
    return found


def test_poses_near_their_origin_are_what_they_are_in_single_precision():
    for offset in ((0, 0, 0), (100, 0, 3)):
        near, origin = near_origin(poses(offset))
        assert origin == NO_ORIGIN
        assert torch.equal(near, torch.from_numpy(poses(offset).astype(numpy.float32)))


def test_poses_far_from_their_origin_are_kept_relative_to_a_round_one_and_come_back():
    given = poses(UTM)
    near, origin = near_origin(given)
    assert near.dtype == torch.float32 and near[:, :, 3].abs().max() < 5
    assert origin == tuple(map(float, map(round, origin)))
    back = absolute_poses(near, origin)
    assert back.dtype == torch.float64
    assert numpy.abs(back.numpy() - given).max() < 1e-6  # single precision of lengths of 2


def test_cameras_in_one_place_not_far_away_have_no_origin():
    # The mean of seven equal numbers need not be that number.
    for count in (3, 7, 64):
        assert near_origin(numpy.repeat(poses((0.9, 0, 1.5))[:1], count, axis=0))[1] == NO_ORIGIN


def test_a_lone_camera_far_away_is_not_moved_by_its_origin():
    given = poses(UTM)[:1]
    near, origin = near_origin(given)
    assert numpy.abs(absolute_poses(near, origin).numpy() - given).max() < 1e-9


def test_cameras_move_to_another_origin_and_stay_where_they_are():
    near, origin = near_origin(poses(UTM))
    cameras = dataclasses.replace(cameras_round(12), world_from_camera=near, origin=origin)
    moved = cameras.about((448000.0, 5412000.0, 0.0))
    assert moved.origin == (448000.0, 5412000.0, 0.0) and cameras.about(origin) is cameras
    there = absolute_poses(moved.world_from_camera, moved.origin)
    assert (there - absolute_poses(near, origin)).abs().max() < 1e-4  # single precision of lengths of 300
    assert cameras[2:4].origin == cameras.resized(20, 20).origin == origin


def test_an_origin_is_turned_and_scaled_with_the_scene():
    placed = placement("z", torch.tensor([0.0, 1.0, 0.0]), 2.0, "m", UTM)
    assert placed.origin == pytest.approx((2 * UTM[0], -2 * UTM[2], 2 * UTM[1]), abs=1e-9)
    assert placement("", torch.tensor([0.0, 1.0, 0.0]), 1.0, "", UTM).origin == UTM


def test_a_crop_box_is_given_in_the_frame_of_the_input():
    box = crop_box([448260.5, 5411930.25, 200, 448261, 5411931, 201]).about((448260.0, 5411930.0, 200.0))
    assert box.low.tolist() == [0.5, 0.25, 0] and box.high.tolist() == [1, 1, 1] and box.low.dtype == torch.float32
