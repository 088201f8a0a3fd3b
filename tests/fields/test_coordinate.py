"""Fields of any signal: shapes, derivatives, initialisation."""

import math

import pytest
import torch

from nerf.errors import InputError
from nerf.fields.coordinate import CoordinateField
from nerf.fields.settings import FIELD_DEFAULTS, CoordinateFieldSettings
from nerf.seeding import generator

SMALL = {"width": 16, "layers": 2, "levels": 3, "log2_table_size": 10, "finest_resolution": 32, "omega": 3.0}


def field(kind, inputs=2, outputs=3, backend="reference"):
    settings = CoordinateFieldSettings(kind=kind, octaves=3, **SMALL)
    return CoordinateField(settings, inputs, outputs, generator(0, "test"), backend)


@pytest.mark.parametrize("kind", FIELD_DEFAULTS)
@pytest.mark.parametrize("inputs", [1, 3, 4])
def test_every_field_takes_any_input_and_output(kind, inputs):
    here = torch.rand(7, inputs)
    assert field(kind, inputs, 5)(here).shape == (7, 5)
    assert field(kind, inputs, 5).values(here[:0]).shape == (0, 5)


@pytest.mark.parametrize("kind", FIELD_DEFAULTS)
def test_first_and_second_derivatives_are_those_of_finite_differences(kind):
    made = field(kind, 2, 1).double()
    if kind == "hash":  # its features start so small that differences drown in rounding
        with torch.no_grad():
            made.encoding.table.mul_(1e4)
    here = torch.tensor([[0.3137, 0.7071]], dtype=torch.float64, requires_grad=True)
    slope = torch.autograd.grad(made(here).sum(), here, create_graph=True)[0]
    assert torch.autograd.gradgradcheck(lambda place: made(place), here, atol=1e-5)
    step = torch.tensor([[1e-6, 0.0]], dtype=torch.float64)
    with torch.no_grad():
        difference = (made(here + step) - made(here - step)).item() / 2e-6
    assert slope[0, 0].item() == pytest.approx(difference, rel=1e-4, abs=1e-7)


def test_second_derivatives_pass_through_the_native_hash_grid():
    native = field("hash", 3, 1, "native")
    reference = field("hash", 3, 1)
    for made in (native, reference):
        with torch.no_grad():
            made.encoding.table.copy_(torch.rand(made.encoding.table.shape, generator=generator(1, "table")) - 0.5)

    def eikonal(made):
        here = torch.rand(20, 3, generator=generator(2, "places")).requires_grad_()
        slope = torch.autograd.grad(made(here).sum(), here, create_graph=True)[0]
        return torch.autograd.grad(((slope.norm(dim=1) - 1) ** 2).mean(), made.encoding.table)[0]

    one = eikonal(native)
    other = eikonal(reference)
    assert one.abs().max() > 0 and torch.allclose(one, other, rtol=1e-3, atol=1e-5)


def test_activations_of_a_siren_keep_their_spread_through_the_layers():
    settings = CoordinateFieldSettings(kind="siren", width=256, layers=5)
    made = CoordinateField(settings, 2, 1, generator(0, "test"))
    value = torch.rand(2000, 2, generator=generator(0, "places")) * 2 - 1
    for layer in made.network.layers[:-1]:
        value = torch.sin(settings.omega * layer(value))
    # An arcsine distribution has standard deviation 1 / sqrt 2 (Sitzmann et al. 2020, theorem 1.8).
    assert value.std().item() == pytest.approx(1 / math.sqrt(2), abs=0.05)


def test_octaves_of_a_place_are_what_the_paper_says():
    made = field("encoding", 1)
    features = made.encoding(torch.tensor([[0.75]]))[0]
    expected = [0.5]
    for octave in range(3):
        expected += [math.sin(2**octave * math.pi * 0.5), math.cos(2**octave * math.pi * 0.5)]
    assert features.tolist() == pytest.approx(expected, abs=1e-6)


def test_a_hash_grid_of_five_dimensions_is_refused():
    with pytest.raises(InputError, match="at most 4"):
        field("hash", 5)
