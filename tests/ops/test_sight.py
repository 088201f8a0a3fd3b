import math

import pytest
import torch

from nerf.geometry.cameras import Cameras, look_at
from nerf.geometry.lenses import lens_terms
from nerf.ops.sight import best_views, fused, gaps, witnessed

SIZE = (40, 30)  # width, height
LENSES = {
    "pinhole": lens_terms(False, {}),
    "bent": lens_terms(False, {"k1": -0.1, "k2": 0.02, "p1": 0.01, "p2": -0.005, "d1": 0.02, "s1": 0.003}),
    "fisheye": lens_terms(True, {"k1": 0.05, "k2": -0.01}),
}


def looking(lens="pinhole", count=9):
    """Returns cameras on a circle of radius 3 that look at the origin, and random distances, some of them infinite."""
    drawn = torch.Generator().manual_seed(1)
    angle = torch.linspace(0, 2 * math.pi, count + 1)[:-1]
    eyes = 3 * torch.stack([angle.cos(), angle.sin(), 0.3 * torch.ones(count)], dim=1)
    pose = torch.stack([look_at(eye, torch.zeros(3), torch.tensor([0.0, 0.0, 1.0])) for eye in eyes])
    focal = torch.full((count, 2), 30.0)
    center = torch.tensor([[21.0, 14.5]]).repeat(count, 1)
    cameras = Cameras(pose, focal, center, *SIZE, torch.tensor([LENSES[lens]]).repeat(count, 1))
    distance = 2 + 2 * torch.rand(count, *reversed(SIZE), generator=drawn)
    distance[torch.rand(distance.shape, generator=drawn) < 0.1] = math.inf
    return cameras, distance


def points(count=5000):
    # Many are out of some pictures, behind cameras, or in their planes.
    return 8 * torch.rand(count, 3, generator=torch.Generator().manual_seed(2)) - 4


@pytest.mark.parametrize("lens", LENSES)
@pytest.mark.parametrize("sharp", [0.0, 0.8])
def test_engine_and_reference_find_the_same_witnesses(lens, sharp):
    cameras, distance = looking(lens)
    point = points()
    drawn = torch.Generator().manual_seed(3)
    before, behind = torch.rand(2, len(point), generator=drawn)
    before[:500] = math.inf
    enough = torch.randint(0, 4, (len(point),), generator=drawn).int()
    asked = (cameras, distance, point, before, behind, enough, sharp)
    found = [witnessed(*asked, backend) for backend in ("reference", "native")]
    assert 0.2 < found[0].float().mean() < 0.8 and found[0][enough == 0].all()
    # A point on the border of a pixel may be rounded into the other.
    assert (found[0] != found[1]).float().mean() < 1e-3


@pytest.mark.parametrize("lens", LENSES)
def test_engine_and_reference_fuse_alike(lens):
    cameras, distance = looking(lens)
    point = points()
    values = [fused(cameras, distance, point, 1.0, 4.0, backend) for backend in ("reference", "native")]
    assert values[0].min() < -0.5 and values[0].max() == 1
    off = (values[0] - values[1]).abs()
    assert (off > 1e-4).float().mean() < 2e-3


@pytest.mark.parametrize("lens", LENSES)
def test_engine_and_reference_find_the_same_best_views(lens):
    cameras, _ = looking(lens)
    distance = torch.full((len(cameras), *reversed(SIZE)), 2.6)
    point = 0.8 * torch.nn.functional.normalize(points(), dim=1)
    normal = torch.nn.functional.normalize(points().flip(0), dim=1)
    asked = (cameras, distance, point, normal, 0.5, 0.05, 2)
    (which, share), (ours, measured) = (best_views(*asked, backend) for backend in ("reference", "native"))
    count = (which >= 0).sum(1)
    assert {0, 1, 2} <= {*count.tolist()} and torch.equal(share > 0, which >= 0)
    assert (share[:, 0] >= share[:, 1]).all()
    assert (which != ours).float().mean() < 2e-3
    same = which == ours
    assert torch.allclose(share[same], measured[same], rtol=1e-3)


def test_the_best_camera_is_near_and_faces_the_surface():
    cameras, _ = looking(count=9)
    distance = torch.full((9, *reversed(SIZE)), math.inf)
    point = torch.tensor([[0.5, 0.0, 0.0]])
    eye = cameras.world_from_camera[:, :, 3]
    distance[:] = (point - eye).norm(dim=1)[:, None, None]
    for backend in ("reference", "native"):
        which, share = best_views(cameras, distance, point, torch.tensor([[1.0, 0.0, 0.0]]), 0.1, 0.05, 32, backend)
        assert which[0, 0] == 0 and {*which[0, :3].tolist()} == {0, 1, 8}
        towards = eye[0] - point[0]
        assert share[0, 0].item() == pytest.approx((towards[0] / towards.norm() * 30 / towards.norm()).item() ** 2)


def test_one_camera_says_how_deep_a_point_is():
    cameras, _ = looking(count=1)
    distance = torch.full((1, *reversed(SIZE)), 3.0)
    eye = cameras.world_from_camera[0, :, 3]
    ahead = cameras.world_from_camera[0, :, 2]
    away = torch.tensor([1.0, 2.8, 3.1, 3.9, -1.0])  # before the reach, in it, behind, too deep, behind the camera
    point = eye + away[:, None] * ahead
    gap = gaps(cameras, distance, 0, point, 1.0)
    assert torch.allclose(gap[:4], 3 - away[:4], atol=1e-5) and gap[4].isnan()
    for backend in ("reference", "native"):
        value = fused(cameras, distance, point, 0.5, 4.0, backend)
        assert torch.allclose(value, torch.tensor([-1.0, -0.4, 0.2, 1.0, 1.0]), atol=1e-5)


def test_distances_of_other_pictures_are_refused():
    cameras, distance = looking()
    with pytest.raises(ValueError, match="shape"):
        fused(cameras, distance[1:], points(3), 1.0, 4.0, "native")
