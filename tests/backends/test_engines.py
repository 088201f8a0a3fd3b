"""What every engine does alike, and fields that only some compute."""

from __future__ import annotations

import dataclasses
import inspect

import pytest
import torch

from nerf import engine
from nerf.backends.choice import ENGINES, Backend
from nerf.backends.cuda_engine import CudaEngine
from nerf.backends.native import NativeEngine
from nerf.backends.reference import ReferenceEngine
from nerf.cli.main import main
from nerf.config import settings_from_dict
from nerf.errors import InputError
from nerf.fields import table
from nerf.fields.radiance import RadianceField
from nerf.rendering.radiance_engine import RadianceEngine
from nerf.training.radiance import RadianceTask
from tests.backends.small_scene import ball_task, ball_views, cuda_task, native_task, reference_task
from tests.conftest import SMALL
from tests.engine.launchers import launcher

NEEDS_ENGINE = pytest.mark.skipif(not engine.available(), reason="the native engine was not built: no C++ compiler")
TASKS = {
    "reference": reference_task,
    "native": native_task,
    "cuda": lambda views, settings: cuda_task(views, settings, launcher("shim", settings.field.features_per_level)),
}


def new_task(name: str, changes: dict | None = None) -> RadianceTask:
    return TASKS[name](ball_views(), ball_task(changes=changes).settings)


@pytest.mark.parametrize("kind", [ReferenceEngine, NativeEngine, CudaEngine])
def test_every_engine_has_the_methods_of_the_protocol(kind):
    for name, method in inspect.getmembers(RadianceEngine, inspect.isfunction):
        if name.startswith("_"):
            continue
        found = inspect.signature(getattr(kind, name))
        assert list(found.parameters) == list(inspect.signature(method).parameters), (kind, name)


@NEEDS_ENGINE
@pytest.mark.parametrize("name", TASKS)
def test_gradients_and_then_descend_are_a_step(name):
    changes = {"train": {"distortion": 0.1}}
    whole, parts = new_task(name, changes), new_task(name, changes)
    for number in range(6):
        step = whole.next_step(number / 10)
        expected = whole.model.engine().step(step)
        gradients, result = parts.model.engine().gradients(step)
        parts.model.engine().descend(step, gradients)
        assert result == expected
        for task in (whole, parts):
            task.steps_taken += 1
    states = [task.state() for task in (whole, parts)]
    assert states[0].keys() == states[1].keys()
    assert all(torch.equal(value, states[1][key]) for key, value in states[0].items())


@NEEDS_ENGINE
@pytest.mark.parametrize("name", TASKS)
def test_gradients_that_are_summed_before_they_are_descended_move_the_parameters_the_same_way(name):
    """Two machines that found the same halves: what comes out is what one would have done."""
    whole, halves = new_task(name), new_task(name)
    step = whole.next_step(0.0)
    gradients, _ = whole.model.engine().gradients(step)
    whole.model.engine().descend(step, gradients)
    gradients, _ = halves.model.engine().gradients(step)
    summed = {key: value / 2 + value / 2 for key, value in gradients.items()}
    halves.model.engine().descend(step, summed)
    for task in (whole, halves):
        task.model.copy_back()
    for key, value in whole.parameters.items():
        assert torch.equal(value, halves.parameters[key]), key


class PlainField(RadianceField):
    """A field of one row of the table: another network behind the same grid."""

    def density(self, position):
        density, features = super().density(position)
        return 0.5 * density, features


def test_a_field_is_one_row_of_the_table(monkeypatch):
    monkeypatch.setitem(table.FIELDS, "plain", PlainField)
    settings = settings_from_dict({"field": {"kind": "plain"}}, "test", ball_task().settings)
    task = reference_task(ball_views(), settings)
    errors = [task.train_step(step, step / 20).error for step in range(20)]
    assert errors[-1] < 0.7 * errors[0]
    rays = task.views.cameras.image_rays(0)
    assert task.model.render(rays).rgb.shape == (len(rays), 3)


def test_a_run_of_another_field_is_trained_opened_and_filmed(ball_scene, tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(table.FIELDS, "plain", PlainField)
    run = tmp_path / "run"
    words = [*SMALL, "field.kind=plain", "output.mesh=", "output.frames=2"]
    trained = ["train", "--scene", str(ball_scene), "--out", str(run), "--steps", "60", "--backend", "reference"]
    assert main([*trained, *words]) == 0
    assert main(["render", str(run), "--out", str(tmp_path / "a.mp4"), "--frames", "2", "--preview"]) == 0
    said = capsys.readouterr().out
    assert "coarse steps instead" in said and (engine.available() == [] or "backend: reference" in said)


@pytest.mark.parametrize("name", [name for name in ENGINES if name != "reference"])
def test_a_backend_says_which_fields_it_does_not_compute(name):
    settings = settings_from_dict({"field": {"kind": "plain"}}, "test", ball_task().settings)
    with pytest.raises(InputError, match=f"field.kind=plain: not on --backend {name}, .*--backend reference"):
        Backend(name, "").task(ball_views(), settings)


def test_a_field_that_is_not_in_the_table_is_refused_with_the_nearest_word():
    settings = settings_from_dict({"field": {"kind": "hesh"}}, "test", ball_task().settings)
    with pytest.raises(InputError, match='"hesh" is not a radiance field.*hash'):
        reference_task(ball_views(), settings)


def test_where_memory_runs_out_fewer_rays_are_asked_for_from_then_on():
    task = new_task("reference")
    take = task.model.engine().step
    asked = task.rays_per_step
    task.model.engine().step = lambda step: dataclasses.replace(take(step), n_rays=step.n_rays // 2)
    report = task.train_step(0, 0.0)
    assert report.rays == asked // 2 == task.rays_per_step
    assert task.samples_per_step == task.settings.train.samples // 2
