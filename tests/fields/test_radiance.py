"""The field's structure and its golden values."""

import torch

from nerf.config import FieldSettings
from nerf.fields.mlp import MLP
from nerf.fields.radiance import LARGEST_LOG_DENSITY, RadianceField
from nerf.seeding import generator

SETTINGS = FieldSettings(levels=2, features_per_level=2, log2_table_size=8, base_resolution=4, finest_resolution=8,
                         density_width=16, geometry_features=16, color_width=16, color_layers=2)  # fmt: skip

GOLDEN = [498.146, 0.9974688, 0.13378, 0.0002613799]  # density and colour of golden_field at one point


def waves(shape, rate):
    count = torch.Size(shape).numel()
    return torch.sin(torch.arange(count, dtype=torch.float32) * rate).view(shape)


def golden_field():
    field = RadianceField(SETTINGS, generator(0, "parameters"))
    with torch.no_grad():
        for index, parameter in enumerate(field.parameters()):
            parameter.copy_(waves(parameter.shape, 0.1 + 0.07 * index))
    return field


def test_golden_outputs_stay_what_they_were():
    field = golden_field()
    density, features = field.density(torch.tensor([[0.2, 0.5, 0.9]]))
    rgb = field.color(torch.tensor([[0.6, 0.0, 0.8]]), features)
    # Stored outputs for parameters that are sines: layout, order of inputs and activations cannot drift unseen.
    assert torch.allclose(density, torch.tensor([GOLDEN[0]]), rtol=1e-4)
    assert torch.allclose(rgb, torch.tensor([GOLDEN[1:]]), rtol=1e-4)


def test_the_structure_by_plain_products():
    field = golden_field()
    point = torch.tensor([[0.2, 0.5, 0.9]])
    direction = torch.tensor([[0.0, 0.0, 1.0]])

    encoded = field.encoding(point)
    first, second = field.density_mlp.weights
    hidden = second @ torch.relu(first @ encoded[0])
    density, features = field.density(point)
    assert torch.allclose(features[0], hidden, atol=1e-5) and torch.allclose(density[0], hidden[0].exp(), rtol=1e-5)

    harmonics = torch.zeros(16)
    harmonics[[0, 2, 6, 12]] = torch.tensor([0.28209479, 0.48860251, 0.63078313, 0.74635267])
    value = torch.cat([hidden, harmonics])  # the density MLP's outputs first, as in instant-ngp
    for weight in list(field.color_mlp.weights)[:-1]:
        value = torch.relu(weight @ value)
    assert torch.allclose(
        field.color(direction, features)[0], torch.sigmoid(field.color_mlp.weights[-1] @ value), atol=1e-5
    )


def test_density_stays_finite_where_the_network_explodes():
    field = golden_field()
    with torch.no_grad():
        field.density_mlp.weights[-1].fill_(1e6)
        field.encoding.table.fill_(1.0)
        field.density_mlp.weights[0].fill_(1.0)
    density, _ = field.density(torch.rand(10, 3))
    assert torch.isfinite(density).all() and density.max() <= torch.exp(torch.tensor(LARGEST_LOG_DENSITY))


def test_the_seed_alone_decides_the_first_parameters():
    one, same, other = (RadianceField(SETTINGS, generator(seed, "parameters")) for seed in (1, 1, 2))
    assert all(torch.equal(a, b) for a, b in zip(one.parameters(), same.parameters()))
    assert not torch.equal(one.encoding.table, other.encoding.table)
    assert one.encoding.table.abs().max() <= 1e-4


def test_an_mlp_has_no_bias_and_relu_only_between_layers():
    mlp = MLP([3, 5, 2], generator(0, "test"))
    assert [tuple(weight.shape) for weight in mlp.weights] == [(5, 3), (2, 5)]
    assert torch.equal(mlp(torch.zeros(4, 3)), torch.zeros(4, 2))
    value = torch.randn(50, 3, generator=generator(1, "test"))
    assert mlp(value).min() < 0
