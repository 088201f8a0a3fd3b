"""Averaged pictures are box averages of finer ones, and their number of rays follows what a pixel shows."""

import pytest
from torch.nn.functional import avg_pool2d

from nerf.rendering.antialiasing import MOST_RAYS, averaged_picture, rays_wanted
from nerf.rendering.metrics import psnr
from nerf.rendering.witnesses import Witnesses
from tests.ball import ball_model, cameras_round


@pytest.mark.parametrize("rays", [2, 3])
def test_an_averaged_picture_is_the_box_average_of_a_finer_one(rays):
    model = ball_model()
    cameras = cameras_round(count=2, size=16)
    fine = model.picture(cameras.resized(16 * rays, 16 * rays), 1)
    found = averaged_picture(model, cameras, 1, rays)
    for name in ("rgb", "opacity", "depth"):
        value = getattr(fine, name).view(16 * rays, 16 * rays, -1).permute(2, 0, 1)
        mean = avg_pool2d(value, rays).permute(1, 2, 0).view(getattr(found, name).shape)
        assert (getattr(found, name) - mean).abs().max() < 1e-4


def test_an_edge_seen_from_afar_is_nearer_to_the_truth_with_more_rays():
    model = ball_model()
    cameras = cameras_round(count=1, size=8)
    truth = averaged_picture(model, cameras, 0, 8).over(1.0)
    one, some = (psnr(averaged_picture(model, cameras, 0, rays).over(1.0), truth) for rays in (1, 4))
    assert some > one + 6


@pytest.mark.parametrize(
    ("farther", "smaller", "rays"), [(1, 1, 1), (3, 1, 3), (1, 2, 2), (0.5, 1, 1), (9, 2, MOST_RAYS)]
)
def test_a_pixel_takes_as_many_rays_as_it_is_wider_than_those_learned_from(farther, smaller, rays):
    model = ball_model()
    training = cameras_round(size=48)
    film = cameras_round(count=3, size=48 // smaller, distance=2.0 * farther + 0.4 * (1 - farther))
    assert rays_wanted(Witnesses.of(model, training), training, film).tolist() == [rays] * 3


def test_where_nothing_is_met_one_ray_is_enough():
    model = ball_model()
    training = cameras_round(size=16)
    away = cameras_round(count=2, size=16)
    away.world_from_camera[:, :, [0, 2]] *= -1
    assert rays_wanted(Witnesses.of(model, training), training, away).tolist() == [1, 1]
