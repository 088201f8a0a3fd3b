"""The engine's border: whatever a call says, it is computed or refused by name; nothing crashes, nothing is cut."""

from __future__ import annotations

import math
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
import torch

from nerf import engine
from nerf.backends import native
from nerf.engine import kernels
from nerf.engine.build import library_name
from nerf.engine.signatures import FUNCTIONS, OccupancyCall, Pixels, SurfaceCall
from nerf.geometry.cameras import Rays
from nerf.geometry.contraction import Contraction
from nerf.geometry.scene_box import SceneBox
from nerf.ops.march import MOST_STEPS, march_reference
from nerf.rendering.radiance_engine import RayBatch, TrainingStep
from tests.backends.small_scene import ball_task

CASES = 2560  # 16 kinds of cases in turn; one of a model makes eight calls
NOT_FUZZED = {"nerf_abi", "nerf_last_error", "nerf_processor_has"}  # they take no struct


@pytest.fixture(scope="module")
def task():
    return ball_task()


def test_random_calls_are_computed_or_refused_and_never_crash(isa):
    """The child is another process: its crash is this test's failure. benchmarks/fuzz_engine.py makes many more."""
    command = [sys.executable, "-m", "tests.engine.call_fuzz", str(engine.FOLDER / library_name(isa))]
    done = subprocess.run(
        [*command, "--seed", "1", "--cases", str(CASES)],
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]

    calls: Counter[str] = Counter()
    n_refused = 0
    for line in done.stdout.splitlines():
        name, computed, _, refused, _ = line.split()
        calls[name] = int(computed) + int(refused)
        assert int(computed) > 0, line
        n_refused += int(refused)
    assert set(calls) == set(FUNCTIONS) - NOT_FUZZED
    assert min(calls.values()) >= 100 and n_refused > 1000


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("n_rays", -1, r"StepCall.n_rays: -1 is not in 0 .. "),
        ("n_rays", 2**31 - 1, r"StepCall.n_rays: "),
        ("rays_per_tile", 0, r"StepCall.rays_per_tile: 0 is not in 1 .. "),
        ("levels", 5, r"StepCall.levels: 5 is not in 1 .. 4"),
        ("threads", 0, r"StepCall.threads: 0 is not in 1 .. "),
        ("background", 3, r"StepCall.background: 3 is not in 0 .. 2"),
        ("step_length", math.nan, r"StepCall.step_length: not a finite number above 0"),
        ("step_length", 1e-9, r"StepCall.step_length: shorter than the box's side / 8192"),
        ("n_views", 7, r"StepCall.n_views"),
        ("pixels", None, r"a null pointer"),
        ("first_moments", None, r"a null pointer"),
    ],
)
def test_a_step_out_of_range_is_refused_by_the_field_and_moves_nothing(task, field, value, message):
    computing = task.model.engine()
    call = computing.step_call(TrainingStep(number=1, n_rays=64, step_length=0.05, levels=4, rate=1e-2))
    views = torch.zeros(6, 12)
    call.view_gradients = views.data_ptr()
    setattr(call, field, value)
    before = [parameter.clone() for parameter in task.model.field.parameters()]
    with pytest.raises(RuntimeError, match=f"^nerf_radiance_step: {message}"):
        computing._step(call)
    assert all(torch.equal(old, new) for old, new in zip(before, task.model.field.parameters()))


def test_an_integer_that_does_not_fit_is_refused_rather_than_cut():
    with pytest.raises(ValueError, match="OccupancyCall.levels: 2147483649 is not in"):
        OccupancyCall(levels=2**31 + 1)
    call = SurfaceCall(n_rays=2**63 - 1)
    with pytest.raises(ValueError, match="SurfaceCall.n_rays"):
        call.n_rays = 2**63
    with pytest.raises(ValueError, match="OccupancyCall.seed: -1 is not in 0"):
        OccupancyCall(seed=-1)
    with pytest.raises(ValueError, match=r"Work.n_rays"):
        kernels.Work().n_rays = 2**63
    with pytest.raises(AttributeError, match="Pixels has no field n_pictures"):
        Pixels(n_pictures=1)


@pytest.mark.skipif(not engine.available(), reason="the native engine was not built")
def test_an_argument_that_does_not_fit_is_refused_rather_than_cut():
    with pytest.raises(ValueError, match="nerf_radiance_density: 9223372036854775808 is not in"):
        engine.library().call("nerf_radiance_density", None, None, 2**63, None, 1)
    with pytest.raises(RuntimeError, match="a null pointer"):
        engine.library().call("nerf_radiance_density", None, None, 0, None, 1)


def hostile_rays() -> Rays:
    """Returns rays through the ball, of which all but the first and the last are not finite, or have no direction."""
    origin = torch.tensor([[0.05, 0.02, -2.0]]).repeat(9, 1)
    direction = torch.tensor([[0.0, 0.0, 1.0]]).repeat(9, 1)
    origin[1] = math.nan
    origin[2, 0] = math.nan
    origin[3, 2] = -math.inf
    direction[4] = math.nan
    direction[5, 1] = math.nan
    direction[6, 0] = math.inf
    origin[7] = torch.tensor([0.0, 0.0, 0.0])
    direction[7] = 0
    return Rays(origin, direction)


@pytest.mark.parametrize("contracted", [False, True])
def test_a_ray_that_is_not_finite_takes_no_samples(isa, contracted):
    from nerf.engine import bindings

    rays = hostile_rays()
    space = Contraction(torch.zeros(3), 1.0, 0.05) if contracted else None
    box = SceneBox(torch.full((3,), -2.0 if contracted else -0.8), 4.0 if contracted else 1.6, space)
    occupied = torch.ones(16, 16, 16, dtype=torch.bool)
    offset = torch.full((9,), 0.5)

    told = space and (space.center, space.radius, space.near)
    count, _ = bindings.march((rays.origin, rays.direction, offset), box.corner, box.side, occupied, 0.05, told)
    expected = torch.bincount(march_reference(rays, box, occupied, 0.05, offset).ray, minlength=9)
    finite = [0, 7, 8] if contracted else [0, 8]  # contracted space ends every ray that stands
    assert count.nonzero().squeeze(1).tolist() == expected.nonzero().squeeze(1).tolist() == finite
    assert count[0] == count[8] == expected[0] > 10


def test_pictures_and_surfaces_of_rays_that_are_not_finite_are_empty(isa, task):
    model = ball_task().model
    rays = hostile_rays()
    seen = model.engine().render(RayBatch(rays.origin, rays.direction, torch.full((9,), 0.5), None), 0.02)
    distance = model.engine().surface(rays, 0.02, 0.5)
    for ray in range(1, 8):
        assert seen[1][ray] == 0 and distance[ray] == math.inf
    assert seen[1][0] == seen[1][8] > 0


def test_no_ray_takes_more_steps_than_the_bound(isa):
    from nerf.engine import bindings

    box = SceneBox(torch.zeros(3), 1.0, None)
    far = Rays(torch.tensor([[0.5, 0.5, -1.0]]), torch.tensor([[0.0, 0.0, 1e-5]]))  # not of unit length: a long way
    occupied = torch.ones(4, 4, 4, dtype=torch.bool)
    offset = torch.full((1,), 0.5)
    count, _ = bindings.march((far.origin, far.direction, offset), box.corner, box.side, occupied, 1e-1)
    assert count.tolist() == [MOST_STEPS] == [len(march_reference(far, box, occupied, 1e-1, offset))]


def test_an_interrupt_is_heard_between_the_parts_of_a_long_call(task, monkeypatch):
    """Ctrl-C is heard when Python has the word again: after a part, not after the whole."""
    computing = task.model.engine()
    monkeypatch.setattr(native, "AT_ONCE", 128)
    made = []

    def call(name: str, *arguments: object) -> None:
        made.append(name)
        if len(made) == 2:
            raise KeyboardInterrupt

    monkeypatch.setattr(computing, "native", type("Interrupted", (), {"call": staticmethod(call)}))
    rays = Rays(torch.zeros(1000, 3), torch.ones(1000, 3))
    for work in (
        lambda: computing.surface(rays, 0.05, 0.5),
        lambda: computing.density(torch.rand(1000, 3)),
        lambda: computing.render(RayBatch(rays.origin, rays.direction, torch.zeros(1000), None), 0.05),
    ):
        made.clear()
        with pytest.raises(KeyboardInterrupt):
            work()
        assert len(made) == 2


def test_parts_of_a_call_give_the_bits_of_the_whole(isa, task, monkeypatch):
    computing = ball_task().model.engine()
    rays = Rays(torch.rand(700, 3) - 0.5, torch.nn.functional.normalize(torch.rand(700, 3), dim=1))
    batch = RayBatch(rays.origin, rays.direction, torch.rand(700), None)
    position = torch.rand(700, 3)

    def everything() -> list[torch.Tensor]:
        return [
            *computing.render(batch, 0.02),
            computing.surface(rays, 0.02, 0.5),
            computing.density(position),
        ]

    whole = everything()
    monkeypatch.setattr(native, "AT_ONCE", 128)
    assert all(torch.equal(one, other) for one, other in zip(whole, everything()))


def test_positions_out_of_the_cube_are_read_at_its_faces(isa, task):
    computing = ball_task().model.engine()
    out = torch.tensor([[-1e30, 0.5, 0.5], [0.5, math.inf, 0.5], [math.nan, 0.5, 2.0]])
    at = torch.tensor([[0.0, 0.5, 0.5], [0.5, 1.0, 0.5], [0.0, 0.5, 1.0]])
    assert torch.equal(computing.density(out), computing.density(at))
