"""The engine's functions one by one, on float32 or float64 CPU tensors, each with its vector-Jacobian product (vjp).

The fused training step is made of the same text. Tests can therefore compare that text with the reference, in double
precision too. Gradients come back as new tensors.
"""

from __future__ import annotations

import ctypes
import math
from collections.abc import Sequence

import torch
from torch import Tensor

from nerf.engine import library
from nerf.engine.signatures import (
    BestViewsCall,
    CompositeCall,
    FusionCall,
    HarmonicsCall,
    HashGridCall,
    Level,
    MarchCallDouble,
    MarchCallFloat,
    MlpCall,
    SightViews,
    SplatArrays,
    SplatCall,
    StereoCall,
    WitnessCall,
)
from nerf.engine.tensors import address
from nerf.geometry.cameras import Cameras

_SUFFIX = {torch.float32: "float", torch.float64: "double"}


def _call(name: str, dtype: torch.dtype, *arguments: object) -> None:
    if dtype not in _SUFFIX:
        raise TypeError(f"{name}: expected float32 or float64 tensors, got {dtype}")
    library().call(f"nerf_{name}_{_SUFFIX[dtype]}", *arguments)


def hash_grid(position: Tensor, table: Tensor, levels: Sequence[Level]) -> Tensor:
    """Returns features (S, L * F) of positions (S, 1 to 4) in [0, 1]; table (rows, F). See `nerf.ops.hash_grid`."""
    out = table.new_empty(len(position), len(levels) * table.shape[1])
    _hash_grid(position, table, out, levels)
    return out


def hash_grid_vjp(
    position: Tensor, table: Tensor, levels: Sequence[Level], grad: Tensor, needed: tuple[bool, bool] = (True, True)
) -> tuple[Tensor | None, Tensor | None]:
    """Returns the gradients by positions (S, D) and by the table (rows, F), or None for one that is not needed.

    grad: (S, L * F), the gradient by the features.
    """
    grad_position = torch.zeros_like(position) if needed[0] else None
    grad_table = torch.zeros_like(table) if needed[1] else None
    if any(needed):
        _hash_grid(position, table, grad, levels, grad_position, grad_table)
    return grad_position, grad_table


def _hash_grid(
    position: Tensor,
    table: Tensor,
    out: Tensor,
    levels: Sequence[Level],
    grad_position: Tensor | None = None,
    grad_table: Tensor | None = None,
) -> None:
    dtype = table.dtype
    call = HashGridCall(
        levels=(Level * len(levels))(*levels),
        position=address(position, dtype),
        table=address(table, dtype),
        out=address(out, dtype),
        grad_position=address(grad_position, dtype) if grad_position is not None else None,
        grad_table=address(grad_table, dtype) if grad_table is not None else None,
        n=len(position),
        dimensions=position.shape[1],
        n_levels=len(levels),
        features=table.shape[1],
        threads=torch.get_num_threads(),
    )
    _call("hash_grid", dtype, ctypes.byref(call))


def mlp(value: Tensor, weights: Sequence[Tensor]) -> Tensor:
    """Returns (S, outputs) of inputs (S, inputs); ReLU between layers, no biases. See `nerf.fields.mlp`."""
    out = value.new_empty(len(value), weights[-1].shape[0])
    _mlp(value, weights, out, None, None)
    return out


def mlp_vjp(value: Tensor, weights: Sequence[Tensor], grad: Tensor) -> tuple[Tensor, list[Tensor]]:
    """Returns the gradients by the inputs (S, inputs) and by every weight, from that by the outputs (S, outputs)."""
    grad_value = torch.zeros_like(value)
    grad_weights = [torch.zeros_like(weight) for weight in weights]
    _mlp(value, weights, grad, grad_value, grad_weights)
    return grad_value, grad_weights


def _mlp(
    value: Tensor,
    weights: Sequence[Tensor],
    out: Tensor,
    grad_value: Tensor | None,
    grad_weights: Sequence[Tensor] | None,
) -> None:
    dtype = value.dtype
    n_layers = len(weights)
    widths = (ctypes.c_int32 * (n_layers + 1))(weights[0].shape[1], *(weight.shape[0] for weight in weights))
    pointers = ctypes.c_void_p * n_layers
    at_weights = pointers(*(address(weight, dtype) for weight in weights))
    at_grads = pointers(*(address(weight, dtype) for weight in grad_weights or ()))

    call = MlpCall(
        widths=ctypes.addressof(widths),
        weights=ctypes.addressof(at_weights),
        input=address(value, dtype),
        out=address(out, dtype),
        grad_input=address(grad_value, dtype) if grad_value is not None else None,
        grad_weights=ctypes.addressof(at_grads),
        n=len(value),
        n_layers=n_layers,
        threads=torch.get_num_threads(),
    )
    _call("mlp", dtype, ctypes.byref(call), grad_value is not None)


def spherical_harmonics(direction: Tensor, degree: int) -> Tensor:
    """Returns the first degree^2 harmonics (S, degree^2) of unit directions (S, 3)."""
    out = direction.new_empty(len(direction), degree**2)
    _harmonics(direction, out, None, degree)
    return out


def spherical_harmonics_vjp(direction: Tensor, degree: int, grad: Tensor) -> Tensor:
    """Returns the gradient by directions (S, 3), as if of any length, from that by the harmonics."""
    grad_direction = torch.empty_like(direction)
    _harmonics(direction, grad, grad_direction, degree)
    return grad_direction


def _harmonics(direction: Tensor, out: Tensor, grad_direction: Tensor | None, degree: int) -> None:
    dtype = direction.dtype
    call = HarmonicsCall(
        direction=address(direction, dtype),
        out=address(out, dtype),
        grad_direction=address(grad_direction, dtype) if grad_direction is not None else None,
        n=len(direction),
        degree=degree,
    )
    _call("spherical_harmonics", dtype, ctypes.byref(call))


def march(
    ray: tuple[Tensor, Tensor, Tensor],
    corner: Tensor,
    side: float,
    occupied: Tensor,
    step: float,
    contraction: tuple[Tensor, float, float] | None = None,
) -> tuple[Tensor, Tensor]:
    """Returns how many samples rays have in occupied cells (R,) int64, and their distances t (S,), packed by ray.

    ray: origin (R, 3), direction (R, 3), and offset (R,) of the samples in their steps. corner: (3,), and side: of the
    scene box. occupied: (G, G, G) bool. step: scene units. contraction: its center (3,), radius and near distance, if
    there is one. See `nerf.ops.march`.
    """
    dtype = ray[0].dtype
    n_rays = len(ray[0])
    count = torch.zeros(n_rays, dtype=torch.int64)

    # The first call counts.
    kind = MarchCallFloat if dtype == torch.float32 else MarchCallDouble
    call = kind(
        *(address(part, dtype) for part in ray),
        occupied=address(occupied, torch.bool),
        count=address(count, torch.int64),
        side=side,
        step=step,
        n_rays=n_rays,
        resolution=occupied.shape[0],
        threads=torch.get_num_threads(),
    )
    call.corner[:] = corner.tolist()
    if contraction is not None:
        center, call.radius, call.near = contraction
        call.center[:] = center.tolist()
    _call("march", dtype, ctypes.byref(call))

    # The second one writes, where `first` says.
    first = count.cumsum(0) - count
    t = torch.empty(int(count.sum()), dtype=dtype)
    call.first = address(first, torch.int64)
    call.t = address(t, dtype)
    _call("march", dtype, ctypes.byref(call))
    return count, t


def stereo(
    pictures: Tensor, others: Tensor, warps: Tensor, slopes: Tensor, steps: Tensor, planes: Tensor, frames: range
) -> tuple[Tensor, Tensor]:
    """Returns inverse depths (N, H, W) and correlations (N, H, W) of some frames, see `nerf.ops.stereo`."""
    inverse = pictures.new_empty(len(frames), *pictures.shape[1:])
    likeness = torch.empty_like(inverse)

    call = StereoCall(
        pictures=address(pictures),
        others=address(others, torch.int32),
        warps=address(warps),
        slopes=address(slopes),
        steps=address(steps),
        planes=address(planes, torch.int32),
        inverse=address(inverse),
        likeness=address(likeness),
        first=frames.start,
        count=len(frames),
        n_pictures=len(pictures),
        height=pictures.shape[1],
        width=pictures.shape[2],
        n_others=others.shape[1],
        n_slopes=slopes.shape[1],
        threads=torch.get_num_threads(),
    )
    library().call("nerf_stereo", ctypes.byref(call))
    return inverse, likeness


SplatView = tuple[Cameras, int, float, bool]  # cameras, which of them, near, antialiased: see `nerf.ops.splats`


def splats(arrays: Sequence[Tensor], view: SplatView) -> Tensor:
    """Returns the picture (H, W, 4) of splats.

    arrays: means (N, 3), log scales (N, 3), turns (N, 4), logits (N,), harmonics (N, D^2, 3).
    """
    width, height = view[0].size[view[1]].tolist()
    pixel = torch.empty(height, width, 4)
    _splats(arrays, view, pixel)
    return pixel


def splats_vjp(arrays: Sequence[Tensor], view: SplatView, pixel: Tensor, grad_pixel: Tensor) -> list[Tensor]:
    """Returns the gradients by the five arrays, from the picture (H, W, 4) and the gradient by it."""
    grad = [torch.empty_like(array) for array in arrays]
    _splats(arrays, view, pixel, grad_pixel, grad)
    return grad


def _splats(
    arrays: Sequence[Tensor],
    view: SplatView,
    pixel: Tensor,
    grad_pixel: Tensor | None = None,
    grad: Sequence[Tensor] | None = None,
) -> None:
    cameras, frame, near, antialiased = view
    pose = cameras.world_from_camera[frame].contiguous()
    call = SplatCall(
        splats=SplatArrays(*map(address, arrays)),
        grad=SplatArrays(*map(address, grad or ())),
        pose=address(pose),
        pixel=address(pixel),
        grad_pixel=address(grad_pixel) if grad_pixel is not None else None,
        n=len(arrays[0]),
        near=near,
        antialiased=antialiased,
        degree=math.isqrt(arrays[4].shape[1]),
        height=pixel.shape[0],
        width=pixel.shape[1],
        threads=torch.get_num_threads(),
    )
    call.focal[:] = cameras.focal[frame].tolist()
    call.center[:] = cameras.center[frame].tolist()
    library().call("nerf_splats", ctypes.byref(call))


def fuse(cameras: Cameras, distance: Tensor, point: Tensor, reach: float, through: float) -> Tensor:
    """Returns the mean (N,) of what cameras say of points (N, 3), see `nerf.ops.sight`."""
    views, _kept = _sight(cameras, distance)
    point = point.contiguous()
    value = torch.empty(len(point))

    call = FusionCall(
        views=views,
        points=address(point),
        value=address(value),
        n=len(point),
        reach=reach,
        through=through,
        threads=torch.get_num_threads(),
    )
    library().call("nerf_fuse", ctypes.byref(call))
    return value


def find_witnesses(
    cameras: Cameras, distance: Tensor, point: Tensor, slack: tuple[Tensor, Tensor], enough: Tensor, sharp: float
) -> Tensor:
    """Returns whether enough cameras see points (N, 3), (N,) bool, see `nerf.ops.sight`.

    slack: (N,) before and (N,) behind. enough: (N,) int32.
    """
    views, _kept = _sight(cameras, distance)
    point, before, behind = (each.contiguous() for each in (point, *slack))
    witnessed = torch.empty(len(point), dtype=torch.bool)

    call = WitnessCall(
        views=views,
        points=address(point),
        before=address(before),
        behind=address(behind),
        enough=address(enough, torch.int32),
        witnessed=address(witnessed, torch.bool),
        n=len(point),
        sharp=sharp,
        threads=torch.get_num_threads(),
    )
    library().call("nerf_find_witnesses", ctypes.byref(call))
    return witnessed


def find_best_views(
    cameras: Cameras, distance: Tensor, point: Tensor, normal: Tensor, slack: float, least_cosine: float, count: int
) -> tuple[Tensor, Tensor]:
    """Returns which cameras see points best, (N, count) int32, and how well, (N, count), see `nerf.ops.sight`."""
    views, _kept = _sight(cameras, distance)
    point, normal = point.contiguous(), normal.contiguous()
    found = torch.empty(len(point), count, dtype=torch.int32)
    shares = torch.empty(len(point), count)

    call = BestViewsCall(
        views=views,
        points=address(point),
        normals=address(normal),
        cameras=address(found, torch.int32),
        shares=address(shares),
        n=len(point),
        slack=slack,
        least_cosine=least_cosine,
        count=count,
        threads=torch.get_num_threads(),
    )
    library().call("nerf_find_best_views", ctypes.byref(call))
    return found, shares


def _sight(cameras: Cameras, distance: Tensor) -> tuple[SightViews, list[Tensor]]:
    """Returns what cameras see as the engine takes it, and the tensors that must live as long."""
    if distance.shape != (len(cameras), cameras.height, cameras.width):
        raise ValueError(f"distances of {len(cameras)} pictures are of shape {tuple(distance.shape)}")
    each = (cameras.world_from_camera, cameras.focal, cameras.center, cameras.lens, distance)
    kept = [tensor.contiguous() for tensor in each]
    poses, focal, center, lenses, seen = (address(tensor) for tensor in kept)
    return SightViews(poses, focal, center, lenses, seen, len(cameras), cameras.height, cameras.width), kept


def composite(thickness: Tensor, rgb: Tensor, t: Tensor, first: Tensor) -> Tensor:
    """Returns pixels (R, 5): colour over black, opacity, and depth times opacity. See `nerf.ops.composite`.

    thickness: (S,) optical thickness. rgb: (S, 3). t: (S,). first: (R + 1,) int64, where the samples of a ray begin.
    """
    pixel = thickness.new_empty(len(first) - 1, 5)
    _composite(thickness, rgb, t, first, pixel, None)
    return pixel


def composite_vjp(
    thickness: Tensor, rgb: Tensor, t: Tensor, first: Tensor, grad_pixel: Tensor
) -> tuple[Tensor, Tensor]:
    """Returns the gradients by thickness (S,) and rgb (S, 3) from that by the pixels (R, 5)."""
    grad_thickness = torch.zeros_like(thickness)
    grad_rgb = torch.zeros_like(rgb)
    _composite(thickness, rgb, t, first, grad_pixel, (grad_thickness, grad_rgb))
    return grad_thickness, grad_rgb


def _composite(
    thickness: Tensor, rgb: Tensor, t: Tensor, first: Tensor, pixel: Tensor, grads: tuple[Tensor, Tensor] | None
) -> None:
    dtype = thickness.dtype
    call = CompositeCall(
        thickness=address(thickness, dtype),
        rgb=address(rgb, dtype),
        t=address(t, dtype),
        first=address(first, torch.int64),
        pixel=address(pixel, dtype),
        grad_thickness=address(grads[0], dtype) if grads else None,
        grad_rgb=address(grads[1], dtype) if grads else None,
        n_rays=len(first) - 1,
        threads=torch.get_num_threads(),
    )
    _call("composite", dtype, ctypes.byref(call), grads is not None)
