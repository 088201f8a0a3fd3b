"""Rendering under autograd: gradients by parameters, rays and codes against the reference's, and what they are for."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from nerf.backends.choice import Backend
from nerf.backends.reference import ReferenceEngine
from nerf.geometry.cameras import Cameras, Rays
from nerf.geometry.contraction import Contraction
from nerf.geometry.scene_box import SceneBox
from nerf.ops.composite import Rendering
from nerf.rendering.losses import photometric_loss
from nerf.rendering.model import RadianceModel
from nerf.training.radiance import RadianceTask
from tests.backends.small_scene import ball_task
from tests.backends.test_fused_step import TOLERANCE, drawn, native_gradients, relative_error, round_to_bfloat16

CODE_SIZE = 5


def uniform(seed: int, *shape: int) -> Tensor:
    return torch.empty(*shape).uniform_(-1, 1, generator=torch.Generator().manual_seed(seed))


def coded_model(contracted: bool = False) -> tuple[RadianceModel, Cameras]:
    """Returns a model whose colours hang on a code, its table exact in bfloat16, and cameras that see it."""
    # Of no weight at all: in bfloat16 a sample at the bound may fall on either side.
    task = ball_task(changes={"render": {"minimum_weight": 0.0}})
    box = SceneBox(torch.full((3,), -1.5), 3.0, Contraction(torch.tensor([0.1, 0.2, 0.0]), 1.8, 0.2))
    model = Backend("native", "").model(task.settings, box if contracted else task.model.box, code_size=CODE_SIZE)
    task.parameters = dict(model.field.named_parameters())
    round_to_bfloat16(task)
    return model, task.views.cameras


def some_rays(cameras: Cameras, n: int) -> Rays:
    rays = cameras.image_rays(4)
    return rays[torch.linspace(0, len(rays) - 1, n).long()]


def odd_loss(rendering: Rendering) -> Tensor:
    """A loss that is not built in: of colour, opacity and depth."""
    return rendering.rgb.square().sum() + (3 * rendering.opacity).sin().sum() + (0.3 * rendering.depth).exp().sum()


def reference_of(model: RadianceModel) -> RadianceModel:
    """Returns the same model, its tensors shared, computed by plain torch."""
    return RadianceModel(model.field, model.occupancy, model.box, model.settings, ReferenceEngine)


def gradients(model: RadianceModel, rays: Rays, code: Tensor) -> dict[str, Tensor]:
    leaves = {
        "origin": rays.origin.clone().requires_grad_(),
        "direction": rays.direction.clone().requires_grad_(),
        "code": code.clone().requires_grad_(),
        **dict(model.field.named_parameters()),
    }
    seen = Rays(leaves["origin"], leaves["direction"])
    loss = odd_loss(model.render(seen, leaves["code"], 0.03, uniform(2, len(rays)).abs()))
    return dict(zip(leaves, torch.autograd.grad(loss, list(leaves.values()))))


@pytest.mark.parametrize("contracted", [False, True])
@pytest.mark.parametrize("n_rays", [1, 300])
def test_every_gradient_is_the_reference_s(isa, threads, n_rays, contracted):
    model, cameras = coded_model(contracted)
    rays, code = some_rays(cameras, 2 * n_rays + 1)[n_rays : 2 * n_rays], uniform(1, n_rays, CODE_SIZE)
    native, truth = (gradients(each, rays, code) for each in (model, reference_of(model)))
    # In bfloat16 the gradients by a few positions, differences of vertices, keep a digit; over many rays errors cancel.
    tolerance = 0.5 if isa == "avx512bf16" and n_rays == 1 else TOLERANCE[isa]
    for name, gradient in native.items():
        assert truth[name].abs().max() > 0, name
        assert relative_error(gradient, truth[name]) < tolerance, name


def test_gradients_have_the_same_bits_on_any_number_of_threads(isa):
    model, cameras = coded_model()
    rays, before, found = cameras.image_rays(0), torch.get_num_threads(), []
    for threads in (1, 2, 4):
        torch.set_num_threads(threads)
        found.append(gradients(model, rays, uniform(1, len(rays), CODE_SIZE)))
    torch.set_num_threads(before)
    assert all(torch.equal(found[0][name], other[name]) for other in found[1:] for name in found[0])


def test_a_step_of_coarse_levels_leaves_rendering_and_its_gradients_as_they_were():
    task = ball_task()
    round_to_bfloat16(task)
    model, rays = task.model, some_rays(task.views.cameras, 40)

    def seen() -> tuple[Tensor, Tensor]:
        rgb = model.render(rays).rgb
        return rgb, torch.autograd.grad(rgb.square().sum(), model.field.encoding.table)[0]

    before = seen()
    assert model.active_levels(0.0) < len(model.field.encoding.levels)
    native_gradients(task, 0.0)
    assert all(torch.equal(was, now) for was, now in zip(before, seen()))


def test_a_built_in_loss_on_rendered_rays_has_the_gradient_of_the_fused_step(isa):
    task = ball_task()
    round_to_bfloat16(task)
    fused, loss, _ = native_gradients(task)
    rays, offset, rgba, _ = drawn(task, task.rays_per_step)
    rendering = task.model.render(rays, offset=offset)
    ours = photometric_loss(rendering, rgba, task.settings.train.background)
    assert ours.item() == pytest.approx(loss, rel=1e-5)
    ours.backward()
    for name, parameter in task.parameters.items():
        # Tiles are cut elsewhere: sums are taken in another order.
        assert relative_error(parameter.grad, fused[name]) < (1e-2 if isa == "avx512bf16" else 1e-4), name


def test_reference_gradients_by_the_pose_are_those_of_differences_in_double():
    model, cameras = coded_model()
    model.field.double()
    pose = cameras.world_from_camera[4].double()
    code = uniform(3, CODE_SIZE).double()
    pixels = torch.arange(0, cameras.width * cameras.height, 7)

    def rays(pose: Tensor) -> Rays:
        moved = Cameras(
            pose[None], cameras.focal[:1].double(), cameras.center[:1].double(), cameras.width, cameras.height
        )
        return moved.rays(torch.zeros_like(pixels), pixels % cameras.width, pixels // cameras.width)

    reference = ReferenceEngine(model)
    samples = reference.samples(rays(pose), 0.03, torch.full((len(pixels),), 0.5))

    def loss(pose: Tensor) -> Tensor:
        seen = rays(pose)
        return odd_loss(reference.shade(seen, samples, code.expand(len(seen), -1))[0])

    (grad,) = torch.autograd.grad(loss(pose.requires_grad_()), pose)
    with torch.no_grad():
        for row, column in [(0, 3), (1, 3), (2, 3), (0, 0), (1, 2), (2, 1)]:
            # The field has kinks; a step this short meets none of them here.
            change = torch.zeros_like(pose)
            change[row, column] = 1e-8
            difference = (loss(pose + change) - loss(pose - change)) / 2e-8
            assert difference.item() == pytest.approx(grad[row, column].item(), rel=1e-3, abs=1e-4)


def learned_ball() -> RadianceTask:
    task = ball_task()
    for step in range(150):
        task.train_step(step, step / 150)
    return task


def test_a_disturbed_pose_finds_back():
    task = learned_ball()
    cameras, frame = task.views.cameras, 4
    truth = cameras.world_from_camera[frame]
    target = task.views.images[frame].view(-1, 4).float() / 255
    pixels = torch.arange(len(target))
    turn = torch.tensor([0.03, -0.02, 0.04]).requires_grad_()
    shift = torch.tensor([0.05, -0.04, 0.03]).requires_grad_()
    optimizer = torch.optim.Adam([turn, shift], lr=4e-3)

    def pose() -> Tensor:
        x, y, z = turn
        zero = torch.zeros(())
        skew = torch.stack([zero, -z, y, z, zero, -x, -y, x, zero]).view(3, 3)
        return torch.cat([torch.linalg.matrix_exp(skew) @ truth[:, :3], (truth[:, 3] + shift)[:, None]], dim=1)

    def error() -> float:
        return (pose().detach() - truth).norm().item()

    before, first = error(), None
    for _ in range(150):
        moved = replace(cameras[:1], world_from_camera=pose()[None])
        rays = moved.rays(torch.zeros_like(pixels), pixels % cameras.width, pixels // cameras.width)
        loss = photometric_loss(task.model.render(rays), target, "white")
        first = first or loss.item()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert loss.item() < 0.3 * first
    # Turning and shifting look alike on a ball: the last part of the way is nearly free of loss.
    assert error() < 0.6 * before


def test_codes_learn_what_is_peculiar_to_a_picture():
    model, cameras = coded_model()
    rays = cameras.image_rays(4)
    codes = torch.zeros(2, CODE_SIZE, requires_grad=True)
    with torch.no_grad():
        wanted = [model.render(rays, code.expand(len(rays), -1)).rgb for code in uniform(5, 2, CODE_SIZE)]
    optimizer = torch.optim.Adam([codes], lr=0.05)
    errors = []
    for _ in range(40):
        seen = [model.render(rays, code.expand(len(rays), -1)).rgb for code in codes]
        loss = sum((rgb - truth).square().mean() for rgb, truth in zip(seen, wanted))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        errors.append(loss.item())
    assert errors[-1] < 0.1 * errors[0]
    assert all(parameter.grad is not None for parameter in model.field.parameters())


def test_only_rays_want_a_gradient_when_the_field_is_frozen():
    model, cameras = coded_model()
    model.field.requires_grad_(False)
    rays = some_rays(cameras, 50)
    origin = rays.origin.clone().requires_grad_()
    odd_loss(model.render(Rays(origin, rays.direction))).backward()
    assert origin.grad.abs().max() > 0
    assert all(parameter.grad is None for parameter in model.field.parameters())


def test_no_ray_has_no_gradient(isa):
    model, cameras = coded_model()
    rays = cameras.image_rays(0)[:0]
    seen = model.render(rays, torch.empty(0, CODE_SIZE))
    seen.rgb.sum().backward()
    assert seen.rgb.shape == (0, 3)
    assert all(not parameter.grad.any() for parameter in model.field.parameters())


def test_a_second_derivative_and_a_changed_parameter_are_refused():
    model, cameras = coded_model()
    rays = some_rays(cameras, 20)
    origin = rays.origin.clone().requires_grad_()
    (grad,) = torch.autograd.grad(odd_loss(model.render(Rays(origin, rays.direction))), origin, create_graph=True)
    with pytest.raises(RuntimeError, match="once_differentiable"):
        grad.sum().backward()
    loss = odd_loss(model.render(rays))
    with torch.no_grad():
        model.field.encoding.table.mul_(2)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        loss.backward()


def test_wrong_sizes_and_numbers_that_are_not_finite_are_refused():
    model, cameras = coded_model()
    rays = some_rays(cameras, 6)
    with pytest.raises(ValueError, match=r"code: expected finite numbers \(6, 5\), got \(6, 4\)"):
        model.render(rays, torch.zeros(6, 4))
    with pytest.raises(ValueError, match="origin: expected finite numbers"):
        model.render(Rays(rays.origin * float("nan"), rays.direction))
