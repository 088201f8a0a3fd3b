"""Pictures and densities from the engine against the reference's, and runs that pass from one backend to the other."""

from __future__ import annotations

import copy

import pytest
import torch

from nerf.geometry.scene_box import SceneBox
from tests.backends.small_scene import ball_task, ball_views, reference_task
from tests.backends.test_render_gradients import reference_of

# The engine reads vertices rounded to bfloat16 (8 bits); with bfloat16 products every activation is rounded too.
TOLERANCE = {"baseline": 2e-3, "avx2": 2e-3, "avx512": 2e-3, "avx512bf16": 6e-3}


@pytest.fixture(scope="module")
def learned() -> dict[str, torch.Tensor]:
    """The state of a task that has learned the ball."""
    task = ball_task()
    for step in range(120):
        task.train_step(step, step / 120)
    return {name: value.clone() for name, value in task.state().items()}


def test_pictures_are_those_of_the_reference(isa, threads, learned):
    task = ball_task()
    task.load_state(learned)
    rays = task.views.cameras.image_rays(1)
    native, truth = task.model.render(rays), reference_of(task.model).render(rays)
    assert truth.opacity.max() > 0.9
    # A sample within rounding of what it must weigh to count is left out by one of the two.
    most = task.settings.render.minimum_weight + 3 * TOLERANCE[isa]
    for name in ("rgb", "opacity"):
        apart = (getattr(native, name) - getattr(truth, name)).abs()
        assert apart.mean() < TOLERANCE[isa] / 4 and apart.max() < most, name
    assert (native.depth - truth.depth).abs().mean() < TOLERANCE[isa]


def test_surfaces_are_those_of_the_reference(isa, threads, learned):
    task = ball_task()
    task.load_state(learned)
    rays = task.views.cameras.image_rays(1)
    native, truth = task.model.surface(rays), reference_of(task.model).surface(rays)
    both = native.isfinite() & truth.isfinite()
    # A ray that keeps about half of its light may fall on either side of it.
    assert both.sum() > 100 and (native.isfinite() != truth.isfinite()).float().mean() < 0.02
    assert (native[both] - truth[both]).abs().median() < TOLERANCE[isa]


def test_no_ray_gives_no_pixel_and_one_ray_gives_one(isa, learned):
    task = ball_task()
    task.load_state(learned)
    rays = task.views.cameras.image_rays(0)
    for n_rays in (0, 1):
        assert task.model.render(rays[:n_rays]).rgb.shape == (n_rays, 3)
        assert task.model.surface(rays[:n_rays]).shape == (n_rays,)


def test_the_same_rays_give_the_same_bits_on_any_number_of_threads(isa, learned):
    task = ball_task()
    task.load_state(learned)
    rays, before, seen = task.views.cameras.image_rays(2), torch.get_num_threads(), []
    for threads in (1, 2, 4):
        torch.set_num_threads(threads)
        seen.append(task.model.render(rays).rgb)
    torch.set_num_threads(before)
    assert torch.equal(seen[0], seen[1]) and torch.equal(seen[0], seen[2])


@pytest.mark.parametrize("size", [0, 1, 300])
def test_densities_are_those_of_the_reference(isa, learned, size):
    task = ball_task()
    task.load_state(learned)
    model = task.model
    point = torch.empty(size, 3).uniform_(-0.9, 0.9, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        native, truth = model.density(point), reference_of(model).density(point)
    assert native.shape == (size,)
    assert torch.equal(native == 0, truth == 0)
    full = truth > 0
    # Density is an exponential: a rounded exponent of about 8 is off by up to some hundredths.
    assert torch.allclose(native[full].log(), truth[full].log(), atol=0.1 if isa == "avx512bf16" else 0.03)


def test_parameters_changed_by_torch_are_seen(learned):
    task = ball_task()
    task.load_state(learned)
    rays = task.views.cameras.image_rays(0)
    before = task.model.render(rays).opacity
    with torch.no_grad():
        task.model.field.density_mlp.weights[1][0] *= 0.0
    after = task.model.render(rays).opacity
    assert before.max() > 0.9 and after.max() < 0.9


def thinned(model):
    weight = model.field.density_mlp.weights[1].detach().clone()
    weight[0] *= 0.0
    return weight


def replaced_parameter(model):
    model.field.density_mlp.weights[1] = torch.nn.Parameter(thinned(model))


def replaced_storage(model):
    model.field.density_mlp.weights[1].data = thinned(model)


def replaced_network(model):
    network = copy.deepcopy(model.field.density_mlp)
    network.weights[1].data = thinned(model)
    model.field.density_mlp = network


def replaced_cube(model):
    model.box = SceneBox(model.box.corner + 10, model.box.side)


@pytest.mark.parametrize("replace", [replaced_parameter, replaced_storage, replaced_network, replaced_cube])
def test_what_takes_the_place_of_a_models_part_is_seen(learned, replace):
    task = ball_task()
    task.load_state(learned)
    rays = task.views.cameras.image_rays(0)
    assert task.model.render(rays).opacity.max() > 0.9
    replace(task.model)
    assert task.model.render(rays).opacity.max() < 0.9


def test_a_run_passes_to_the_reference_and_back(learned):
    native = ball_task()
    native.load_state(learned)
    reference = reference_task(ball_views(), native.settings)
    reference.load_state(learned)
    rays = native.views.cameras.image_rays(3)
    assert torch.allclose(native.model.render(rays).rgb, reference.model.render(rays).rgb, atol=0.1)
    reference.train_step(120, 1.0)
    native.load_state(reference.state())
    assert native.steps_taken == 121
    report = native.train_step(121, 1.0)
    assert report.error < 0.01
