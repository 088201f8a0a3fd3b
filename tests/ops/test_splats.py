"""Splats: the engine against plain torch, and both against what a Gaussian must look like."""

import math

import pytest
import torch

from nerf.geometry.cameras import Cameras, look_at
from nerf.ops.splats import LEAST_ALPHA, PIXEL_BLUR, splats

WIDTH, HEIGHT = 53, 41  # no whole number of tiles


def camera(pose=None, size=(WIDTH, HEIGHT), focal=(1.2 * WIDTH, 1.1 * WIDTH), center=(0.48 * WIDTH, 0.53 * HEIGHT)):
    """Returns how `splats` is told of one camera."""
    if pose is None:
        pose = look_at(torch.tensor([2.0, -3.0, 1.5]), torch.zeros(3), torch.tensor([0.0, 0.0, 1.0]))
    return {
        "cameras": Cameras(pose[None], torch.tensor([focal]), torch.tensor([center]), *size),
        "frame": 0,
        "near": 0.1,
    }


AHEAD = torch.cat([torch.eye(3), torch.zeros(3, 1)], dim=1)


def cloud(count=60, degree=3, size=0.3):
    drawn = torch.Generator().manual_seed(degree)

    def normal(*shape):
        return torch.randn(*shape, generator=drawn)

    mean = 1.5 * normal(count, 3)  # some behind the camera, some beside its picture
    log_scale = math.log(size) + 0.5 * normal(count, 3)
    return [mean, log_scale, normal(count, 4), 2 * normal(count), 0.5 * normal(count, degree**2, 3)]


def with_gradients(arrays, backend, grad, antialiased=False):
    arrays = [array.clone().requires_grad_(True) for array in arrays]
    picture = splats(arrays, **camera(), antialiased=antialiased, backend=backend)
    picture.backward(grad)
    return picture.detach(), [array.grad for array in arrays]


@pytest.mark.parametrize(("degree", "antialiased"), [(1, False), (2, True), (3, False), (4, True)])
def test_engine_and_reference_draw_the_same_and_have_the_same_gradients(degree, antialiased):
    arrays = cloud(degree=degree, size=0.1 if antialiased else 0.3)
    grad = torch.randn(HEIGHT, WIDTH, 4, generator=torch.Generator().manual_seed(7))
    expected, expected_grads = with_gradients(arrays, "reference", grad, antialiased)
    picture, grads = with_gradients(arrays, "native", grad, antialiased)
    assert 0.05 < expected[..., 3].mean() < 0.9
    assert torch.allclose(picture, expected, atol=2e-6)
    for found, wanted in zip(grads, expected_grads):
        assert wanted.abs().max() > 0.3
        assert torch.allclose(found, wanted, atol=1e-5 * wanted.abs().max().item())


@pytest.mark.parametrize("antialiased", [False, True])
def test_the_reference_has_the_slopes_of_its_pictures(antialiased):
    arrays = [array.double() for array in cloud(8, degree=2)]
    view = camera(size=(12, 9), focal=(14.0, 13.0), center=(5.8, 4.8)) | {"antialiased": antialiased}
    step, drawn = 1e-6, torch.Generator().manual_seed(3)
    arrays = [array.requires_grad_(True) for array in arrays]
    weight = torch.randn(9, 12, 4, generator=drawn).double()
    (splats(arrays, **view) * weight).sum().backward()
    for which, array in enumerate(arrays):
        way = torch.randn(array.shape, generator=drawn).double()
        ends = [
            [other.detach() + (sign * step * way if i == which else 0) for i, other in enumerate(arrays)]
            for sign in (1, -1)
        ]
        high, low = ((splats(end, **view) * weight).sum().item() for end in ends)
        assert (high - low) / (2 * step) == pytest.approx((array.grad * way).sum().item(), rel=1e-4)


@pytest.mark.parametrize("backend", ["reference", "native"])
def test_a_round_splat_is_a_round_gaussian_widened_by_a_pixel(backend):
    view = camera(AHEAD, (41, 41), (50.0, 50.0), (20.5, 20.5))
    opacity, scale, depth = 0.8, 0.1, 2.0
    arrays = [torch.tensor([[0.0, 0.0, depth]]), torch.full((1, 3), math.log(scale)), torch.tensor([[1.0, 0, 0, 0]])]
    arrays += [torch.tensor([math.log(opacity / (1 - opacity))]), torch.zeros(1, 1, 3)]
    picture = splats(arrays, **view, backend=backend)
    variance = (50.0 / depth * scale) ** 2 + PIXEL_BLUR
    away = torch.arange(41) - 20.0
    expected = opacity * (-(away[:, None] ** 2 + away**2) / (2 * variance)).exp()
    expected = torch.where(expected >= LEAST_ALPHA, expected, 0)
    assert torch.allclose(picture[..., 3], expected, atol=1e-5)
    assert torch.allclose(picture[..., 0], 0.5 * picture[..., 3])  # no harmonics: grey


@pytest.mark.parametrize("backend", ["reference", "native"])
@pytest.mark.parametrize("order", [[0, 1], [1, 0]])
def test_the_nearer_splat_covers_the_farther_in_whatever_order_they_are_listed(backend, order):
    view = camera(AHEAD, (17, 17), (50.0, 50.0), (8.5, 8.5))
    harmonics = torch.zeros(2, 1, 3)
    harmonics[0, 0, 0] = harmonics[1, 0, 1] = 0.5 / 0.28209479177387814  # red, then green, on grey
    arrays = [torch.tensor([[0.0, 0, 2], [0.0, 0, 3]]), torch.full((2, 3), -1.0), torch.ones(2, 4), torch.zeros(2)]
    picture = splats([array[order] for array in [*arrays, harmonics]], **view, backend=backend)
    assert picture[8, 8].tolist() == pytest.approx([0.5 + 0.125, 0.25 + 0.25, 0.375, 0.75], abs=1e-5)


def test_threads_change_no_bit(threads):
    arrays = cloud(400, size=0.1)
    grad = torch.randn(HEIGHT, WIDTH, 4, generator=torch.Generator().manual_seed(7))
    found = []
    for count in (1, threads):
        torch.set_num_threads(count)
        found.append(with_gradients(arrays, "native", grad))
    assert torch.equal(found[0][0], found[1][0])
    assert all(torch.equal(one, other) for one, other in zip(found[0][1], found[1][1]))


@pytest.mark.parametrize("backend", ["reference", "native"])
def test_nothing_is_seen_of_no_splats(backend):
    arrays = [array[:0] for array in cloud(1)]
    assert not splats(arrays, **camera(), backend=backend).any()


def test_what_is_no_number_is_seen_by_nobody():
    arrays = cloud(20)
    clean = splats([array[1:] for array in arrays], **camera(), backend="native")
    arrays[0][0] = math.nan
    assert torch.equal(splats(arrays, **camera(), backend="native"), clean)
