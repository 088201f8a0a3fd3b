"""The crop box: the same for film, mesh, points and depth."""

import numpy
import pytest
import torch

from nerf.errors import InputError
from nerf.exporters.pointcloud import sampled
from nerf.geometry.scene_box import crop_box
from nerf.meshing.surface import SurfaceRequest, make_surface
from nerf.rendering.crop import cropped
from tests.ball import ball_model, cameras_round

BOX = [-0.6, -0.31, -0.6, 0.12, 0.6, 0.6]
CELL = 1.2 / 64
FILM_CELL = 1.2 / 256


def seen_extent(model, cameras):
    """Returns the least and the greatest coordinates of what a film shows."""
    found = []
    for frame in range(len(cameras)):
        rays = cameras.image_rays(frame)
        distance = model.surface(rays)
        met = distance.isfinite()
        found.append(rays.origin[met] + distance[met, None] * rays.direction[met])
    found = torch.cat(found)
    return found.amin(0).numpy(), found.amax(0).numpy()


@pytest.mark.parametrize("smoothing", [0, 5])
@pytest.mark.parametrize("method", ["density", "fusion"])
def test_mesh_and_points_are_cut_where_the_box_is_and_the_film_to_a_cell(method, smoothing):
    model = ball_model()
    cameras = cameras_round()

    mesh, _ = make_surface(model, cameras, SurfaceRequest(64, method, crop_box(BOX), smoothing=smoothing))
    points = sampled(mesh, 20_000)
    for vertices in (mesh.vertices, points.vertices):
        # A hundredth of a cell; smoothing wrinkles the rim of the cut, by less than a quarter.
        least = (0.25 if smoothing else 0.01) * CELL
        assert abs(vertices[:, 1].min() - BOX[1]) < least and abs(vertices[:, 0].max() - BOX[3]) < least

    low, high = seen_extent(cropped(model, crop_box(BOX)), cameras)
    assert abs(low[1] - BOX[1]) < FILM_CELL and abs(high[0] - BOX[3]) < FILM_CELL


def test_cutting_much_is_said_with_a_warning(capsys):
    model = ball_model()
    cropped(model, crop_box([-0.6, -0.6, -0.6, 0.6, 0.6, 0.58]))
    assert capsys.readouterr().out.startswith("crop: ")
    cropped(model, crop_box(BOX))
    assert capsys.readouterr().out.startswith("warning: crop: ")


def test_boxes_that_hold_nothing_are_refused():
    with pytest.raises(InputError, match="least first"):
        crop_box([0, 0, 0, 1, 1, -1])
    with pytest.raises(InputError, match="nothing of the scene"):
        cropped(ball_model(), crop_box([5, 5, 5, 6, 6, 6]))


def test_no_box_changes_nothing():
    model = ball_model()
    assert cropped(model, None) is model
    whole = cropped(model, crop_box([-1, -1, -1, 1, 1, 1]))
    rays = cameras_round(1).image_rays(0)
    assert numpy.allclose(whole.surface(rays), model.surface(rays), equal_nan=True)
