"""Where unbounded scenes are: their centre, their radius and what the pictures show of them."""

import dataclasses

import pytest
import torch

from nerf.capture import bounds
from nerf.capture.bounds import center_of_attention, contracted_space, seen_by_enough, seen_cells
from nerf.capture.visual_hull import scene_space
from nerf.geometry.cameras import Cameras, look_at
from nerf.ops.march import march_reference
from nerf.scenes import Views

UP = torch.tensor([0.0, 0.0, 1.0])


def views_of(poses, depths=None):
    n = len(poses)
    cameras = Cameras(torch.stack(poses), torch.full((n, 2), 40.0), torch.full((n, 2), 16.0), 32, 32)
    images = torch.zeros(n, 32, 32, 3, dtype=torch.uint8)
    each = None if depths is None else torch.tensor([depths] * n)
    return Views(tuple(f"v{i}" for i in range(n)), images, 255, cameras, None, True, each)


def ring(n=8):
    angle = torch.arange(n) * 2 * torch.pi / n
    eyes = torch.stack([3 * angle.cos() + 5, 3 * angle.sin(), torch.full((n,), 1.0)], 1)
    return [look_at(eye, torch.tensor([5.0, 0.0, 1.0]), UP) for eye in eyes]


def row(n=5):
    ahead = torch.tensor([0.0, 10.0, 0.0])
    return [look_at(eye, eye + ahead, UP) for eye in torch.tensor([[0.2 * i - 0.4, 0.0, 0.0] for i in range(n)])]


def test_a_ring_of_cameras_looks_at_its_middle():
    center, radius = center_of_attention(views_of(ring()))
    assert torch.allclose(center, torch.tensor([5.0, 0.0, 1.0]), atol=1e-4) and abs(radius - 3) < 1e-4


def test_parallel_cameras_look_at_the_middle_of_their_depths_in_disparity():
    center, radius = center_of_attention(views_of(row(), (2.0, 6.0)))
    assert torch.allclose(center, torch.tensor([0.0, 3.0, 0.0]), atol=1e-5) and abs(radius - 3) < 0.05


def test_all_that_the_pictures_show_is_in_the_cube_and_little_else():
    views = views_of(row(), (2.0, 6.0))
    box, hull = contracted_space(views, 48)
    assert abs(box.contraction.near - 1.4) < 1e-5 and hull.shape == (48,) * 3

    rays = views.cameras.image_rays(2)
    for t in (1.5, 3.0, 20.0, 200.0):
        unit = box.unit_from_world(rays.origin + t * rays.direction)
        assert unit.min() >= 0 and unit.max() <= 1
        cell = (unit * 48).long().clamp(max=47)
        assert hull[cell[:, 0], cell[:, 1], cell[:, 2]].all()
    assert hull.float().mean() < 0.6

    behind = box.unit_from_world(torch.tensor([[0.0, -3.0, 0.0]]))
    cell = (behind * 48).long()[0]
    assert (behind < 0).any() or not hull[tuple(cell.clamp(0, 47))]


def test_as_far_out_as_the_cameras_a_point_needs_two_pictures():
    views = views_of(row(), (2.0, 6.0))
    box, _ = contracted_space(views, 48)
    # Only the first camera, at x = -0.4, sees beyond x = -1 at the depth of 2, and beyond -16.2 at 40.
    point = torch.tensor([[-0.9, 2.0, 0.0], [-1.1, 2.0, 0.0], [-16.3, 40.0, 0.0], [0.0, 1.3, 0.0], [0.0, 1.5, 0.0]])
    found = seen_by_enough(views.cameras, box, box.unit_from_world(point), 0.0)
    assert found.tolist() == [True, False, True, False, True]  # rays begin at 1.4
    assert seen_by_enough(views.cameras, box, box.unit_from_world(point), 0.02)[:2].all()


def test_a_ring_shows_all_of_space_round_it():
    box, hull = contracted_space(views_of(ring()), 32)
    assert box.side > 1.6 * box.contraction.radius and abs(box.contraction.near - 0.3) < 1e-4
    assert seen_cells(views_of(ring()).cameras, box, 32).any() and hull.any()


@pytest.mark.parametrize("unit", [1e4, 1e-4])
def test_space_does_not_depend_on_the_unit_of_length(unit):
    poses = torch.stack(ring())
    scaled = torch.cat([poses[:, :, :3], unit * poses[:, :, 3:]], dim=2)
    box, hull = contracted_space(views_of(list(poses)), 32)
    other, same = contracted_space(views_of(list(scaled)), 32)
    assert box.contraction is not None and other.contraction is not None
    assert other.side == pytest.approx(unit * box.side, rel=1e-4)
    assert other.contraction.radius == pytest.approx(unit * box.contraction.radius, rel=1e-4)
    assert (hull == same).float().mean() > 0.99  # cells on the very edge of what is seen are rounded either way


def test_of_many_pictures_fewer_rays_tell_nearly_the_same(monkeypatch):
    views = views_of(ring(24))
    box, _ = contracted_space(views, 32)
    told = seen_cells(views.cameras, box, 32)
    rays = []

    def march(found, *about):
        rays.append(len(found))
        return march_reference(found, *about)

    monkeypatch.setattr(bounds, "march_reference", march)
    monkeypatch.setattr(bounds, "MOST_SEEN_RAYS", 24 * 16**2)
    fewer = seen_cells(views.cameras, box, 32)
    assert rays == [16**2] * 24
    assert not (fewer & ~told).any() and (told & ~fewer).sum() < 0.02 * told.sum()


def test_bounds_given_make_a_plain_cube():
    box, hull = scene_space(views_of(ring()), 2.0, 16)
    assert box.contraction is None and box.side == 4 and hull.all()
    assert scene_space(views_of(ring()), 0.0, 16)[0].contraction is not None


def test_a_lens_that_folds_shows_no_more_than_its_rays_see():
    views = views_of(row(), (2.0, 6.0))
    straight, _ = contracted_space(views, 32)
    lens = torch.zeros(5, 12)
    lens[:, 1:3] = torch.tensor([0.05, -0.035])  # what is farther than 2.7 from the axis is drawn back into the picture
    bent = dataclasses.replace(views, cameras=dataclasses.replace(views.cameras, lens=lens))
    assert abs(contracted_space(bent, 32)[0].side / straight.side - 1) < 0.1
    assert straight.side < 1.7 * straight.contraction.radius
