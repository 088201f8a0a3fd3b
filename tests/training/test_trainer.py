"""Pace, budgets, interruption and resume."""

import os
import signal
import subprocess
import sys
import time

import pytest
import torch
from safetensors.torch import load_file

from nerf.backends.reference import ReferenceEngine
from nerf.cli.main import main
from nerf.config import read_settings
from nerf.errors import InputError
from nerf.geometry.scene_box import SceneBox
from nerf.rendering.model import box_of_numbers, load_model_state, new_model
from nerf.runs import RunFolder
from nerf.scenes.blender import load_blender
from nerf.training.schedule import Schedule
from tests.backends.small_scene import ball_task, reference_task
from tests.conftest import SMALL

NO_OUTPUTS = ["output.video=", "output.mesh="]


def train(scene, out, *words):
    return main(
        ["train", "--scene", str(scene), "--out", str(out), "--backend", "reference", *words, *SMALL, *NO_OUTPUTS]
    )


def same_checkpoint(one, other):
    """Returns whether two runs hold the same tensors, bit for bit."""
    a, b = (load_file(run / "checkpoint.safetensors") for run in (one, other))
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def test_progress_is_a_function_of_the_step_that_new_plans_do_not_rewrite():
    pace = Schedule([(0, 0.0, 0.01)])
    assert pace.progress(30) == pytest.approx(0.3)
    pace.replan(50, steps_left=100)
    assert pace.progress(30) == pytest.approx(0.3)
    assert pace.progress(100) == pytest.approx(0.75)
    assert pace.progress(1000) == 1.0
    assert Schedule.parse(pace.text()).knots == pace.knots


@pytest.mark.parametrize(
    "text", ["0 0.0", "", "0 nan 0.1", "5 0.0 0.1", "0 0.0 0.1; 9 0.5 0.1; 3 0.6 0.1", "0 2.0 0.1"]
)
def test_a_pace_that_is_no_pace_is_refused(text):
    with pytest.raises(InputError, match="train.pace"):
        Schedule.parse(text)


def test_training_learns_the_ball(ball_scene):
    task = reference_task(load_blender(ball_scene, "train"), read_settings(None, SMALL))
    errors = [task.train_step(step, step / 150).error for step in range(150)]
    # The first step is at 17 dB; 23 dB cannot be had without the shape and most of its colours.
    assert sum(errors[-20:]) / 20 < 10**-2.3 < 10**-1.9 < errors[0]


def test_the_same_seed_gives_the_same_bits_and_another_seed_others(ball_scene, tmp_path):
    for name, seed in (("a", 3), ("b", 3), ("c", 4)):
        assert train(ball_scene, tmp_path / name, "--steps", "40", "--seed", str(seed)) == 0
    assert same_checkpoint(tmp_path / "a", tmp_path / "b")
    assert not same_checkpoint(tmp_path / "a", tmp_path / "c")


def test_a_resumed_run_is_the_uninterrupted_run_bit_for_bit(ball_scene, tmp_path):
    assert train(ball_scene, tmp_path / "whole", "--steps", "75") == 0
    assert train(ball_scene, tmp_path / "parts", "--steps", "40") == 0
    assert train(ball_scene, tmp_path / "parts", "--steps", "75", "--resume") == 0
    assert same_checkpoint(tmp_path / "whole", tmp_path / "parts")
    steps = [line["step"] for line in log_lines(tmp_path / "parts")]
    assert steps == sorted(set(steps))


def log_lines(run):
    import json

    return [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]


def started(scene, out, *words):
    """Starts a training in a process of its own and waits until it has logged a line."""
    command = [
        sys.executable,
        "-m",
        "nerf",
        "train",
        "--scene",
        str(scene),
        "--out",
        str(out),
        "--backend",
        "reference",
    ]
    # Torch's sums depend on the number of threads: as many as the tests have.
    process = subprocess.Popen(
        [*command, *words, *SMALL, *NO_OUTPUTS],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        env=os.environ | {"OMP_NUM_THREADS": str(torch.get_num_threads())},
    )
    deadline = time.monotonic() + 120
    while not (out / "log.jsonl").exists():
        assert process.poll() is None and time.monotonic() < deadline, process.stderr.read()
        time.sleep(0.01)
    return process


def test_a_killed_run_resumes_to_the_bits_of_an_uninterrupted_one(ball_scene, tmp_path):
    process = started(ball_scene, tmp_path / "killed", "--steps", "100000", "train.checkpoint_seconds=0.2")
    process.send_signal(signal.SIGKILL)
    process.wait()
    process.stderr.close()
    assert process.returncode == -signal.SIGKILL
    steps = str(RunFolder(tmp_path / "killed").load_checkpoint()[1]["step"] + 40)
    assert train(ball_scene, tmp_path / "killed", "--steps", steps, "--resume") == 0
    assert train(ball_scene, tmp_path / "whole", "--steps", steps) == 0
    assert same_checkpoint(tmp_path / "whole", tmp_path / "killed")
    leftovers = [path.name for path in (tmp_path / "killed").iterdir() if "partial" in path.name]
    assert leftovers == []


def test_ctrl_c_saves_and_says_how_to_go_on(ball_scene, tmp_path):
    process = started(ball_scene, tmp_path / "run", "--steps", "100000")
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=60)
    assert process.returncode == 130
    tensors, facts = RunFolder(tmp_path / "run").load_checkpoint()
    assert 0 < facts["step"] < 100000 and "field.encoding.table" in tensors


def test_a_budget_of_seconds_can_be_repeated_step_for_step(ball_scene, tmp_path):
    assert train(ball_scene, tmp_path / "clock", "--max-seconds", "3") == 0
    words = [
        "train",
        "--scene",
        str(ball_scene),
        "--config",
        str(tmp_path / "clock" / "repeat.yaml"),
        "--backend",
        "reference",
    ]
    assert main([*words, "--out", str(tmp_path / "again")]) == 0
    assert same_checkpoint(tmp_path / "clock", tmp_path / "again")
    # The log ends up to half a second before the clock, or more where the machine is busy.
    assert log_lines(tmp_path / "clock")[-1]["progress"] > 0.5


def test_a_truncated_checkpoint_is_refused_by_name(ball_run, tmp_path):
    run = RunFolder(tmp_path)
    whole = (ball_run / "checkpoint.safetensors").read_bytes()
    for size in (0, 7, 100, len(whole) // 2, len(whole) - 1):
        run.checkpoint.write_bytes(whole[:size])
        with pytest.raises(InputError, match="checkpoint.safetensors: damaged"):
            run.load_checkpoint()


@pytest.mark.parametrize(
    ("fact", "value"),
    [
        *(("step", value) for value in (-1, 2**31, 1.5, True, "3", None)),
        *(("seconds", value) for value in (-1.0, float("nan"), float("inf"), "3", [])),
        ("pace", 3),
    ],
)
def test_facts_of_a_checkpoint_out_of_range_are_refused(fact, value, tmp_path):
    run = RunFolder(tmp_path)
    run.save_checkpoint({"a": torch.zeros(3)}, {"step": 1, "seconds": 0.0, "pace": "0 0.0 0.1", fact: value})
    with pytest.raises(InputError, match="checkpoint.safetensors: .*restore it or train again"):
        run.load_checkpoint()


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("rays_per_step", (-1, 0, 0.5, 2**17, 2**28, 2**31 - 1, 2**31, 2**63 - 1)),
        ("rays_drawn", (-1, 2**63 - 1, 0.5)),
        ("adam.encoding.table.step", (-1.0, 2.0**31, 0.5)),
    ],
)
def test_numbers_of_a_checkpoint_that_become_sizes_have_ranges(name, values):
    task = ball_task()
    whole = task.state()
    assert name in whole
    for value in values:
        with pytest.raises(InputError, match=f'tensor "{name}" is .*, expected a whole number from'):
            task.load_state(whole | {name: torch.tensor(value)})
    task.load_state(whole)


@pytest.mark.parametrize(
    ("index", "value"), [(3, 0.0), (3, -1.0), (3, 1e-60), (3, 1e60), (0, 1e300), (7, 0.0), (7, -1.0), (8, -1.0)]
)
def test_a_box_without_extent_is_refused(index, value):
    numbers = torch.tensor([-1.0, -1, -1, 2, 0, 0, 0, 1, 0.01], dtype=torch.float64)
    box_of_numbers(numbers)
    numbers[index] = value
    for changed in [numbers, numbers[:4]] if index < 4 else [numbers]:
        with pytest.raises(InputError, match='checkpoint: tensor "cube"'):
            box_of_numbers(changed)


def test_a_failed_write_leaves_the_last_checkpoint_whole(ball_run, tmp_path, monkeypatch):
    run = RunFolder(tmp_path)
    run.save_checkpoint({"a": torch.zeros(3)}, {"step": 1, "seconds": 0.0, "pace": "0 0.0 0.1"})
    monkeypatch.setattr(os, "replace", lambda *paths: (_ for _ in ()).throw(OSError(28, "No space left on device")))
    with pytest.raises(InputError, match="No space left"):
        run.save_checkpoint({"a": torch.ones(3)}, {"step": 2})
    assert run.load_checkpoint()[1]["step"] == 1
    assert [path.name for path in tmp_path.iterdir()] == ["checkpoint.safetensors"]


@pytest.mark.parametrize("text", ["[]", '"a"', "{", '{"cameras": {}}', '{"name": 3}', ""])
def test_a_damaged_record_of_the_scene_is_refused_by_name(text, tmp_path):
    (tmp_path / "scene.json").write_text(text)
    with pytest.raises(InputError, match="scene.json: damaged"):
        RunFolder(tmp_path).load_scene()


def blank_model(*settings: str):
    return new_model(
        read_settings(None, [*SMALL, *settings]), SceneBox(torch.zeros(3), 1.0), make_engine=ReferenceEngine
    )


def test_a_checkpoint_of_other_settings_or_another_program_is_refused(ball_run, tmp_path):
    from safetensors.torch import save_file

    run = RunFolder(tmp_path)
    save_file({"a": torch.zeros(3)}, run.checkpoint)
    with pytest.raises(InputError, match="not a checkpoint of nerf"):
        run.load_checkpoint()
    tensors, _ = RunFolder(ball_run).load_checkpoint()
    model = new_model(
        read_settings(None, [*SMALL, "field.levels=5"]), SceneBox(torch.zeros(3), 1.0), make_engine=ReferenceEngine
    )
    with pytest.raises(InputError, match='tensor "field.encoding.table": expected'):
        load_model_state(model, tensors)
    del tensors["cube"]
    with pytest.raises(InputError, match='tensor "cube": expected .* found nothing'):
        load_model_state(
            new_model(read_settings(None, SMALL), SceneBox(torch.zeros(3), 1.0), make_engine=ReferenceEngine), tensors
        )
