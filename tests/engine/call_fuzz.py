"""Random calls of every function of the engine, in this process: a crash ends it.

    python -m tests.engine.call_fuzz LIBRARY [--seed N] [--cases N] [--first N]

Prints how many calls of each function were computed and how many refused. Standard error says which case is in hand, so
that one that crashes can be made again alone: ``--first CASE --cases 1``.
"""

from __future__ import annotations

import argparse
import ctypes
import os
import re
from collections import Counter
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from nerf.engine import Library
from nerf.engine.signatures import (
    BakedCall,
    BakedScene,
    BestViewsCall,
    CompositeCall,
    DrawnRays,
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
from tests.engine.random_calls import WILD_64, Calls, level, pixels, step_length, threads
from tests.engine.random_models import radiance

# What a refusal says: a field, or what is missing.
REFUSAL = re.compile(r"nerf_\w+: (\w+\.[\w *,]+: .+|a null pointer .+|no gradients .+|std::bad_alloc)")


def draw(calls: Calls, call: Callable[..., None]) -> None:
    n = calls.count(0, 1, 40)
    frames = calls.array(ctypes.c_int32, n)
    pixel = calls.array(ctypes.c_int64, n)
    arrays = calls.reals(3 * n), calls.reals(3 * n), calls.reals(n), calls.reals(4 * n)
    rays = DrawnRays(*arrays, frames, calls.reals(n), pixel)
    seed = calls.random.randrange(2**64)
    call("nerf_draw", calls.pointer(pixels(calls)), seed, calls.count(0, 3), n, calls.pointer(rays))


def baked(calls: Calls, call: Callable[..., None]) -> None:
    resolution = calls.size(1, 4, 9)
    corners = calls.size(2, 3, 4, 1)
    bricks = calls.size(0, 1, 3)
    cells = resolution**3
    scene = BakedScene(
        opacity=calls.array(ctypes.c_uint8, bricks * corners**3, lambda: calls.random.randrange(256)),
        color=calls.array(ctypes.c_uint8, bricks * corners**3 * 16, lambda: calls.random.randrange(256)),
        brick=calls.array(ctypes.c_int32, cells, lambda: calls.size(0, 1, 2)),
        distance=calls.array(ctypes.c_uint8, cells, lambda: calls.random.choice([0, 0, 1, 2, 255])),
        scale=calls.reals(16),
        shift=calls.reals(16),
        resolution=resolution,
        corners=corners,
        n_bricks=bricks,
        side=calls.real(0.5, 2),
        step=step_length(calls),
        minimum_transmittance=calls.real(0, 0.1),
        minimum_weight=calls.real(0, 0.1),
    )
    scene.corner[:] = [calls.real(-1, 0) for _ in range(3)]
    cameras = pixels(calls)
    area = cameras.width * cameras.height
    picture = BakedCall(
        cameras=calls.pointer(cameras),
        rgb=calls.reals(3 * area),
        opacity=calls.reals(area),
        depth=calls.reals(area),
        first_row=calls.size(0, 0, 1),
        rows=calls.size(max(0, min(cameras.height, 64)), 1),
        frame=calls.size(0, 0, 1),
        threads=threads(calls),
    )
    call("nerf_baked_render", calls.pointer(scene), calls.pointer(picture))


def stereo(calls: Calls, call: Callable[..., None]) -> None:
    pictures = calls.size(0, 1, 3)
    height = calls.size(2, 5, 9)
    width = calls.size(2, 6, 8)
    others = calls.size(1, 2, 3)
    slopes = calls.size(1, 2, 3)
    area = pictures * height * width
    asked = StereoCall(
        pictures=calls.reals(area),
        others=calls.array(ctypes.c_int32, pictures * others, lambda: calls.size(-1, 0, max(0, min(pictures, 9) - 1))),
        warps=calls.reals(pictures * others * 12),
        slopes=calls.reals(pictures * slopes * 3),
        steps=calls.reals(pictures),
        planes=calls.array(ctypes.c_int32, pictures, lambda: calls.size(1, 2, 7)),
        inverse=calls.reals(area),
        likeness=calls.reals(area),
        first=calls.size(0, 0, 1),
        count=calls.size(0, 1, pictures),
        n_pictures=pictures,
        height=height,
        width=width,
        n_others=others,
        n_slopes=slopes,
        threads=threads(calls),
    )
    call("nerf_stereo", calls.pointer(asked))


def splat_arrays(calls: Calls, n: int, degree: int) -> SplatArrays:
    sizes = (3 * n, 3 * n, 4 * n, n, 3 * n * max(0, min(degree, 4)) ** 2)
    return SplatArrays(*(calls.reals(size) for size in sizes))


def splats(calls: Calls, call: Callable[..., None]) -> None:
    n = calls.count(0, 1, 40)
    degree = calls.size(1, 2, 3, 4)
    width = calls.size(1, 9, 40)
    height = calls.size(1, 7, 33)
    backward = calls.random.random() < 0.5
    asked = SplatCall(
        splats=splat_arrays(calls, n, degree),
        grad=splat_arrays(calls, n, degree) if backward else SplatArrays(),
        pose=calls.reals(12),
        pixel=calls.reals(4 * width * height),
        grad_pixel=calls.reals(4 * width * height) if backward else None,
        n=n,
        near=calls.real(0.01, 0.1),
        antialiased=calls.size(0, 1),
        degree=degree,
        height=height,
        width=width,
        threads=threads(calls),
    )
    asked.focal[:] = [calls.real(1, 50), calls.real(1, 50)]
    asked.center[:] = [calls.real(0, 40), calls.real(0, 40)]
    call("nerf_splats", calls.pointer(asked))


def sight(calls: Calls) -> SightViews:
    cameras = calls.size(0, 1, 3)
    height = calls.size(1, 5, 9)
    width = calls.size(1, 6, 8)
    arrays = (calls.reals(cameras * count) for count in (12, 2, 2, 12))
    return SightViews(*arrays, calls.reals(cameras * height * width), cameras, height, width)


def fuse(calls: Calls, call: Callable[..., None]) -> None:
    n = calls.count(0, 1, 9, 300)
    reach, through = calls.real(0.1, 2), calls.real(0, 4)
    asked = FusionCall(sight(calls), calls.reals(3 * n), calls.reals(n), n, reach, through, threads(calls))
    call("nerf_fuse", calls.pointer(asked))


def witnesses(calls: Calls, call: Callable[..., None]) -> None:
    n = calls.count(0, 1, 9, 300)
    asked = WitnessCall(
        views=sight(calls),
        points=calls.reals(3 * n),
        before=calls.reals(n),
        behind=calls.reals(n),
        enough=calls.array(ctypes.c_int32, n, lambda: calls.size(0, 1, 2)),
        witnessed=calls.array(ctypes.c_uint8, n),
        n=n,
        sharp=calls.real(0, 1),
        threads=threads(calls),
    )
    call("nerf_find_witnesses", calls.pointer(asked))


def best_views(calls: Calls, call: Callable[..., None]) -> None:
    n = calls.count(0, 1, 9, 300)
    count = calls.size(1, 2, 8)
    many = n * count
    asked = BestViewsCall(
        views=sight(calls),
        points=calls.reals(3 * n),
        normals=calls.reals(3 * n),
        cameras=calls.array(ctypes.c_int32, many),
        shares=calls.reals(many),
        n=n,
        slack=calls.real(0.1, 2),
        least_cosine=calls.real(0, 0.1),
        count=count,
        threads=threads(calls),
    )
    call("nerf_find_best_views", calls.pointer(asked))


def hash_grid(calls: Calls, call: Callable[..., None], name: str, kind: Any) -> None:
    n = calls.count(0, 1, 9, 40)
    dimensions = calls.size(1, 2, 3, 4)
    features = calls.size(1, 2, 4, 8)
    n_levels = calls.size(1, 2, 3)
    levels = [level(calls, dimensions, features) for _ in range(max(0, min(n_levels, 32)))]
    rows = sum(each.rows for each in levels)
    made = (Level * len(levels))(*levels)
    calls.kept.append(made)
    grid = HashGridCall(
        levels=made if calls.random.random() > calls.odds else None,
        position=calls.reals(n * dimensions, kind),
        table=calls.reals(rows * features, kind),
        out=calls.reals(n * n_levels * features, kind),
        grad_position=calls.reals(n * dimensions, kind) if calls.random.random() < 0.5 else None,
        grad_table=calls.reals(rows * features, kind) if calls.random.random() < 0.5 else None,
        n=n,
        dimensions=dimensions,
        n_levels=n_levels,
        features=features,
        threads=threads(calls),
    )
    call(f"nerf_hash_grid_{name}", calls.pointer(grid))


def mlp(calls: Calls, call: Callable[..., None], name: str, kind: Any) -> None:
    n = calls.count(0, 1, 9, 70)
    n_layers = calls.size(1, 2, 3)
    widths = [calls.size(1, 3, 16) for _ in range(max(0, min(n_layers, 64)) + 1)]
    sizes = [after * before for before, after in zip(widths, widths[1:])]
    weights = (ctypes.c_void_p * len(sizes))(*(calls.reals(size, kind) for size in sizes))
    grads = (ctypes.c_void_p * len(sizes))(*(calls.reals(size, kind) for size in sizes))
    calls.kept += [weights, grads]
    network = MlpCall(
        widths=calls.array(ctypes.c_int32, len(widths), iter(widths).__next__),
        weights=ctypes.addressof(weights),
        input=calls.reals(n * widths[0], kind),
        out=calls.reals(n * widths[-1], kind),
        grad_input=calls.reals(n * widths[0], kind),
        grad_weights=ctypes.addressof(grads) if calls.random.random() > calls.odds else None,
        n=n,
        n_layers=n_layers,
        threads=threads(calls),
    )
    call(f"nerf_mlp_{name}", calls.pointer(network), calls.random.randrange(2))


def march(calls: Calls, call: Callable[..., None], name: str, kind: Any) -> None:
    n = calls.count(0, 1, 9)
    resolution = calls.size(1, 3, 16, 19)
    struct = MarchCallFloat if name == "float" else MarchCallDouble
    rays = struct(
        origin=calls.reals(3 * n, kind),
        direction=calls.reals(3 * n, kind),
        offset=calls.reals(n, kind),
        occupied=calls.array(ctypes.c_uint8, resolution**3, lambda: calls.random.randrange(2)),
        count=calls.array(ctypes.c_int64, n),
        side=calls.real(0.5, 2),
        step=step_length(calls),
        radius=calls.real(0.1, 1) if calls.random.random() < 0.4 else 0,
        near=calls.real(0, 0.1),
        n_rays=n,
        resolution=resolution,
        threads=threads(calls),
    )
    rays.corner[:] = [calls.real(-1, 0) for _ in range(3)]
    rays.center[:] = [calls.real(-0.2, 0.2) for _ in range(3)]
    call(f"nerf_march_{name}", calls.pointer(rays))


def composite(calls: Calls, call: Callable[..., None], name: str, kind: Any) -> None:
    n_rays = calls.count(0, 1, 9)
    first = [0]
    for _ in range(n_rays if 0 < n_rays < 100 else 0):
        first.append(calls.size(first[-1], first[-1] + 3, wild=WILD_64))
    samples = max(first)
    grads = (calls.reals(samples, kind), calls.reals(3 * samples, kind))
    seen = CompositeCall(
        *(calls.reals(samples, kind), calls.reals(3 * samples, kind), calls.reals(samples, kind)),
        calls.array(ctypes.c_int64, len(first), iter(first).__next__),
        calls.reals(5 * n_rays, kind),
        *grads,
        n_rays,
        threads(calls),
    )
    call(f"nerf_composite_{name}", calls.pointer(seen), calls.random.randrange(2))


def harmonics(calls: Calls, call: Callable[..., None], name: str, kind: Any) -> None:
    n = calls.count(0, 1, 9)
    degree = calls.size(1, 2, 3, 4)
    arrays = (calls.reals(3 * n, kind), calls.reals(n * degree**2, kind))
    grad = calls.reals(3 * n, kind) if calls.random.random() < 0.5 else None
    call(f"nerf_spherical_harmonics_{name}", calls.pointer(HarmonicsCall(*arrays, grad, n, degree)))


FLOATS = (("float", ctypes.c_float), ("double", ctypes.c_double))
OPS = (hash_grid, mlp, march, composite, harmonics)
TAKERS = (
    *(radiance, radiance, draw, baked, stereo, splats, fuse, witnesses, best_views),
    *(partial(op, name=name, kind=kind) for op in OPS for name, kind in FLOATS),
)


def fuzz(library: Library, seed: int, first: int, cases: int) -> Counter[str]:
    """Returns how many calls of each function were computed, and how many refused, by "FUNCTION outcome".

    Raises:
        AssertionError: a refusal does not say of what.
    """
    outcomes: Counter[str] = Counter()

    def call(name: str, *arguments: object) -> Any:
        try:
            value = library.call(name, *arguments)
        except (RuntimeError, MemoryError) as error:
            assert REFUSAL.fullmatch(str(error)), str(error)
            outcomes[f"{name} refused"] += 1
            return None
        outcomes[f"{name} computed"] += 1
        return value

    for case in range(first, first + cases):
        os.write(2, f"case {case}\r".encode())
        TAKERS[case % len(TAKERS)](Calls(f"{seed} {case}"), call)
    return outcomes


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("library", type=Path)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--cases", type=int, default=1000)
    arguments = parser.parse_args()

    library = Library("fuzzed", arguments.library)
    outcomes = fuzz(library, arguments.seed, arguments.first, arguments.cases)
    for name in sorted({key.split()[0] for key in outcomes}):
        print(f"{name:36} {outcomes[f'{name} computed']:8} computed {outcomes[f'{name} refused']:8} refused")


if __name__ == "__main__":
    main()
