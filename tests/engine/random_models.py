"""Random calls of what has a model: see `tests.engine.random_calls`."""

from __future__ import annotations

import ctypes
from collections.abc import Callable

from nerf.engine.signatures import (
    FieldShape,
    OccupancyArrays,
    OccupancyCall,
    Parameters,
    RadianceSpec,
    RayRecords,
    RenderCall,
    RenderGradients,
    StepCall,
    StepReport,
    SurfaceCall,
)
from tests.engine.random_calls import ODDS, Calls, level, pixels, step_length, threads


def parameters(calls: Calls, shape: FieldShape) -> Parameters:
    """Returns arrays of the sizes that a field has."""
    rows = sum(shape.levels[each].rows for each in range(max(0, min(shape.n_levels, 32))))
    encoded = shape.n_levels * shape.features
    into_color = shape.geometry_features + shape.direction_degree**2 + shape.code_size
    found = Parameters(table=calls.reals(rows * shape.features))
    found.density[0] = calls.reals(shape.density_width * encoded)
    found.density[1] = calls.reals(shape.geometry_features * shape.density_width)
    found.color[0] = calls.reals(shape.color_width * into_color)
    for layer in range(1, max(1, min(shape.color_layers, 4))):
        found.color[layer] = calls.reals(shape.color_width**2)
    if 1 <= shape.color_layers <= 4:
        found.color[shape.color_layers] = calls.reals(3 * shape.color_width)
    return found


def radiance_spec(calls: Calls) -> RadianceSpec:
    shape = FieldShape(
        n_levels=calls.size(1, 2, 3),
        features=calls.size(1, 2, 4, 8, 3),
        density_width=calls.size(1, 5, 16),
        geometry_features=calls.size(1, 6, 16),
        color_width=calls.size(1, 7, 16),
        color_layers=calls.size(1, 2, 4),
        direction_degree=calls.size(1, 2, 3, 4),
        code_size=calls.size(0, 0, 3, 64),
    )
    for index in range(max(0, min(shape.n_levels, 32))):
        shape.levels[index] = level(calls, 3, shape.features)
    resolution = calls.size(1, 3, 16, 19)
    cells = resolution**3
    occupancy = OccupancyArrays(
        calls.array(ctypes.c_uint8, cells, lambda: calls.random.randrange(2)),
        calls.array(ctypes.c_uint8, cells, lambda: calls.random.randrange(2)),
        calls.reals(cells),
        resolution,
    )
    contracted = calls.random.random() < 0.4
    spec = RadianceSpec(
        shape=shape,
        parameters=parameters(calls, shape),
        occupancy=occupancy,
        side=calls.real(0.5, 2),
        minimum_transmittance=calls.real(0, 0.1),
        minimum_weight=calls.real(0, 0.1),
        radius=calls.real(0.1, 1) if contracted else 0,
        near=calls.real(0, 0.1),
    )
    spec.corner[:] = [calls.real(-1, 0) for _ in range(3)]
    spec.center[:] = [calls.real(-0.2, 0.2) for _ in range(3)]
    return spec


def step_call(calls: Calls, spec: RadianceSpec) -> StepCall:
    pictures = pixels(calls)
    views = calls.size(pictures.n_frames)
    n_rays = calls.size(0, 1, 7, 40)
    records = RayRecords(calls.array(ctypes.c_int64, n_rays), calls.reals(n_rays))
    return StepCall(
        pixels=calls.pointer(pictures),
        gradients=calls.pointer(parameters(calls, spec.shape)) if calls.random.random() < 0.5 else None,
        first_moments=calls.pointer(parameters(calls, spec.shape)),
        second_moments=calls.pointer(parameters(calls, spec.shape)),
        seed=calls.random.randrange(2**64),
        first_ray=calls.count(0, 5, 2**40),
        number=calls.count(1, 7, 2**30),
        step_length=step_length(calls),
        rate=calls.real(0, 0.1),
        beta1=calls.real(0, 0.99),
        beta2=calls.real(0, 0.99),
        epsilon=calls.real(0, 1e-6),
        distortion=calls.real(0, 0.1),
        near=calls.real(0, 0.5),
        n_rays=n_rays,
        rays_per_tile=calls.size(1, 16, 64),
        levels=calls.size(1, max(1, min(spec.shape.n_levels, 32))),
        background=calls.size(0, 1, 2),
        threads=threads(calls),
        colors=calls.reals(pictures.n_frames * 6) if calls.random.random() < 0.3 else None,
        view_gradients=calls.reals(views * 12) if calls.random.random() < 0.3 else None,
        n_views=views,
        turns=calls.size(0, 1),
        by_ray=calls.pointer(records) if calls.random.random() < 0.3 else None,
    )


def render_call(calls: Calls, spec: RadianceSpec) -> RenderCall:
    n = calls.count(0, 1, 9, 130)
    code = calls.reals(n * spec.shape.code_size) if calls.random.random() < 0.5 else None
    rays = (calls.reals(3 * n), calls.reals(3 * n), calls.reals(n), code)
    return RenderCall(*rays, calls.reals(3 * n), calls.reals(n), calls.reals(n), n, step_length(calls), threads(calls))


def radiance(calls: Calls, call: Callable[..., None]) -> None:
    """Makes a model and calls every function of it, in any order; a model may be null."""
    calls.odds = calls.random.choice([0, 0, 0, ODDS])  # most models can be made
    spec = radiance_spec(calls)
    calls.odds = ODDS
    handle = call("nerf_radiance_new", calls.pointer(spec))
    model = None if calls.random.random() < calls.odds else handle
    known = spec if handle else radiance_spec(calls)
    takers = (take_refresh, take_step, take_descend, take_occupancy, take_render, take_vjp, take_surface, take_density)
    for take in calls.random.choices(takers, k=8):
        take(calls, lambda name, *arguments: call(name, model, *arguments), known)
    call("nerf_radiance_free", handle)


def take_refresh(calls: Calls, call: Callable[..., None], spec: RadianceSpec) -> None:
    call("nerf_radiance_refresh", threads(calls))


def take_step(calls: Calls, call: Callable[..., None], spec: RadianceSpec) -> None:
    call("nerf_radiance_step", calls.pointer(step_call(calls, spec)), calls.pointer(StepReport()))


def take_descend(calls: Calls, call: Callable[..., None], spec: RadianceSpec) -> None:
    call("nerf_radiance_descend", calls.pointer(step_call(calls, spec)))


def take_occupancy(calls: Calls, call: Callable[..., None], spec: RadianceSpec) -> None:
    update = OccupancyCall(
        seed=calls.random.randrange(2**64),
        number=calls.random.randrange(2**64),
        step_length=calls.real(0.01, 0.1),
        levels=calls.size(1, max(1, min(spec.shape.n_levels, 32))),
        prune=calls.size(0, 1),
        threads=threads(calls),
    )
    call("nerf_radiance_update_occupancy", calls.pointer(update))


def take_render(calls: Calls, call: Callable[..., None], spec: RadianceSpec) -> None:
    call("nerf_radiance_render", calls.pointer(render_call(calls, spec)))


def take_vjp(calls: Calls, call: Callable[..., None], spec: RadianceSpec) -> None:
    rendering = render_call(calls, spec)
    n = rendering.n_rays
    sizes = (3 * n, 3 * n, n * spec.shape.code_size)
    rays = [calls.reals(size) if calls.random.random() < 0.7 else None for size in sizes]
    gradients = RenderGradients(parameters(calls, spec.shape), *rays)
    call("nerf_radiance_render_vjp", calls.pointer(rendering), calls.pointer(gradients))


def take_surface(calls: Calls, call: Callable[..., None], spec: RadianceSpec) -> None:
    n = calls.count(0, 1, 9, 130)
    arrays = (calls.reals(3 * n), calls.reals(3 * n), calls.reals(n))
    sought = SurfaceCall(*arrays, n, step_length(calls), calls.real(0, 1), threads(calls))
    call("nerf_radiance_surface", calls.pointer(sought))


def take_density(calls: Calls, call: Callable[..., None], spec: RadianceSpec) -> None:
    n = calls.count(0, 1, 9, 130)
    call("nerf_radiance_density", calls.reals(3 * n), n, calls.reals(n), threads(calls))
