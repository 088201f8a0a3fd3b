"""Contraction and the steps that grow with it."""

import math

import torch

from nerf.geometry.cameras import Rays
from nerf.geometry.contraction import FAR, Contraction
from nerf.geometry.scene_box import SceneBox
from nerf.ops.march import march_reference

SPACE = Contraction(torch.tensor([1.0, -2.0, 0.5]), 2.0, 0.25)


def random_rays(n, dtype=torch.float64):
    generator = torch.Generator().manual_seed(4)
    origin = torch.randn(n, 3, generator=generator, dtype=dtype) * 3
    direction = torch.nn.functional.normalize(torch.randn(n, 3, generator=generator, dtype=dtype), dim=1)
    return Rays(origin, direction)


def test_a_point_at_the_radius_comes_to_half_of_it_and_infinity_to_the_ball():
    points = SPACE.center + torch.tensor([[2.0, 0, 0], [0, 6.0, 0], [0, 0, 1e9]])
    apart = SPACE.contract(points) - SPACE.center
    assert torch.allclose(apart, torch.tensor([[1.0, 0, 0], [0, 1.5, 0], [0, 0, 2.0]]), atol=1e-6)


def test_expanding_undoes_contracting():
    points = random_rays(50).origin * 10
    assert torch.allclose(SPACE.expand(SPACE.contract(points)), points, atol=1e-9)
    beyond = SPACE.expand(SPACE.center + torch.tensor([[0.0, 3.0, 0.0]]))
    assert torch.isfinite(beyond).all() and beyond[0, 1] > FAR


def test_rays_begin_at_the_near_distance_and_end_far_away():
    rays = random_rays(30)
    stretch = SPACE.stretch(rays)
    every = torch.arange(30)
    first = stretch.t(every, stretch.first)
    last = stretch.t(every, stretch.last)
    assert torch.allclose(first, torch.full_like(first, 0.25))
    distance = (rays.origin + last[:, None] * rays.direction - SPACE.center).norm(dim=1)
    assert torch.allclose(distance, torch.full_like(distance, FAR * 2))


def test_steps_grow_as_the_position_says_and_contracted_ones_never_exceed_them():
    rays = random_rays(30)
    s = torch.linspace(-2, 8, 400, dtype=torch.float64).repeat(30, 1)
    stretch = SPACE.stretch(rays)
    s.requires_grad_()
    t = stretch.t(torch.arange(30), s)
    (slope,) = torch.autograd.grad(t.sum(), s)
    point = rays.origin[:, None] + t.detach()[..., None] * rays.direction[:, None]
    assert torch.allclose(slope, SPACE.growth(point), rtol=1e-9)

    moved = SPACE.contract(point).diff(dim=1).norm(dim=2)
    assert (moved <= 10 / 399 + 1e-9).all() and moved.max() > 0.5 * 10 / 399


def test_a_contracted_march_keeps_to_its_cube_and_its_occupied_cells():
    box = SceneBox(SPACE.center - 1.2, 2.4, SPACE)
    occupied = torch.rand(16, 16, 16, generator=torch.Generator().manual_seed(6)) < 0.4
    rays = random_rays(40)

    samples = march_reference(rays, box, occupied, 0.02, torch.full((40,), 0.5))
    position = box.unit_from_world(samples.positions(rays))
    assert len(samples) > 500 and position.min() >= 0 and position.max() <= 1
    cell = (position * 16).long().clamp(max=15)
    assert occupied[cell[:, 0], cell[:, 1], cell[:, 2]].all()

    everywhere = march_reference(rays, box, torch.ones(16, 16, 16, dtype=torch.bool), 0.02, torch.full((40,), 0.5))
    assert 0.3 < len(samples) / len(everywhere) < 0.5


def test_a_density_by_s_is_as_opaque_from_near_as_from_far():
    # A slab as thick as an occupied layer of cells, looked at along the same line from two eyes.
    box = SceneBox(SPACE.center - 2, 4.0, SPACE)
    occupied = torch.zeros(16, 16, 16, dtype=torch.bool)
    occupied[12] = True
    eyes = SPACE.center + torch.tensor([[-1.0, 0.1, 0.1], [-9.0, 0.1, 0.1]])
    rays = Rays(eyes, torch.tensor([[1.0, 0, 0]]).repeat(2, 1))

    samples = march_reference(rays, box, occupied, 0.005, torch.full((2,), 0.5))
    near, far = torch.bincount(samples.ray).tolist()
    assert near > 20 and abs(near - far) <= 1


def test_the_unit_of_density_grows_away_from_the_centre():
    box = SceneBox(SPACE.center - 2, 4.0, SPACE)
    points = SPACE.center + torch.tensor([[0.0, 0, 0], [2.0, 0, 0]])
    assert torch.allclose(box.unit_length(points), 4 * torch.tensor([1.0, math.sqrt(2)]))
    assert torch.allclose(box.world_from_unit(box.unit_from_world(points)), points, atol=1e-5)
