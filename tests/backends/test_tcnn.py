"""tiny-cuda-nn's parameters: a golden file of its documented layout, and a stand-in that computes by it."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
import torch

from nerf.backends.choice import Backend
from nerf.backends.tcnn import TcnnField, check_shapes, from_tcnn, load_tinycudann, to_tcnn
from nerf.config import FieldSettings, settings_from_dict
from nerf.errors import InputError
from nerf.fields.radiance import RadianceField
from tests.backends import fake_tinycudann
from tests.backends.small_scene import ball_views, reference_task

GOLDEN = json.loads((Path(__file__).with_name("tcnn_layout.json")).read_text())


def named(field: RadianceField) -> dict[str, torch.Tensor]:
    return {name: value.detach() for name, value in field.named_parameters()}


@pytest.fixture
def fake(monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "tinycudann", fake_tinycudann)


def test_parameters_lie_where_the_golden_file_says():
    tensors = named(RadianceField(FieldSettings(**GOLDEN["field"]), torch.Generator()))
    arrays = to_tcnn(tensors)
    for key in arrays:
        assert arrays[key].shape == (GOLDEN[key]["size"],)
        for place, name, row, column in GOLDEN[key]["places"]:
            expected = 0.0 if name is None else tensors[name][row, column].item()
            assert arrays[key][place].item() == expected, (key, place)


@pytest.mark.parametrize("color_layers", [1, 2, 3])
def test_conversion_there_and_back_is_exact(color_layers):
    settings = FieldSettings(**{**GOLDEN["field"], "color_layers": color_layers, "density_width": 32})
    tensors = named(RadianceField(settings, torch.Generator()))
    back = from_tcnn(to_tcnn(tensors), {name: value.shape for name, value in tensors.items()})
    assert back.keys() == tensors.keys()
    assert all(torch.equal(back[name], value) for name, value in tensors.items())


def test_an_array_of_another_size_is_refused():
    tensors = named(RadianceField(FieldSettings(**GOLDEN["field"]), torch.Generator()))
    arrays = to_tcnn(tensors)
    with pytest.raises(InputError, match="array color has 767 numbers, the settings make 768"):
        from_tcnn({**arrays, "color": arrays["color"][:-1]}, {name: value.shape for name, value in tensors.items()})


@pytest.mark.parametrize(
    ("changes", "word"),
    [
        ({"levels": 3, "features_per_level": 4}, "features_per_level is 12"),
        ({"direction_degree": 3}, "direction_degree\\^2 is 25"),
        ({"density_width": 48}, "density_width is 48"),
    ],
)
def test_what_it_would_compute_otherwise_is_refused(changes, word):
    with pytest.raises(InputError, match=word):
        check_shapes(FieldSettings(**changes))


def test_the_same_parameters_give_the_same_field(fake):
    settings = FieldSettings(levels=4, log2_table_size=9, finest_resolution=80)
    reference, field = (kind(settings, torch.Generator().manual_seed(3)) for kind in (RadianceField, TcnnField))
    random = torch.Generator().manual_seed(4)
    with torch.no_grad():
        reference.encoding.table.uniform_(-1, 1, generator=random)
    field.load_tensors(named(reference))
    position, direction = torch.rand(100, 3, generator=random), torch.rand(100, 3, generator=random)
    direction = torch.nn.functional.normalize(direction, dim=1)
    density, features = field.density(position)
    expected, expected_features = reference.density(position)
    # It returns half precision: 11 bits.
    assert torch.allclose(features, expected_features, atol=2e-3)
    assert torch.allclose(density, expected, rtol=5e-3)
    assert torch.allclose(field.color(direction, features), reference.color(direction, expected_features), atol=2e-3)


def test_a_plain_field_has_the_same_parameters(fake):
    settings = FieldSettings(levels=4, log2_table_size=9, finest_resolution=80)
    reference, field = (kind(settings, torch.Generator().manual_seed(3)) for kind in (RadianceField, TcnnField))
    plain = named(field.plain())
    assert all(torch.equal(plain[name], value) for name, value in named(reference).items())


def small_settings():
    tree = {
        "scene": {"bounds": 0.8},
        "field": {"levels": 4, "log2_table_size": 10, "finest_resolution": 64},
        "render": {"steps": 64, "first_steps": 48, "occupancy_resolution": 16},
        "train": {"samples": 1024},
    }
    return settings_from_dict(tree, "test")


def test_levels_that_take_no_part_yet_give_nothing(fake):
    settings = FieldSettings(levels=4, log2_table_size=9, finest_resolution=80)
    reference, field = (kind(settings, torch.Generator().manual_seed(3)) for kind in (RadianceField, TcnnField))
    with torch.no_grad():
        reference.encoding.table.uniform_(-1, 1, generator=torch.Generator().manual_seed(4))
    field.load_tensors(named(reference))
    position = torch.rand(50, 3, generator=torch.Generator().manual_seed(5))
    with reference.encoding.coarsest(2), field.encoding.coarsest(2):
        assert torch.allclose(field.encoding(position), reference.encoding(position), atol=1e-3)
    assert field.encoding(position)[:, -1].any()


def test_its_training_learns_and_passes_to_the_reference_and_back(fake):
    task = Backend("tcnn", "").task(ball_views(), small_settings())
    errors = [task.train_step(step, step / 40).error for step in range(40)]
    assert sum(errors[-5:]) < 0.5 * sum(errors[:5])
    state = {name: value.clone() for name, value in task.state().items()}
    reference = reference_task(ball_views(), small_settings())
    assert state.keys() == reference.state().keys()
    reference.load_state(state)
    rays = task.views.cameras.image_rays(0)
    # A sample within rounding of what it must weigh to count is left out by one of the two.
    apart = (task.model.render(rays).rgb - reference.model.render(rays).rgb).abs()
    assert apart.mean() < 1e-3 and apart.max() < 0.01 + task.settings.render.minimum_weight
    again = Backend("tcnn", "").task(ball_views(), small_settings())
    again.load_state(reference.state())
    assert all(torch.equal(value, state[name]) for name, value in again.state().items())


def test_a_run_is_rendered_by_it(fake):
    settings = small_settings()
    reference = reference_task(ball_views(), settings)
    model = Backend("tcnn", "").model(settings, reference.model.box)
    tensors = {name.removeprefix("field."): value for name, value in reference.model.state_dict().items()}
    model.field.load_tensors(tensors)
    rays = reference.views.cameras.image_rays(1)
    with torch.no_grad():
        reference.model.occupancy.occupied.fill_(True)
    assert torch.allclose(model.render(rays).rgb, reference.model.render(rays).rgb, atol=0.01)


def test_a_missing_package_is_named_with_how_to_get_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "tinycudann", None)
    with pytest.raises(InputError, match="tinycudann is not installed; .*use --backend cuda"):
        load_tinycudann()
