"""The CUDA kernels against the plain-torch reference: on the CPU by the shim, and on a GPU if there is one."""

from __future__ import annotations

import re

import pytest
import torch
from torch import Tensor

from nerf.cameras import Rays
from nerf.config import FieldSettings
from nerf.engine.kernels import BLOCK, GROUP, KERNELS, LayerArrays, SampleArrays, Work, grid_of, padded
from nerf.engine.nvrtc import KERNELS as SOURCE
from nerf.engine.signatures import Level
from nerf.ops.composite import composite_reference
from nerf.ops.hash_grid import grid_levels, hash_grid_reference
from nerf.ops.march import Cube, Samples, march_reference
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
    assert sorted(KERNELS) == sorted(re.findall(r"^KERNEL (\w+)\(", SOURCE.read_text(), re.MULTILINE))


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

    work = Work()
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


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("n_rays", [0, 1, 130])
@pytest.mark.parametrize("share", [0.0, 0.02, 1.0])
def test_march_counts_and_fills_the_samples_of_the_reference(device, n_rays, share):
    gpu, size = launcher(device), 38
    corner, side, step = torch.tensor([-1.0, -0.5, 0.25]), 1.5, 0.013
    occupied = uniform(9, size, size, size) < share
    origin = (uniform(10, n_rays, 3, low=-1) * 3).float()
    target = corner + side * uniform(11, n_rays, 3).float()
    direction = torch.nn.functional.normalize(target - origin, dim=1)
    offset = uniform(12, n_rays).float()
    truth = march_reference(Rays(origin, direction), Cube(corner, side), occupied, step, offset)

    blocks = -(-size // 4)
    work = Work(n_rays=n_rays, side=side, step=step, resolution=size)
    work.corner[:] = corner.tolist()
    arrays = {
        "origin": put(gpu, origin),
        "direction": put(gpu, direction),
        "offset": put(gpu, offset),
        "occupied": put(gpu, occupied, torch.bool),
        "blocks": gpu.zeros((blocks**3,), torch.uint8),
        "count": gpu.zeros((max(n_rays, 1),), torch.int64),
    }
    for name, array in arrays.items():
        setattr(work, name, array.data_ptr())
    gpu.launch("coarsen_cells", work, grid_of(blocks**3))
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
    assert (count - expected).abs().sum() <= 3
    if torch.equal(count, expected):
        assert torch.equal(ray[:n].cpu().long(), truth.ray)
        assert error(places[3][:n], truth.t.double()) < 1e-6
        world = origin[truth.ray] + truth.t[:, None] * direction[truth.ray]
        unit = ((world - corner) / side).clamp(0, 1)
        assert error(torch.stack([place[:n].cpu() for place in places[:3]], dim=1), unit.double()) < 1e-5


def test_a_grid_that_cuda_does_not_take_is_refused():
    assert grid_of(2**33) == (2**26, 1, 1)  # more threads than 32 bits count
    with pytest.raises(ValueError, match="larger than CUDA takes"):
        grid_of(2**40)


def test_the_settings_allow_no_more_features_than_the_kernels_know():
    assert FieldSettings.__dataclass_fields__["features_per_level"].metadata["high"] == 8
