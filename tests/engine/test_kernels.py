"""The CUDA kernels against the plain-torch reference: on the CPU by the shim, and on a GPU if there is one."""

from __future__ import annotations

import re

import pytest
import torch
from torch import Tensor

from nerf.backends.reference import NEGLIGIBLE_WEIGHT, PART_OF_HEAVIEST
from nerf.config import FieldSettings
from nerf.engine.kernels import BLOCK, GROUP, KERNELS, LayerArrays, SampleArrays, Work, grid_of, padded
from nerf.engine.nvrtc import SOURCES
from nerf.engine.signatures import Level
from nerf.geometry.cameras import Rays
from nerf.geometry.contraction import Contraction
from nerf.geometry.scene_box import SceneBox
from nerf.ops.composite import composite_reference
from nerf.ops.hash_grid import grid_levels, hash_grid_reference
from nerf.ops.march import Samples, march_reference
from tests.engine.launchers import DEVICES, launcher

TOLERANCE = 5e-5  # as of the engine's float functions, see test_ops.py
SIZES = [0, 1, BLOCK, BLOCK + 1, 900]


def uniform(seed: int, *shape: int, low: float = 0.0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.empty(*shape, dtype=torch.float64).uniform_(low, 1, generator=generator)


def error(value: Tensor, truth: Tensor) -> float:
    assert value.shape == truth.shape
    return ((value.cpu().double() - truth).norm() / truth.norm().clamp(min=1e-30)).item() if truth.numel() else 0.0


def put(device, value: Tensor, dtype: torch.dtype = torch.float32, room: int = 1) -> Tensor:
    """Returns a copy on a launcher's device, in an array of at least `room` rows."""
    array = device.zeros((max(room, len(value), 1), *value.shape[1:]), dtype)
    array[: len(value)].copy_(value)
    return array


def to_rows(value: Tensor) -> Tensor:
    """Returns (S, K) as [block][row][BLOCK], rows padded to whole groups."""
    n, width = value.shape
    blocks = torch.zeros(padded(max(n, 1), BLOCK), padded(width), dtype=value.dtype)
    blocks[:n, :width] = value
    return blocks.view(-1, BLOCK, padded(width)).transpose(1, 2).contiguous()


def from_rows(rows: Tensor, n: int, width: int) -> Tensor:
    return rows.cpu().transpose(1, 2).reshape(-1, rows.shape[1])[:n, :width]


def test_the_list_of_kernels_is_that_of_the_source():
    text = "".join(file.read_text(encoding="utf-8") for file in (SOURCES / "cuda").glob("*.cu"))
    assert sorted(KERNELS) == sorted(re.findall(r"^KERNEL (\w+)\(", text, re.MULTILINE))


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("features", [1, 2, 4, 8])
@pytest.mark.parametrize("size", SIZES)
def test_encode_and_its_gradient_are_the_references(device, features, size):
    gpu, levels = launcher(device, features), grid_levels(5, 4, 200, 10)
    position, rows = uniform(1, size, 3).float(), sum(level.rows for level in levels)
    # The kernels read the table as bfloat16.
    table = uniform(2, rows, features, low=-1).bfloat16().double().requires_grad_()
    width = len(levels) * features
    truth = hash_grid_reference(position, table, levels)
    grad = uniform(3, size, width, low=-1)
    (grad_truth,) = torch.autograd.grad(truth, table, grad) if size else (torch.zeros_like(table),)

    work = Work(levels=len(levels))
    work.shape.n_levels, work.shape.features = len(levels), features
    first_row = 0
    for index, level in enumerate(levels):
        work.shape.levels[index] = Level(level.scale, level.resolution, level.rows, level.hashed)
        work.first_row[index] = first_row
        first_row += level.rows
    places = [put(gpu, column, room=padded(max(size, 1), BLOCK)) for column in position.T]
    master, packed = put(gpu, table.detach()), gpu.zeros((rows * max(1, features // 2),), torch.int32)
    encoding, grad_encoding = (put(gpu, to_rows(value)) for value in (torch.zeros(size, width), grad))
    grad_table = gpu.zeros((rows, features), torch.float32)
    work.table, work.packed, work.grad_table = (array.data_ptr() for array in (master, packed, grad_table))
    work.grad_encoding = grad_encoding.data_ptr()
    work.samples = SampleArrays(*(place.data_ptr() for place in places), n=size)
    work.layers[0] = LayerArrays(in_=encoding.data_ptr(), outputs=GROUP, inputs=width, split=width)
    gpu.launch("pack_table", work, grid_of(len(packed)))
    if size:
        gpu.launch("encode", work, grid_of(padded(size, BLOCK), len(levels)))
        gpu.launch("encode_vjp", work, grid_of(size, len(levels)))
    assert error(from_rows(encoding, size, width), truth.detach()) < TOLERANCE
    assert error(grad_table, grad_truth) < TOLERANCE


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("counts", [[], [0], [1], [BLOCK], [0, 3, 70, 0, 1], [5, 0, 9] * 120], ids=len)
def test_composite_and_its_gradients_are_the_references(device, counts):
    gpu, count = launcher(device), torch.tensor(counts, dtype=torch.int64)
    size, n_rays = int(count.sum()), len(counts)
    first = torch.cat([torch.zeros(1, dtype=torch.int64), count.cumsum(0)])
    thickness, rgb = uniform(13, size).requires_grad_(), uniform(14, size, 3).requires_grad_()
    t = uniform(15, size) + 1
    samples = Samples(torch.repeat_interleave(torch.arange(n_rays), count), t, 1.0, n_rays)
    seen = composite_reference(thickness, rgb, samples)
    truth = torch.cat([seen.rgb, seen.opacity[:, None], seen.depth[:, None]], dim=1)
    grad = uniform(16, n_rays, 5, low=-1)
    grads_truth = torch.autograd.grad((truth * grad).sum(), [thickness, rgb])

    arrays = {
        "passing": put(gpu, torch.exp(-thickness.detach())),
        "reaching": put(gpu, torch.zeros(size)),
        "grad_thickness": put(gpu, torch.zeros(size)),
        "pixel": put(gpu, torch.zeros(n_rays, 5)),
        "grad_pixel": put(gpu, grad),
    }
    work = Work(n_rays=n_rays, n_layers=1, **{name: array.data_ptr() for name, array in arrays.items()})
    colors, grad_colors = put(gpu, to_rows(rgb.detach())), put(gpu, to_rows(torch.zeros(size, 3)))
    distance, begin = put(gpu, t), put(gpu, first, torch.int64)
    work.layers[0] = LayerArrays(out=colors.data_ptr(), grad_out=grad_colors.data_ptr())
    work.samples = SampleArrays(t=distance.data_ptr(), first=begin.data_ptr(), n=size)
    if n_rays:
        gpu.launch("composite_rays", work, grid_of(n_rays))
        gpu.launch("composite_rays_vjp", work, grid_of(n_rays))
    assert error(arrays["pixel"][:n_rays], truth.detach()) < TOLERANCE
    assert error(arrays["grad_thickness"][:size], grads_truth[0]) < TOLERANCE
    assert error(from_rows(grad_colors, size, 3), grads_truth[1]) < TOLERANCE


def marching(gpu, occupied: Tensor, rays: Rays, box: SceneBox, step: float, offset: Tensor) -> tuple[Work, dict]:
    """Returns what the marching kernels are given, cells packed, and the arrays behind it."""
    n_rays, size = len(rays), occupied.shape[0]
    fine, coarse = -(-size // 4), -(-size // 16)
    work = Work(n_rays=n_rays, step=step, resolution=size)
    work.space.corner[:], work.space.side = box.corner.tolist(), box.side
    if box.contraction:
        work.space.center[:] = box.contraction.center.tolist()
        work.space.radius, work.space.near = box.contraction.radius, box.contraction.near
    arrays = {
        "origin": put(gpu, rays.origin),
        "direction": put(gpu, rays.direction),
        "offset": put(gpu, offset),
        "occupied": put(gpu, occupied, torch.bool),
        "bits": gpu.zeros((2 * fine**3,), torch.int32),
        "empty": gpu.zeros((fine**3,), torch.uint8),
        "count": gpu.zeros((max(n_rays, 1),), torch.int64),
    }
    for name, array in arrays.items():
        setattr(work, name, array.data_ptr())
    gpu.launch("pack_cells", work, grid_of(2 * fine**3))
    gpu.launch("mark_blocks", work, grid_of(coarse**3))
    return work, arrays


CUBE = SceneBox(torch.tensor([-1.0, -0.5, 0.25]), 1.5)
CONTRACTED = SceneBox(torch.tensor([-1.5, -1.9, -1.6]), 3.3, Contraction(torch.tensor([0.3, -0.2, 0.1]), 1.9, 0.1))


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("n_rays", [0, 1, 130])
@pytest.mark.parametrize("share", [0.0, 0.02, 1.0])
@pytest.mark.parametrize("box", [CUBE, CONTRACTED], ids=["cube", "contracted"])
def test_march_counts_and_fills_the_samples_of_the_reference(device, n_rays, share, box):
    gpu, size, step = launcher(device), 38, 0.013
    occupied = uniform(9, size, size, size) < share
    occupied[:20, :, :16] = False  # more than one whole block is empty
    origin = (uniform(10, n_rays, 3, low=-1) * 3).float()
    target = box.corner + box.side * uniform(11, n_rays, 3).float()
    rays = Rays(origin, torch.nn.functional.normalize(target - origin, dim=1))
    offset = uniform(12, n_rays).float()
    truth = march_reference(rays, box, occupied, step, offset)

    work, arrays = marching(gpu, occupied, rays, box, step, offset)
    if n_rays:
        gpu.launch("march_count", work, grid_of(n_rays))
    count = arrays["count"][:n_rays].cpu()
    first = torch.cat([torch.zeros(1, dtype=torch.int64), count.cumsum(0)])
    n = int(first[-1])
    places = [gpu.zeros((n + 1,), torch.float32) for _ in range(4)]
    ray, begin = gpu.zeros((n + 1,), torch.int32), put(gpu, first, torch.int64)
    work.samples = SampleArrays(*(p.data_ptr() for p in places), ray=ray.data_ptr(), first=begin.data_ptr(), n=n)
    if n:
        gpu.launch("march_fill", work, grid_of(n_rays))
    # A sample within rounding of a cell's face may fall on either side.
    expected = torch.bincount(truth.ray, minlength=n_rays)
    assert (count - expected).abs().sum() <= max(3, 1e-3 * len(truth))
    position, t = torch.stack([place[:n].cpu() for place in places[:3]], dim=1), places[3][:n].cpu()
    assert torch.equal(ray[:n].cpu().long(), torch.repeat_interleave(torch.arange(n_rays), count))
    world = origin[ray[:n].cpu().long()] + t[:, None] * rays.direction[ray[:n].cpu().long()]
    assert error(position, box.unit_from_world(world).clamp(0, 1).double()) < 1e-5
    if torch.equal(count, expected):
        assert error(t, truth.t.double()) < 1e-5


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("minimum", [0.0, 0.02, 0.6])
def test_samples_that_weigh_next_to_nothing_are_left_out(device, minimum):
    gpu, n_rays, step, greatest = launcher(device), 70, 0.02, 6.0
    count = torch.randint(0, 40, (n_rays,), generator=torch.Generator().manual_seed(3))
    first = torch.cat([torch.zeros(1, dtype=torch.int64), count.cumsum(0)])
    n = int(first[-1])
    # Surfaces, fog and all but nothing.
    density = 10 ** (4 * uniform(20, n, low=-1))
    arrays = {
        "weight": gpu.zeros((n,), torch.float32),
        "least": gpu.zeros((n_rays,), torch.float32),
        "count": gpu.zeros((n_rays,), torch.int64),
    }
    dense, begin = put(gpu, density), put(gpu, first, torch.int64)
    work = Work(
        n_rays=n_rays,
        step=step,
        greatest_thickness=greatest,
        minimum_weight=minimum,
        **{name: array.data_ptr() for name, array in arrays.items()},
    )
    work.space.side = 1.0
    work.samples = SampleArrays(density=dense.data_ptr(), first=begin.data_ptr(), n=n)
    gpu.launch("weigh", work, grid_of(n_rays))
    for ray in range(n_rays):
        own = density[first[ray] : first[ray + 1]].float().double() * step
        before = own.cumsum(0) - own
        weight = torch.where(before <= greatest, torch.exp(-before) * -torch.expm1(-own), 0)
        heaviest = weight.max().item() if len(weight) else 0.0
        least = min(max(PART_OF_HEAVIEST * heaviest, NEGLIGIBLE_WEIGHT), max(NEGLIGIBLE_WEIGHT, minimum))
        assert torch.allclose(arrays["weight"][first[ray] : first[ray + 1]].cpu().double(), weight, atol=2e-6)
        assert arrays["least"][ray].item() == pytest.approx(least, rel=1e-4)
        assert arrays["count"][ray].item() == (weight >= least).sum()


def test_a_grid_that_cuda_does_not_take_is_refused():
    assert grid_of(2**33) == (2**26, 1, 1)  # more threads than 32 bits count
    with pytest.raises(ValueError, match="larger than CUDA takes"):
        grid_of(2**40)


def test_the_settings_allow_no_more_features_than_the_kernels_know():
    assert FieldSettings.__dataclass_fields__["features_per_level"].metadata["high"] == 8
