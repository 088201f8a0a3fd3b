"""The lens of all pictures: found again, the same bits, kept in the checkpoint, and handed on to every output."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path

import pytest
import torch

from nerf.capture.stereo import MeasuredDistances
from nerf.cli.main import main
from nerf.errors import InputError
from nerf.geometry.cameras import Cameras, Rays
from nerf.geometry.lenses import TERMS
from nerf.ops.composite import Rendering
from nerf.scenes import Views
from nerf.training.lens_refinement import FREE, GAIN, LensChange, LensRefinement, _solved
from nerf.training.radiance import RadianceTask
from nerf.workflows.trained import open_run
from tests.backends.small_scene import ball_task, native_task, reference_task
from tests.backends.test_fused_step import states_equal
from tests.conftest import SMALL, small_settings

SETTINGS = small_settings("capture.lens=refine", "capture.exposure=learn")


def bent(views: Views, focal: float, k1: float) -> Views:
    """Returns views with a focal length that is too long by a factor, and a lens that bends."""
    terms = torch.tensor([math.log(focal), 0, 0, k1, 0, 0], dtype=torch.float64)
    return dataclasses.replace(views, cameras=LensChange(terms, torch.zeros(3)).of(views.cameras))


def test_a_change_of_the_lens_is_written_by_hand():
    pose = torch.cat([torch.eye(3), torch.tensor([[1.0], [0.0], [3.0]])], 1)[None]
    cameras = Cameras(pose, torch.tensor([[50.0, 60.0]]), torch.tensor([[20.0, 10.0]]), 40, 20)
    terms = torch.tensor([0.0, 0.1, -0.2, 0.03, 0.04, 0.0], dtype=torch.float64)
    terms[[0, 5]] = torch.tensor([1.1, 0.5], dtype=torch.float64).log()
    changed = LensChange(terms, torch.tensor([1.0, 0.0, 1.0], dtype=torch.float64)).of(cameras)
    assert torch.allclose(changed.focal, torch.tensor([[55.0, 66.0]]))
    assert torch.allclose(changed.center, torch.tensor([[25.0, -2.0]]))
    assert changed.lens[0, [TERMS.index("k1"), TERMS.index("k2")]].tolist() == pytest.approx([0.03, 0.04])
    assert torch.equal(changed.world_from_camera[0, :, 3], torch.tensor([1.0, 0.0, 2.0]))


def test_what_the_scene_can_follow_tells_nothing_of_the_lens():
    random = torch.Generator().manual_seed(0)
    by_lens = torch.randn(3000, 3, FREE + 1, generator=random, dtype=torch.float64)
    by_scene = torch.randn(3000, 3, 12, generator=random, dtype=torch.float64)
    by_lens[:, :, 2] = by_scene[:, :, 4]  # no picture tells this one from a deformation
    move = torch.tensor([0.02, -0.01, 0.0, 0.02, -0.02], dtype=torch.float64)
    scene = 0.02 * torch.randn(12, generator=random, dtype=torch.float64)
    missing = by_lens[:, :, :FREE] @ move + by_scene @ scene
    found, _ = _solved(missing, by_lens, by_scene, torch.zeros(FREE, dtype=torch.float64))
    assert found.tolist() == pytest.approx((GAIN * move).tolist(), abs=2e-3)


class PatternedCube:
    """A patterned cube, seen exactly."""

    def __init__(self, half: float = 0.5) -> None:
        self.half = half

    def step_length(self, progress: float) -> float:
        return 0.1

    def render(self, rays: Rays, step: float) -> Rendering:
        near = (-self.half * rays.direction.sign() - rays.origin) / rays.direction
        far = (self.half * rays.direction.sign() - rays.origin) / rays.direction
        depth = near.amax(1)
        opacity = (depth < far.amin(1)).float()
        rgb = 0.5 + 0.4 * torch.sin(5 / self.half * (rays.origin + depth[:, None] * rays.direction))
        return Rendering(rgb * opacity[:, None], opacity, depth * opacity)


def test_a_wrong_focal_length_and_a_bent_lens_are_found_though_the_scene_has_shrunk_with_them(ball):
    cube, cameras = PatternedCube(), ball.cameras
    seen = [cube.render(cameras.image_rays(frame), 0.1) for frame in range(len(ball))]
    images = torch.stack([torch.cat([there.rgb, there.opacity[:, None]], 1).view(64, 64, 4) for there in seen])
    views = bent(dataclasses.replace(ball, images=(images * 255).round().byte()), 1.05, 0.05)
    task = ball_task(views=views, changes={"capture": {"lens": "refine"}})
    assert task.lens is not None
    shrunk = PatternedCube(0.5 / 1.05)
    for step in range(20):
        task.lens.step(shrunk, 0.1 + 0.04 * step)
    found = task.views.cameras
    assert found.focal[0, 0].item() / cameras.focal[0, 0].item() == pytest.approx(1, abs=0.005)
    assert found.lens[0, TERMS.index("k1")].item() == pytest.approx(0, abs=0.01)
    assert found.center[0].tolist() == pytest.approx(cameras.center[0].tolist(), abs=0.1)


def learned_ball(
    views: Views, before: dict[str, torch.Tensor], threads: int = 1, steps: int = 4, task: RadianceTask | None = None
) -> RadianceTask:
    """Returns a task some steps after a state from which a lens can be told."""
    kept = torch.get_num_threads()
    torch.set_num_threads(threads)
    task = task or native_task(views, SETTINGS)
    task.load_state(before)
    for step in range(steps):
        task.train_step(250 + step, 0.5 + 0.03 * step)
    torch.set_num_threads(kept)
    return task


@pytest.fixture(scope="module")
def begun(ball) -> dict[str, torch.Tensor]:
    """The state of a task after 250 steps."""
    task = native_task(ball, SETTINGS)
    for step in range(250):
        task.train_step(step, step / 500)
    assert task.lens is not None and task.lens.steps > 10
    return {name: value.clone() for name, value in task.state().items()}


def test_the_same_seed_gives_the_same_lens_on_any_number_of_threads(ball, begun):
    states = [learned_ball(ball, begun, threads).state() for threads in (1, 2, 4)]
    assert all(states_equal(states[0], state) for state in states[1:])
    assert (states[0]["lens.change"] != begun["lens.change"]).all()


def test_a_resumed_run_continues_with_its_lens_bit_for_bit(ball, begun):
    going = native_task(ball, SETTINGS)
    for step in range(254):
        going.train_step(step, step / 500 if step < 250 else 0.5 + 0.03 * (step - 250))
    assert states_equal(learned_ball(ball, begun).state(), going.state())


def test_a_run_passes_between_backends_with_its_lens(ball, begun):
    native = learned_ball(ball, begun)
    reference = reference_task(ball, SETTINGS)
    reference.load_state(native.state())
    assert torch.equal(reference.views.cameras.focal, native.views.cameras.focal)
    assert torch.equal(reference.views.cameras.lens, native.views.cameras.lens)
    reference.train_step(254, 0.8)
    assert not torch.equal(reference.views.cameras.lens, native.views.cameras.lens)


def test_a_damaged_lens_of_a_checkpoint_is_refused_by_name(ball, begun):
    for damaged in (
        {"lens.change": torch.full((6,), 1e3)},
        {"lens.change": torch.zeros(5)},
        {"lens.steps": torch.tensor(99)},
    ):
        with pytest.raises(InputError, match=f'tensor "{next(iter(damaged))}"'):
            native_task(ball, SETTINGS).load_state(begun | damaged)
    with pytest.raises(InputError, match="lens.change.*found nothing"):
        native_task(ball, SETTINGS).load_state({name: value for name, value in begun.items() if name != "lens.change"})


def test_what_was_measured_moves_with_the_cameras(ball):
    task = native_task(ball, SETTINGS)
    distance = torch.rand(24, 4, 4)
    task.pixels.measured = MeasuredDistances(distance.clone(), 16)
    refinement = LensRefinement(task.pixels, task.camera_optimizer, task.model.box, 0)
    refinement.load_state(refinement.state() | {"lens.change": torch.tensor([0.0, 0, 0, 0, 0, 0.25])})
    assert torch.allclose(task.pixels.measured.distance, distance * torch.tensor(0.25).exp())


def test_the_pictures_that_were_read_keep_their_lens(ball, begun):
    focal, lens = ball.cameras.focal.clone(), ball.cameras.lens.clone()
    learned_ball(ball, begun)
    assert torch.equal(ball.cameras.focal, focal) and torch.equal(ball.cameras.lens, lens)


def test_every_output_has_the_lens_that_was_found(ball_scene: Path, tmp_path: Path, capsys):
    run = tmp_path / "run"
    words = ["train", "--scene", str(ball_scene), "--out", str(run), "--steps", "150", "capture.lens=refine", *SMALL]
    assert main([*words, "output.video=", "output.mesh="]) == 0
    assert "lens: focal length" in capsys.readouterr().out
    opened = open_run(run)
    assert opened.lens is not None
    given = opened.folder.load_scene()[1]
    factor = opened.lens.terms[0].exp().float()
    assert factor != 1
    assert torch.allclose(opened.cameras.focal, given.focal * factor)
    assert torch.allclose(opened.refined(given).focal, opened.cameras.focal)
    assert main(["evaluate", str(run)]) == 0
    assert "lens as learned" in (run / "metrics.json").read_text()
