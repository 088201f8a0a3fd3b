"""Volumes: what cameras say of places, and what is inside of the ball."""

import math

import pytest
import torch

from nerf.errors import InputError
from nerf.geometry.cameras import Cameras, look_at
from nerf.meshing.volume import DensityVolume, FusedVolume
from nerf.ops.sight import gaps
from nerf.rendering.depth_views import DepthViews, render_depths
from tests.ball import ball_model, cameras_round
from tests.conftest import RADIUS


@pytest.fixture(scope="module")
def views():
    return render_depths(ball_model(), cameras_round())


def wall(distance):
    """Returns one camera at the origin that looks along z at what is `distance` (H, W) away."""
    pose = look_at(torch.zeros(3), torch.tensor([0.0, 0, 1]), torch.tensor([0.0, -1, 0]))
    size = distance.shape[0]
    lens = torch.full((1, 2), float(size))
    return DepthViews(Cameras(pose[None], lens, lens / 2, size, size), distance[None])


def test_a_place_is_in_front_of_what_a_camera_sees_by_the_difference_of_distances():
    views = wall(torch.full((4, 4), 3.0))
    point = torch.tensor([[0, 0, 1.0], [0, 0, 3.5], [0, 0, -1.0], [5.0, 0, 1.0]])
    gap = gaps(views.cameras, views.distance, 0, point, 1.0)
    assert torch.allclose(gap[:2], torch.tensor([2.0, -0.5]), atol=1e-5)
    assert gap[2:].isnan().all()  # behind the camera, and out of its picture


def test_points_in_the_plane_of_a_camera_or_behind_it_are_out_of_its_picture():
    """Photographs are taken from among what is meshed: lattice points lie in a camera's plane, and have no pixel."""
    views = render_depths(ball_model(), cameras_round()[:1])
    pose = views.cameras.world_from_camera[0]
    eye, side, ahead = pose[:, 3], pose[:, 0], pose[:, 2]
    gap = gaps(
        views.cameras,
        views.distance,
        0,
        torch.stack([eye, eye + side, eye - 0.5 * side, eye - ahead, eye + 1.6 * ahead]),
        0.02,
    )
    assert gap[:4].isnan().all() and gap[4].isfinite()


def test_distances_are_interpolated_between_pixels_but_not_over_an_edge():
    columns = torch.tensor([1.0, 1.2, 9.0, math.inf]).expand(4, 4).contiguous()
    views = wall(columns)

    def seen(column):  # the distance read at a place between pixel middles, in the second row
        point = torch.tensor([[(column - 2) / 4, 0.0, 1.0]])
        return gaps(views.cameras, views.distance, 0, point, 1.0).item() + point.norm().item()

    assert seen(1.0) == pytest.approx(1.1, abs=1e-4)
    assert seen(1.9) == pytest.approx(1.2, abs=1e-4) and seen(2.4) == pytest.approx(9.0, abs=1e-4)
    assert seen(3.2) == math.inf


@pytest.mark.parametrize("kind", [DensityVolume, FusedVolume])
def test_the_ball_is_inside_and_its_hollow_too(views, kind):
    volume = kind(ball_model(), views, 48)
    values = volume.planes(0, 48)
    axis = torch.linspace(-0.6, 0.6, 49)
    radius = torch.cartesian_prod(axis, axis, axis).norm(dim=1).view(49, 49, 49)
    cell = 1.2 / 48
    assert (values[radius < RADIUS - 1.5 * cell] > 0).all()  # the middle is hollow, and seen by no camera
    assert (values[radius > RADIUS + 1.5 * cell] < 0).all()


@pytest.mark.parametrize("kind", [DensityVolume, FusedVolume])
def test_planes_are_the_same_however_many_are_asked_for(views, kind):
    volume = kind(ball_model(), views, 24)
    assert torch.equal(torch.cat([volume.planes(0, 9), volume.planes(10, 24)]), volume.planes(0, 24))


def test_cameras_that_see_through_fog_outvote_those_that_do_not():
    # Half of the cameras see the ball, half see through it: it counts as free, not as half there.
    cameras = cameras_round(24)
    model = ball_model()
    views = render_depths(model, cameras)
    clear = views.distance.clone()
    clear[::2] = math.inf
    point = torch.tensor([[0.0, 0.0, RADIUS - 0.02]])
    assert FusedVolume(model, views, 48).fused(point).item() > 0
    assert FusedVolume(model, DepthViews(cameras, clear), 48).fused(point).item() < 0


def test_an_empty_model_is_an_error():
    model = ball_model()
    model.occupancy.occupied.zero_()
    with pytest.raises(InputError, match="the model is empty"):
        render_depths(model, cameras_round(3))
