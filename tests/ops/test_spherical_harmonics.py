"""Spherical harmonics against hand values and their orthonormality."""

import math

import torch

from nerf.ops.spherical_harmonics import spherical_harmonics_reference


def test_golden_values_along_the_axes():
    basis = spherical_harmonics_reference(torch.eye(3, dtype=torch.float64), 4)
    zero = 0.5 / math.sqrt(math.pi)
    one = math.sqrt(3 / (4 * math.pi))
    assert torch.allclose(basis[:, 0], torch.full((3,), zero, dtype=torch.float64))

    # tiny-cuda-nn's first order is (-y, z, -x).
    expected = torch.tensor([[0, 0, -one], [-one, 0, 0], [0, one, 0]], dtype=torch.float64)
    assert torch.allclose(basis[:, 1:4], expected)

    # Along z only m = 0 is left: l = 2 at index 6, l = 3 at index 12.
    assert torch.allclose(
        basis[2, [6, 12]], torch.tensor([math.sqrt(5 / math.pi) / 2, math.sqrt(7 / math.pi) / 2]).double()
    )
    others = [index for index in range(16) if index not in (0, 2, 6, 12)]
    assert torch.allclose(basis[2, others], torch.zeros(len(others), dtype=torch.float64))


def test_the_basis_is_orthonormal_on_the_sphere():
    # Gauss-Legendre in z times equal angles integrates polynomials of degree 6 exactly.
    import numpy

    node, weight = numpy.polynomial.legendre.leggauss(8)
    angle = numpy.arange(16) * 2 * numpy.pi / 16
    z, phi = (torch.from_numpy(values.ravel()) for values in numpy.meshgrid(node, angle, indexing="ij"))

    across = (1 - z**2).sqrt()
    basis = spherical_harmonics_reference(torch.stack([across * phi.cos(), across * phi.sin(), z], 1), 4)
    share = torch.from_numpy(numpy.repeat(weight, 16)) * 2 * math.pi / 16
    gram = basis.T @ (basis * share[:, None])
    assert torch.allclose(gram, torch.eye(16, dtype=torch.float64), atol=1e-12)


def test_lower_degrees_are_a_prefix_and_no_directions_give_no_rows():
    direction = torch.nn.functional.normalize(torch.randn(9, 3, generator=torch.Generator().manual_seed(0)), dim=1)
    full = spherical_harmonics_reference(direction, 4)
    for degree in (1, 2, 3):
        assert torch.equal(spherical_harmonics_reference(direction, degree), full[:, : degree**2])
    assert spherical_harmonics_reference(direction[:0], 4).shape == (0, 16)
