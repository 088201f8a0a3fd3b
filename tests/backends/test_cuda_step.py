"""The whole CUDA training step: against the reference's autograd, against the native engine, and its state."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import pytest
import torch

from nerf import engine
from nerf.backends.reference import ReferenceEngine
from nerf.config import SceneSettings, settings_from_dict
from nerf.engine.kernels import KERNELS
from nerf.errors import InputError
from nerf.geometry.cameras import Cameras
from nerf.rendering.baked import coarse
from nerf.scenes import SceneFolder, Views, load_scene
from nerf.training.radiance import RadianceTask
from tests.backends.small_scene import ball_photographs, ball_task, ball_views, cuda_model, cuda_task, native_task
from tests.backends.test_fused_step import SHAPES, measure, reference_gradients, relative_error, round_to_bfloat16
from tests.backends.test_render_gradients import coded_model, gradients, reference_of, some_rays, uniform
from tests.engine.launchers import DEVICES, launcher, shim_library
from tests.engine.shim import ShimLauncher

LEARNING = [device for device in DEVICES if device != "backwards"]  # one order of the shim's threads is enough
# The rate is low, and falls as steps go on, lest what differs by rounding be carried far.
OFTEN = {
    "render": {"occupancy_every": 4, "occupancy_from": 8}, "optimizer": {"learning_rate": 5e-3, "final_factor": 0.1}
}  # fmt: skip
LEGO = Path(__file__).parents[3] / "shared" / "scenes" / "lego"
NEEDS_ENGINE = pytest.mark.skipif(not engine.available(), reason="the native engine was not built: no C++ compiler")


def device_task(device, changes=None, channels: int = 4) -> RadianceTask:
    settings = ball_task(channels, changes).settings
    return cuda_task(ball_views(channels), settings, launcher(device, settings.field.features_per_level))


def launched(task) -> ShimLauncher:
    """Returns what launches a task's kernels."""
    return task.model.engine().launcher


def trained(task, steps: int, first: int = 0):
    for step in range(first, steps):
        task.train_step(step, step / 40)
    return task


def both_gradients(reference, task, progress=1.0):
    """Returns gradients, loss and samples of the reference, then gradients and report of the kernels."""
    for each in (reference, task):
        round_to_bfloat16(each)
    return *reference_gradients(reference, progress), *task.model.engine().gradients(task.next_step(progress))


def assert_close(gradient: torch.Tensor, truth: torch.Tensor, name: str) -> None:
    """Asserts that a gradient is right.

    As in test_fused_step.py, a neuron within rounding of zero is now and then on the other side of its relu: some
    samples' gradients differ, all others agree to 1e-5.
    """
    assert relative_error(gradient, truth) < 5e-3, name
    if name == "encoding.table":
        assert ((gradient - truth).abs() > 1e-4 * truth.abs().max()).float().mean() < 0.01


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES.keys())
def test_gradients_are_those_of_the_reference(device, shape):
    reference, task = ball_task(changes={"field": shape}), device_task(device, {"field": shape})
    truth, loss, n_samples, gradients, report = both_gradients(reference, task)
    # A sample at the bound of a cell, or of the transmittance, may fall on either side.
    assert abs(report.samples - n_samples) <= 2
    assert report.loss == pytest.approx(loss, rel=1e-5)
    for name, gradient in gradients.items():
        assert_close(gradient.cpu(), truth[name], name)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("channels", [3, 4])
@pytest.mark.parametrize("background", ["white", "black", "random"])
def test_every_background_has_the_gradient_of_the_reference(device, channels, background):
    changes = {"train": {"background": background}}
    reference, task = ball_task(channels, changes), device_task(device, changes, channels)
    truth, loss, _, gradients, report = both_gradients(reference, task)
    assert report.loss == pytest.approx(loss, rel=1e-5)
    for name, gradient in gradients.items():
        assert_close(gradient.cpu(), truth[name], name)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("contracted", [False, True])
def test_distortion_and_fading_have_the_gradient_of_the_reference(device, contracted):
    changes = {"train": {"distortion": 3.0}}
    views = None
    if contracted:
        changes["scene"], views = {"bounds": 0.0}, ball_photographs()
        changes["train"]["fade_near"] = 1.0
    reference = ball_task(changes=changes, views=views)
    task = cuda_task(reference.views, reference.settings, launcher(device, 4))
    truth, loss, _, gradients, report = both_gradients(reference, task)
    assert report.loss == pytest.approx(loss, rel=1e-5)
    for name, gradient in gradients.items():
        assert_close(gradient.cpu(), truth[name], name)


@pytest.mark.parametrize("device", DEVICES)
def test_measured_distances_have_the_gradient_of_the_reference(device):
    changes = {"train": {"distance": 6.0}, "scene": {"bounds": 0.0}}
    reference = ball_task(changes=changes, views=ball_photographs())
    task = cuda_task(reference.views, reference.settings, launcher(device, 4))
    for each in (reference, task):
        measure(each)
    truth, loss, _, gradients, report = both_gradients(reference, task, 0.25)
    assert report.loss == pytest.approx(loss, rel=1e-5)
    for name, gradient in gradients.items():
        assert_close(gradient.cpu(), truth[name], name)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("n_rays", [0, 1])
def test_a_step_of_no_ray_or_one_ray_runs(device, n_rays):
    task = device_task(device)
    task.rays_per_step = n_rays
    report = task.model.engine().step(task.next_step(0.0))
    assert report.samples >= 0 and report.loss >= 0 and (n_rays or report.loss == 0)


@pytest.mark.parametrize("device", DEVICES)
def test_rays_end_where_no_light_goes_on(device):
    task = device_task(device)
    round_to_bfloat16(task)
    with torch.no_grad():
        task.parameters["density_mlp.weights.1"][0] *= 30
    report = task.model.engine().gradients(task.next_step(1.0))[1]
    reference = ReferenceEngine(task.model)
    truth = reference.samples(task.views.cameras.image_rays(0), task.model.step_length(1.0), torch.full((576,), 0.5))
    assert 0 < report.samples < report.marched and len(truth) > 0


def differences(native: RadianceTask, cuda: RadianceTask, steps: int) -> dict[str, float]:
    """Returns how far apart two tasks are: while they learn, and in what they have learned."""
    apart = dict.fromkeys(["rays", "samples", "error"], 0.0)
    for step in range(steps):
        one, other = native.train_step(step, step / 40), cuda.train_step(step, step / 40)
        apart["rays"] = max(apart["rays"], abs(one.rays - other.rays))
        apart["samples"] = max(apart["samples"], abs(one.samples - other.samples))
        apart["error"] = max(apart["error"], abs(one.error - other.error) / one.error)
    expected, found = native.state(), cuda.state()
    assert expected.keys() == found.keys()
    occupied = expected.pop("occupancy.occupied") != found["occupancy.occupied"]
    apart["occupied"] = occupied.float().mean().item()
    unequal = {name: value for name, value in expected.items() if not torch.equal(value, found[name])}
    apart["state"] = max(relative_error(found[name], value) for name, value in unequal.items())
    return apart


# Two orders of summation differ by a few parts in 10^7 in a step. Adam divides by the root of the second moment, so
# that a vertex whose gradient is itself rounding may move another way: by the learning rate, and rarely. Measured:
# states 1.2e-4 apart, errors 3e-7.
LIKE_NATIVE = {"rays": 0, "samples": 2, "error": 1e-4, "occupied": 1e-3, "state": 2e-3}


def like_native(apart: dict[str, float]) -> bool:
    """Returns whether no difference is larger than rounding explains; prints them."""
    print(apart)
    return all(apart[name] <= most for name, most in LIKE_NATIVE.items())


@NEEDS_ENGINE
@pytest.mark.parametrize("device", LEARNING)
def test_training_agrees_with_the_native_engine(device, monkeypatch):
    monkeypatch.setenv("NERF_ISA", "baseline")  # whose networks compute in float, as the kernels do
    assert like_native(differences(ball_task(changes=OFTEN), device_task(device, OFTEN), 24))


@NEEDS_ENGINE
@pytest.mark.parametrize("device", LEARNING)
def test_training_through_lenses_in_contracted_space_agrees_with_the_native_engine(device, monkeypatch):
    monkeypatch.setenv("NERF_ISA", "baseline")
    views, changes = ball_photographs(), {**OFTEN, "scene": {"bounds": 0}}
    native = ball_task(changes=changes, views=views)
    assert native.model.box.contraction is not None
    assert like_native(differences(native, cuda_task(views, native.settings, launcher(device)), 16))


@cache
def lego() -> Views:
    """Returns the training pictures of the public lego scene at 50 x 50 pixels."""
    views = load_scene(SceneFolder("lego", LEGO, ""), ("train",), SceneSettings(downscale=8)).splits["train"]
    frames, height, width, channels = views.images.shape
    boxes = views.images.view(frames, height // 2, 2, width // 2, 2, channels).float().mean((2, 4))
    cameras = views.cameras
    small = Cameras(cameras.world_from_camera, cameras.focal / 2, cameras.center / 2, width // 2, height // 2)
    assert (small.width, small.height) == (50, 50)
    return Views(views.names, boxes.round().to(views.images.dtype), views.white, small)


@NEEDS_ENGINE
@pytest.mark.skipif(not LEGO.is_dir(), reason="the public lego scene is not here")
@pytest.mark.parametrize("device", LEARNING)
def test_training_on_lego_agrees_with_the_native_engine(device, monkeypatch):
    monkeypatch.setenv("NERF_ISA", "baseline")
    often = {"render": {"occupancy_every": 4, "occupancy_from": 4}}  # cells become empty before the last steps
    settings = settings_from_dict({"train": {"samples": 2048}, **often}, "test")
    views = lego()
    cuda = cuda_task(views, settings, launcher(device))
    assert like_native(differences(native_task(views, settings), cuda, 10))


@NEEDS_ENGINE
@pytest.mark.parametrize("device", LEARNING)
def test_pictures_and_densities_are_those_of_the_native_engine(device, monkeypatch):
    monkeypatch.setenv("NERF_ISA", "baseline")
    native = trained(ball_task(changes=OFTEN), 20)
    task = device_task(device, OFTEN)
    task.load_state(native.state())
    rays = task.views.cameras.image_rays(1)
    for n_rays in (0, 1, len(rays)):
        one, other = native.model.render(rays[:n_rays]), task.model.render(rays[:n_rays])
        for name in ("rgb", "opacity", "depth"):
            assert torch.allclose(getattr(one, name), getattr(other, name), atol=1e-4), name
    point = torch.empty(300, 3).uniform_(-0.9, 0.9, generator=torch.Generator().manual_seed(1))
    assert torch.allclose(native.model.density(point), task.model.density(point), rtol=1e-4)


@NEEDS_ENGINE
@pytest.mark.parametrize("device", LEARNING)
@pytest.mark.parametrize("contracted", [False, True])
def test_codes_offsets_and_surfaces_are_those_of_the_native_engine(device, contracted, monkeypatch):
    monkeypatch.setenv("NERF_ISA", "baseline")
    native, cameras = coded_model(contracted)
    model = cuda_model(ball_task().settings, launcher(device), native.box, code_size=native.field.code_size)
    model.settings = native.settings
    model.field.load_state_dict(native.field.state_dict())
    rays, random = cameras.image_rays(2), torch.Generator().manual_seed(5)
    model.engine().rays_at_once = 100  # six parts, the last one smaller
    code = torch.empty(len(rays), native.field.code_size).uniform_(-1, 1, generator=random)
    offset, step = torch.rand(len(rays), generator=random), 1.5 * model.step_length()
    for arguments in ((None, None, None), (code, step, offset)):
        one, other = native.render(rays, *arguments), model.render(rays, *arguments)
        for name in ("rgb", "opacity", "depth"):
            assert torch.allclose(getattr(one, name), getattr(other, name), atol=1e-4), name
    assert not torch.allclose(one.rgb, native.render(rays, None, step, offset).rgb, atol=1e-3)
    found, expected = model.surface(rays), native.surface(rays)
    assert torch.equal(found.isinf(), expected.isinf()) and 20 < expected.isfinite().sum() <= len(rays)
    assert torch.allclose(found, expected, atol=1e-3)


def test_a_coarse_preview_shares_the_device():
    task = trained(device_task("shim"), 8)
    rays = task.views.cameras.image_rays(0)
    exact, quick = task.model.render(rays), coarse(task.model, 2)
    assert quick.engine() is task.model.engine()
    step = quick.step_length()
    assert step == 2 * task.model.step_length()
    assert torch.equal(quick.render(rays).rgb, task.model.render(rays, step=step).rgb)
    assert not torch.equal(quick.render(rays).rgb, exact.rgb)


@pytest.mark.parametrize("device", LEARNING)
@pytest.mark.parametrize("contracted", [False, True])
@pytest.mark.parametrize("n_rays", [1, 300])
def test_gradients_of_a_rendering_are_the_reference_s(device, n_rays, contracted):
    native, cameras = coded_model(contracted)
    model = cuda_model(ball_task().settings, launcher(device), native.box, code_size=native.field.code_size)
    model.settings = native.settings
    model.field.load_state_dict(native.field.state_dict())
    model.engine().rays_at_once = 128  # three parts
    rays = some_rays(cameras, 2 * n_rays + 1)[n_rays : 2 * n_rays]
    code = uniform(1, n_rays, native.field.code_size)
    found, truth = (gradients(each, rays, code) for each in (model, reference_of(model)))
    assert found.keys() == truth.keys()
    for name, gradient in found.items():
        # A neuron within rounding of zero may be on the other side of its relu, see `assert_close`.
        assert relative_error(gradient, truth[name]) < 5e-3, name
    table = model.engine().arrays.held["grad_table"]
    assert not table.any()


def test_pictures_are_rendered_in_parts_that_the_memory_holds(capsys):
    task = device_task("shim")
    rays = task.views.cameras.image_rays(0)
    whole = task.model.render(rays)
    engine = task.model.engine()
    engine.batch.held.clear()
    launched(task).room = 2**20
    assert torch.equal(task.model.render(rays).rgb, whole.rgb)
    assert f"halved to {engine.rays_at_once} rays of a picture" in capsys.readouterr().out
    assert engine.rays_at_once < len(rays)


@pytest.mark.parametrize("device", LEARNING)
def test_a_resumed_run_goes_on(device):
    whole, half = trained(device_task(device, OFTEN), 16), trained(device_task(device, OFTEN), 9)
    state = {name: value.clone() for name, value in half.state().items()}
    resumed = device_task(device, OFTEN)
    resumed.load_state(state)
    trained(resumed, 16, first=9)
    for name, value in whole.state().items():
        # The shim adds in one order; a GPU's threads add in any.
        same = torch.equal(resumed.state()[name], value)
        assert same or (device == "gpu" and relative_error(resumed.state()[name], value + 0.0) < 2e-3), name


@pytest.mark.parametrize("device", LEARNING)
def test_what_is_read_from_the_model_is_what_the_device_has_learned(device):
    task = trained(device_task(device), 12)
    model, point, table = task.model, torch.zeros(1, 3), task.parameters["encoding.table"]
    before = table.clone()
    density = model.density(point)
    assert not torch.equal(table, before)
    truth = reference_of(model).density(point)
    assert torch.allclose(density, truth, rtol=0.02)  # the device reads the table as bfloat16


def test_the_order_of_threads_changes_nothing_but_rounding():
    states = [trained(device_task(device), 6).state() for device in ("shim", "backwards")]
    assert all(relative_error(states[1][name], value + 0.0) < 2e-3 for name, value in states[0].items() if value.any())


def test_training_runs_every_kernel():
    task = device_task("shim", OFTEN | {"train": {"distortion": 0.1}})
    trained(task, 12)
    rays = task.views.cameras.image_rays(0)[280:300]
    rays.origin.requires_grad_()
    task.model.surface(rays)
    task.model.render(rays).rgb.sum().backward()
    # No picture of it has a code.
    assert set(launched(task).launched) == set(KERNELS) - {"codes_vjp"}


def test_out_of_memory_halves_the_batch_and_says_so(capsys):
    task = device_task("shim")
    task.train_step(0, 0.0)
    launched(task).room = 2**19  # what a few hundred samples take in their widest array
    task.model.engine().batch.held.clear()
    asked = task.rays_per_step
    report = task.train_step(1, 0.0)
    assert report.rays < asked and task.rays_per_step == report.rays
    assert f"halved to {report.rays} rays a step" in capsys.readouterr().out
    assert task.arrays.rays_drawn == 256 + report.rays
    launched(task).room = 0
    task.model.engine().batch.held.clear()
    with pytest.raises(InputError, match="no memory for a single ray"):
        task.train_step(2, 0.0)


def test_a_batch_larger_than_the_memory_is_lowered_from_the_start(capsys):
    settings = ball_task().settings
    room = ShimLauncher(shim_library(4), room=4 * 2**20)
    task = cuda_task(ball_views(), settings, room)
    assert task.samples_per_step < settings.train.samples
    assert f"holds {task.samples_per_step} samples a step" in capsys.readouterr().out


def test_a_loss_that_is_not_finite_moves_nothing():
    task = device_task("shim")
    before = task.state()["field.encoding.table"].clone()
    task.model.engine().work.pixels.white = 0  # colours are divided by it
    with pytest.raises(InputError, match="diverged"):
        task.train_step(0, 0.0)
    task.model.engine().ahead = True
    assert torch.equal(task.state()["field.encoding.table"], before)
    assert torch.isfinite(task.state()["occupancy.value"]).all()
