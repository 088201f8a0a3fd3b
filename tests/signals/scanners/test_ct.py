import math

import numpy
import pytest
import torch

from nerf.errors import InputError
from nerf.signals.baselines import filtered_back_projection, sart
from nerf.signals.scanners import ct

SPACING = numpy.array([2.0, 2.0, 3.0])


def discs(n: int = 65, slices: int = 2) -> torch.Tensor:
    """Returns (n, n, slices): a disc of radius 20 voxels off the axis, softened at its rim."""
    x, y = torch.meshgrid(torch.arange(n) - n // 2, torch.arange(n) - n // 2, indexing="ij")
    disc = ((20 - ((x - 5.0) ** 2 + (y + 3.0) ** 2).sqrt()) / 2 + 0.5).clamp(0, 1)
    return torch.stack([disc * (1 + k) for k in range(slices)], dim=2)


@pytest.mark.parametrize("beam", ct.BEAMS)
def test_the_central_ray_measures_the_chord_of_a_disc_in_mm(beam):
    voxels = discs(slices=1).repeat(1, 1, 31)
    scan = ct.scan_of(voxels.shape, SPACING, beam, 8)
    measured = ct.line_integrals(scan, voxels, torch.arange(8), 2)
    for view, angle in enumerate(scan.angles.tolist()):
        miss = abs(-math.sin(angle) * 5 + math.cos(angle) * -3)  # voxels, of the disc's centre from the central ray
        chord = 2 * math.sqrt(20**2 - miss**2) * 2
        # The rim is two voxels wide: its middle is at the radius.
        assert measured[view, scan.detectors // 2, measured.shape[2] // 2].item() == pytest.approx(chord, rel=0.01)


def test_line_integrals_are_linear_and_their_gradient_is_the_adjoint():
    scan = ct.scan_of((12, 10, 2), SPACING, "fan", 5)
    random = torch.Generator().manual_seed(0)
    voxels = torch.rand(12, 10, 2, generator=random, requires_grad=True)
    weight = torch.rand(2, scan.detectors, 2, generator=random)
    measured = ct.line_integrals(scan, voxels, torch.tensor([1, 4]), 1)
    (grad,) = torch.autograd.grad((measured * weight).sum(), voxels)
    other = torch.rand(12, 10, 2, generator=random)
    along = (ct.line_integrals(scan, other, torch.tensor([1, 4]), 1) * weight).sum()
    assert (grad * other).sum().item() == pytest.approx(along.item(), rel=1e-5)


@pytest.mark.parametrize("beam", ["parallel", "fan"])
def test_the_system_matrix_is_the_line_integrals_and_its_transpose_their_gradient(beam):
    scan = ct.scan_of((12, 9, 2), SPACING, beam, 10)
    random = torch.Generator().manual_seed(0)
    voxels = torch.rand(12, 9, 2, generator=random, requires_grad=True)
    weight = torch.rand(10, scan.detectors, 2, generator=random)
    found = ct.SystemMatrix(scan, 1.5)(voxels)
    truth = ct.line_integrals(scan, voxels, torch.arange(10), 1.5)
    assert torch.allclose(found, truth, atol=1e-4)  # mm; float32 sums of up to 30 samples
    grads = [torch.autograd.grad((value * weight).sum(), voxels)[0] for value in (found, truth)]
    assert torch.allclose(*grads, atol=1e-3)


def test_filtered_back_projection_and_sart_find_the_disc_where_it_is():
    voxels = discs(33, 2) + 0.0
    scan = ct.scan_of(voxels.shape, SPACING, "parallel", 40)
    sinogram = ct.line_integrals(scan, voxels, torch.arange(40), 2)
    for found in (filtered_back_projection(scan, sinogram), sart(scan, sinogram, sart(scan, sinogram))):
        assert found.shape == voxels.shape
        # A shift by one voxel, or a mirror image, has an error above 0.3.
        assert (found - voxels).square().mean().sqrt() < 0.2


def test_an_even_sided_picture_is_not_shifted():
    voxels = discs(34, 1)[:, :31]
    scan = ct.scan_of(voxels.shape, SPACING, "parallel", 60)
    sinogram = ct.line_integrals(scan, voxels, torch.arange(60), 2)
    found = filtered_back_projection(scan, sinogram)
    errors = {shift: (found.roll(shift, 0) - voxels).square().mean() for shift in (-1, 0, 1)}
    assert min(errors, key=errors.get) == 0


def test_photon_noise_has_the_variance_that_the_weights_say():
    sinogram = torch.tensor([50.0, 150.0]).repeat(20000, 1)
    noisy = ct.with_photon_noise(sinogram, 1e5, torch.Generator().manual_seed(0))
    variance = (noisy - sinogram).square().mean(0)
    expected = ct.noise_variance(sinogram[0], 1e5)
    assert torch.allclose(variance, expected, rtol=0.05)  # 20000 draws: 1 % of standard error
    weight = ct.ray_weights(sinogram[0], 1e5)
    assert torch.allclose(weight[0] / weight[1], expected[1] / expected[0])
    assert (ct.ray_weights(sinogram, 0) == 1).all()


def test_hounsfield_units_and_attenuation_are_each_others_inverse():
    assert ct.attenuation(torch.tensor([-1000.0, 0.0, 1000.0, -2000.0])).tolist() == [0, 1, 2, 0]
    assert ct.hounsfield(torch.tensor([0.0, 1.0])).tolist() == [-1000, 0]


def test_a_scan_that_cannot_be_made_is_refused():
    with pytest.raises(InputError, match='did you mean "parallel"'):
        ct.check_beam("paralel", 50)
    with pytest.raises(InputError, match="2 to 4096"):
        ct.check_beam("fan", 1)
    scan = ct.scan_of((12, 10, 2), SPACING, "fan", 5)
    with pytest.raises(InputError, match="parallel beams"):
        filtered_back_projection(scan, torch.zeros(5, scan.detectors, 2))
