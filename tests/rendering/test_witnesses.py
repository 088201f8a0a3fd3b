"""What training cameras vouch for: surfaces, and not the cloud before a single camera."""

import pytest
import torch

from nerf.backends.reference import ReferenceEngine
from nerf.config import RenderSettings
from nerf.errors import InputError
from nerf.geometry.contraction import Contraction
from nerf.geometry.scene_box import SceneBox
from nerf.rendering.model import RadianceModel
from nerf.rendering.occupancy import OccupancyGrid
from nerf.rendering.witnesses import Witnesses, thumbnails, without_clouds
from tests.ball import ball_model, cameras_round

BOX = SceneBox(torch.full((3,), -2.0), 4.0, Contraction(torch.zeros(3), 2.0, 0.05))
WALL = 6.0  # radius of the sphere that encloses everything
CLOUD = 0.06  # radius of the cloud: the other cameras look past it


class CloudyField(torch.nn.Module):
    """A ball about the origin in a large sphere, and a small cloud before the first camera."""

    code_size = 0

    def __init__(self, cloud):
        super().__init__()
        self.cloud = cloud

    def density(self, position):
        point = BOX.world_from_unit(position)
        radius = point.norm(dim=1)
        solid = (radius < 0.5) | (radius > WALL) | ((point - self.cloud).norm(dim=1) < CLOUD)
        return 400.0 * solid, point

    def color(self, direction, features, code=None):
        return torch.full((len(features), 3), 0.5)


@pytest.fixture(scope="module")
def cloudy():
    """A model with a cloud, and the cameras round it."""
    cameras = cameras_round(count=16, size=32)[:12]  # none of those that see the cloud from below, past the ball
    cloud = 0.92 * cameras.world_from_camera[0, :, 3]
    grid = OccupancyGrid(torch.ones(48, 48, 48, dtype=torch.bool))
    return RadianceModel(CloudyField(cloud), grid, BOX, RenderSettings(steps=300), ReferenceEngine), cameras, cloud


def test_the_cloud_before_one_camera_goes_and_what_others_see_stays(cloudy):
    model, cameras, _ = cloudy
    clear, witnesses = without_clouds(model, cameras)
    before = model.distances(cameras, 0)[16, 16]
    after = clear.distances(cameras, 0)[16, 16]
    assert before == pytest.approx(0.08 * 2 - CLOUD, abs=0.03) and after == pytest.approx(1.5, abs=0.06)
    assert torch.equal(witnesses.views.distance[0], clear.distances(cameras, 0))
    for frame in (5, 11):
        whole = model.distances(cameras, frame)
        assert ((clear.distances(cameras, frame) - whole).abs() < 0.2).float().mean() > 0.97


def test_only_rays_that_met_a_cell_that_is_gone_look_again(cloudy, monkeypatch):
    model, cameras, _ = cloudy
    clear, seen = without_clouds(model, cameras)
    asked = []
    surface = RadianceModel.surface
    monkeypatch.setattr(RadianceModel, "surface", lambda self, rays: asked.append(len(rays)) or surface(self, rays))
    again = Witnesses.of(model, cameras).of_fewer_cells(clear)
    whole, some = asked[: len(cameras)], asked[len(cameras) :]
    assert whole == [32 * 32] * len(cameras) and 0 < sum(some) < 0.1 * sum(whole)
    assert torch.equal(again.views.distance, seen.views.distance)

    grid = clear.occupancy
    empty = RadianceModel(model.field, OccupancyGrid(torch.zeros_like(grid.hull)), BOX, model.settings, ReferenceEngine)
    with pytest.raises(InputError, match="the model is empty"):
        seen.of_fewer_cells(empty)


def test_the_model_itself_is_not_changed(cloudy):
    model, cameras, _ = cloudy
    occupied = model.occupancy.occupied.clone()
    clear, _ = without_clouds(model, cameras)
    assert torch.equal(model.occupancy.occupied, occupied)
    assert clear.occupancy.occupied.sum() < occupied.sum()


def test_a_place_among_the_cameras_needs_two_witnesses_and_one_beyond_them_a_single_one(cloudy):
    model, cameras, cloud = cloudy
    witnesses = Witnesses.of(model, cameras)
    toward = torch.nn.functional.normalize(cloud, dim=0)
    front = cloud + CLOUD * toward
    ball = torch.tensor([[0.0, 0.5, 0.0]])
    inside = torch.tensor([[0.0, 0.1, 0.0]])
    assert witnesses.seen(torch.cat([ball, inside, front[None]])).tolist() == [True, False, False]
    alone = Witnesses.of(model, cameras[:1])
    assert alone.seen(front[None]).tolist() == [True]  # of one camera no more can be asked

    # The wall in the corner of a single picture, beyond the ball.
    ray = cameras.image_rays(3)[:1]
    wall = ray.origin + model.surface(ray)[:, None] * ray.direction
    two = Witnesses.of(model, cameras[[3, 10]])
    assert two.seen(wall).tolist() == [True] and not two.among_cameras(wall).any()


def test_a_model_with_bounds_is_left_as_it_is():
    model = ball_model()
    assert without_clouds(model, cameras_round(count=4, size=16))[0] is model


def test_thumbnails_are_never_larger_than_the_pictures():
    small = thumbnails(cameras_round(count=2, size=48), 12)
    assert (small.width, small.height) == (12, 12)
    assert thumbnails(small, 100).width == 12
