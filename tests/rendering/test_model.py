"""The model: what it renders of a field."""

import pytest
import torch

from nerf.backends.reference import ReferenceEngine
from nerf.config import read_settings
from nerf.geometry.cameras import Rays
from nerf.geometry.scene_box import SceneBox
from nerf.rendering.model import load_model_state, model_state, new_model
from tests.conftest import SMALL


def model(side=2.0, seed=0):
    settings = read_settings(None, [*SMALL, f"train.seed={seed}", "render.minimum_transmittance=0"])
    made = new_model(settings, SceneBox(torch.full((3,), -side / 2), side), make_engine=ReferenceEngine)
    with torch.no_grad():
        made.field.encoding.table.uniform_(-1, 1, generator=torch.Generator().manual_seed(1))
        made.field.density_mlp.weights[1][0].abs_().mul_(4)  # a log density that is mostly positive: some rays end
    return made


def rays(n=50, side=2.0):
    generator = torch.Generator().manual_seed(2)
    origin = torch.randn(n, 3, generator=generator)
    origin = origin / origin.norm(dim=1, keepdim=True) * 3 * side
    target = (torch.rand(n, 3, generator=generator) - 0.5) * side
    return Rays(origin, torch.nn.functional.normalize(target - origin, dim=1))


def test_scaling_the_world_scales_depth_and_nothing_else():
    small = model(2.0).render(rays(side=2.0))
    large = model(20.0).render(rays(side=20.0))
    # float32 positions round differently in the two worlds.
    assert torch.allclose(small.rgb, large.rgb, atol=1e-3)
    assert torch.allclose(small.opacity, large.opacity, atol=1e-3)
    assert torch.allclose(10 * small.depth, large.depth, atol=2e-2)


def test_an_early_stop_changes_a_picture_by_no_more_than_the_light_it_drops():
    whole = model()
    stopped = model()
    stopped.settings = read_settings(None, [*SMALL, "render.minimum_transmittance=0.1"]).render

    assert (whole.render(rays()).rgb - stopped.render(rays()).rgb).abs().max() < 0.1
    all_samples = whole.engine().samples(rays(), 0.02, torch.full((50,), 0.5))
    assert len(stopped.engine().samples(rays(), 0.02, torch.full((50,), 0.5))) < len(all_samples)


def test_samples_too_light_are_left_out_unless_the_ray_is_fog():
    made = model()
    made.settings = read_settings(None, [*SMALL, "render.minimum_transmittance=0", "render.minimum_weight=0.1"]).render

    def kept_of_ray(*density: float) -> int:
        made.field.density = lambda position: (torch.tensor(density).repeat(len(position))[: len(position)], position)
        ray = Rays(torch.tensor([[-3.0, 0.05, 0.05]]), torch.tensor([[1.0, 0, 0]]))
        # A step of a quarter of the cube's side: four samples.
        return len(made.engine().samples(ray, made.box.side / 4, torch.full((1,), 0.5)))

    assert kept_of_ray(0.1, 100.0, 100.0, 100.0) == 1  # thin, opaque, and two that no light reaches
    assert kept_of_ray(0.1, 0.1, 0.1, 0.1) == 4  # fog
    assert kept_of_ray(0.1, 0.1, 0.01, 0.1) == 3  # fog with a hole
    assert kept_of_ray(1e-5, 1e-5, 1e-5, 1e-5) == 0  # nothing


def test_fine_levels_join_as_the_step_shrinks():
    made = model()
    levels = made.field.encoding.levels

    counts = [made.active_levels(progress / 10) for progress in range(11)]
    assert counts == sorted(counts) and counts[0] < counts[-1] == len(levels)

    position = torch.rand(5, 3)
    with made.field.encoding.coarsest(1):
        coarse = made.field.encoding(position)
    features = made.field.encoding(position)
    width = made.field.encoding.table.shape[1]
    assert torch.equal(coarse[:, :width], features[:, :width]) and not coarse[:, width:].any()


def test_rays_that_miss_the_cube_see_nothing():
    away = Rays(torch.full((3, 3), 9.0), torch.tensor([[1.0, 0, 0], [0, 1, 0], [0, 0, 1]]))
    rendering = model().render(away)
    assert not rendering.opacity.any() and not rendering.rgb.any() and not rendering.depth.any()


def test_empty_cells_have_no_density():
    made = model()
    point = torch.rand(200, 3, generator=torch.Generator().manual_seed(3)) * 2 - 1
    assert (made.density(point) > 0).all()
    assert not made.density(point + 2.0).any()
    made.occupancy.occupied[16:] = False
    density = made.density(point)
    assert not density[point[:, 0] > 0].any() and (density[point[:, 0] < -0.01] > 0).all()


def test_the_step_shrinks_geometrically_to_its_final_length():
    made = model()
    lengths = [made.step_length(progress) for progress in (0, 0.35, 0.7, 1)]
    assert lengths[0] == pytest.approx(2 * lengths[3]) and lengths[2] == lengths[3]
    assert lengths[1] == pytest.approx((lengths[0] * lengths[2]) ** 0.5)


def test_a_model_s_tensors_make_the_same_model():
    one = model(seed=0)
    other = model(seed=5)
    load_model_state(other, model_state(one))
    assert torch.equal(one.render(rays()).rgb, other.render(rays()).rgb)
