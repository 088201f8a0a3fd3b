"""Marching against a scalar walk along each ray."""

import math

import torch

from nerf.geometry.cameras import Rays
from nerf.geometry.scene_box import SceneBox
from nerf.ops.march import box_interval, march_reference

BOX = SceneBox(torch.tensor([-1.0, -1.0, -1.0]), 2.0)


def rays_from(*pairs):
    origin = torch.tensor([pair[0] for pair in pairs], dtype=torch.float32)
    direction = torch.nn.functional.normalize(torch.tensor([pair[1] for pair in pairs], dtype=torch.float32), dim=1)
    return Rays(origin, direction)


def test_a_ray_along_x_has_evenly_spaced_samples():
    rays = rays_from(([-3, 0.1, 0.1], [1, 0, 0]))
    samples = march_reference(rays, BOX, torch.ones(4, 4, 4, dtype=torch.bool), 0.5, torch.tensor([0.5]))
    # It enters at t = 2 and leaves at t = 4: samples in the middle of four steps of 0.5.
    assert samples.t.tolist() == [2.25, 2.75, 3.25, 3.75]
    assert samples.ray.tolist() == [0, 0, 0, 0]


def test_samples_lie_in_occupied_cells_only_and_none_is_missed():
    generator = torch.Generator().manual_seed(0)
    occupied = torch.rand(8, 8, 8, generator=generator) < 0.3
    origin = torch.randn(40, 3, generator=generator) * 2
    direction = torch.nn.functional.normalize(torch.randn(40, 3, generator=generator) - origin, dim=1)
    rays = Rays(origin, direction)
    offset = torch.rand(40, generator=generator)
    samples = march_reference(rays, BOX, occupied, 0.03, offset)

    near, far = box_interval(rays, BOX)
    expected = 0
    for ray in range(40):
        for index in range(200):
            t = near[ray] + (index + offset[ray]) * 0.03
            if t > far[ray]:
                break
            cell = ((origin[ray] + t * direction[ray] + 1) / 2 * 8).floor().clamp(0, 7).long()
            expected += bool(occupied[tuple(cell)])

    # A sample whose position rounds across a cell's face may fall on either side.
    assert abs(len(samples) - expected) <= 2
    assert len(samples) > 100
    inside = BOX.unit_from_world(samples.positions(rays))
    assert inside.min() > -1e-5 and inside.max() < 1 + 1e-5


def test_packed_samples_are_sorted_by_ray_and_distance():
    rays = rays_from(([-3, 0, 0], [1, 0.1, 0]), ([0, 0, 5], [0, 1, 0]), ([0, 3, 0], [0, -1, 0.2]))
    samples = march_reference(rays, BOX, torch.ones(2, 2, 2, dtype=torch.bool), 0.1, torch.full((3,), 0.5))
    assert (samples.ray.diff() >= 0).all() and set(samples.ray.tolist()) == {0, 2}
    assert (samples.t.diff()[samples.ray.diff() == 0] > 0).all()


def test_rays_that_miss_start_inside_or_run_in_a_face():
    rays = rays_from(([3, 3, 3], [1, 0, 0]), ([0, 0, 0], [0, 0, 1]), ([-1, 0, -3], [0, 0, 1]))
    near, far = box_interval(rays, BOX)
    assert far[0] <= near[0]
    assert (near[1].item(), far[1].item()) == (0.0, 1.0)
    assert math.isclose(near[2], 2) and math.isclose(far[2], 4)


def test_no_rays_and_no_hits_give_no_samples():
    occupied = torch.ones(2, 2, 2, dtype=torch.bool)
    assert len(march_reference(rays_from(([3, 3, 3], [1, 0, 0])), BOX, occupied, 0.1, torch.zeros(1))) == 0
    empty = Rays(torch.empty(0, 3), torch.empty(0, 3))
    assert len(march_reference(empty, BOX, occupied, 0.1, torch.empty(0))) == 0
