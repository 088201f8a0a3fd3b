"""The crop box: the same for film, mesh, points and depth."""

import numpy
import pytest
import torch

from nerf.errors import InputError
from nerf.export.box import crop_box, cropped
from nerf.export.pointcloud import sampled
from nerf.export.surface import SurfaceRequest, make_surface
from tests.export.ball import ball_model, cameras_round

BOX = [-0.6, -0.31, -0.6, 0.12, 0.6, 0.6]
CELL = 1.2 / 64


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


@pytest.mark.parametrize("method", ["density", "fusion"])
def test_mesh_points_and_film_are_cut_at_the_same_place(method):
    model, cameras = ball_model(), cameras_round()
    mesh, _ = make_surface(model, cameras, SurfaceRequest(64, method, crop_box(BOX), smoothing=0))
    points = sampled(mesh, 20_000)
    low, high = seen_extent(cropped(model, crop_box(BOX)), cameras)
    for extent in ((mesh.vertices.min(0), mesh.vertices.max(0)), (points.vertices.min(0), points.vertices.max(0))):
        assert abs(extent[0][1] - low[1]) < CELL and abs(extent[1][0] - high[0]) < CELL
    assert abs(low[1] + 0.31) < CELL and abs(high[0] - 0.12) < CELL


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
