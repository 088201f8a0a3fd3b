"""A training that is watched, and what it tells."""

from __future__ import annotations

import json
import math
import os
import signal
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch

from nerf.config import TrainSettings
from nerf.errors import InputError
from nerf.rendering.radiance_engine import StepResult
from nerf.runs import RunFolder
from nerf.training.observers import LogFile, Observer, ProgressBar
from nerf.training.trainer import Trainer
from tests.backends.small_scene import ball_task


class Diary(Observer):
    """Writes down whatever it is told."""

    def __init__(self) -> None:
        self.told: list[str] = []

    def begun(self, trainer):
        self.told.append(f"begun at {trainer.step}")

    def stepped(self, step, report):
        self.told.append(f"step {step}")
        assert report.error > 0 and report.rays > 0

    def figures(self, figures):
        self.told.append(f"figures at {figures.step}")
        assert figures.name == "psnr" and figures.value > 0

    def validated(self, step, value):
        self.told.append(f"validated {value:g}")

    def saved(self, step):
        self.told.append(f"saved {step}")

    def ended(self, end):
        self.told.append(f"ended at {end.step}")

    def closed(self):
        self.told.append("closed")


def trained(path, observers, steps=3, preview_seconds=1e-9, task=None):
    settings = TrainSettings(steps=steps, samples=2048, preview_seconds=preview_seconds)
    task = task or ball_task()
    trainer = Trainer(task, settings, 10, RunFolder(path), observers)
    trainer.run_to_budget(lambda step: 30.0 + step)
    return task


def test_an_observer_is_told_everything_in_its_order(tmp_path):
    diary = Diary()
    trained(tmp_path, [diary], steps=2)
    assert diary.told == [
        *("begun at 0", "saved 0"),
        *("step 1", "validated 31", "step 2", "figures at 2", "validated 32"),
        *("saved 2", "ended at 2", "closed"),
    ]


def test_a_watched_training_gives_the_same_bits_as_one_that_nobody_watches(tmp_path):
    watched = trained(tmp_path / "a", [Diary(), ProgressBar(), LogFile(RunFolder(tmp_path / "a"))])
    alone = trained(tmp_path / "b", [])
    assert all(torch.equal(value, alone.state()[name]) for name, value in watched.state().items())
    assert not (tmp_path / "b" / "log.jsonl").exists()


def test_the_log_has_a_line_for_the_last_figures(tmp_path):
    trained(tmp_path, [LogFile(RunFolder(tmp_path))])
    last = json.loads((tmp_path / "log.jsonl").read_text().splitlines()[-1])
    assert last.keys() == {"step", "seconds", "progress", "psnr", "rays_per_second", "samples_per_second"}
    assert last["step"] == 3 and last["rays_per_second"] > 0


def test_the_bar_shows_figure_rate_and_validation(tmp_path, capsys):
    trained(tmp_path, [ProgressBar()])
    shown = capsys.readouterr().err
    assert "psnr=" in shown and "rays/s=" in shown and "3/3" in shown


def test_observers_are_closed_when_a_training_fails(tmp_path):
    diary = Diary()
    task = ball_task()
    engine = task.model.engine()
    engine.step = lambda step: StepResult(math.nan, step.n_rays, 0)
    with pytest.raises(InputError, match="diverged"):
        trained(tmp_path, [diary], task=task)
    assert diary.told[-1] == "closed" and not any(line.startswith("ended") for line in diary.told)


class Broken(Diary):
    """Fails before it has begun."""

    def begun(self, trainer):
        raise RuntimeError("no window here")


def test_an_observer_that_fails_is_named_and_only_those_that_began_are_closed(tmp_path):
    diary, broken, late = Diary(), Broken(), Diary()
    with pytest.raises(RuntimeError, match="no window here"):
        trained(tmp_path, [diary, broken, late])
    assert diary.told == ["begun at 0", "closed"] and broken.told == late.told == []


class GoneStream:
    """A terminal that is closed after some writes."""

    encoding = "utf-8"

    def __init__(self, error: Exception, writes: int) -> None:
        self.error = error
        self.left = writes

    def write(self, text):
        self.left -= 1
        if self.left < 0:
            raise self.error

    def flush(self):
        if self.left < 0:
            raise self.error


@pytest.mark.parametrize("writes", [0, 3, 8])
@pytest.mark.parametrize("error", [BrokenPipeError(32, "Broken pipe"), OSError(5, "EIO"), ValueError("closed file")])
def test_a_bar_whose_stream_is_gone_does_not_end_the_training(error, writes, tmp_path, monkeypatch):
    monkeypatch.setattr("sys.stderr", GoneStream(error, writes))
    monkeypatch.setattr("nerf.training.trainer.SHOW_SECONDS", 0.0)
    diary = Diary()
    trained(tmp_path, [ProgressBar(), diary], steps=20)
    assert diary.told[-3:] == ["saved 20", "ended at 20", "closed"]


class Failing(Observer):
    """Fails after the second step."""

    def stepped(self, step, report):
        if step == 2:
            raise RuntimeError("no window here")


def test_an_error_between_two_steps_leaves_a_checkpoint_of_the_last(tmp_path):
    with pytest.raises(RuntimeError, match="no window here"):
        trained(tmp_path / "a", [Failing()])
    trained(tmp_path / "b", [], steps=2)
    (tensors, facts), (whole, _) = (RunFolder(tmp_path / name).load_checkpoint() for name in "ab")
    assert facts["step"] == 2 and all(torch.equal(value, tensors[name]) for name, value in whole.items())


def test_an_error_inside_a_step_saves_nothing_of_it(tmp_path):
    task = ball_task()
    take = task.train_step
    task.train_step = lambda step, progress: take(step, progress) if step < 2 else 1 / 0
    with pytest.raises(ZeroDivisionError):
        trained(tmp_path, [], task=task)
    assert RunFolder(tmp_path).load_checkpoint()[1]["step"] == 0


NETWORKS = [f"{network}_mlp.weights.{layer}" for network in ("density", "color") for layer in (0, 1)]


@pytest.mark.parametrize("name", ["encoding.table", *NETWORKS])
@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_numbers_that_are_not_finite_are_never_saved_over_a_checkpoint(name, value, tmp_path):
    trained(tmp_path, [], steps=2)
    before = (tmp_path / "checkpoint.safetensors").read_bytes()

    task = ball_task()
    trainer = Trainer(task, TrainSettings(steps=3, samples=2048, preview_seconds=0), 10, RunFolder(tmp_path))
    trainer.resume()
    with torch.no_grad():
        task.parameters[name].view(-1)[-1] = value
    with pytest.raises(InputError, match="not finite.* --resume goes on from step 2, which is kept") as refused:
        trainer.save()
    assert "\n" not in str(refused.value) and (tmp_path / "checkpoint.safetensors").read_bytes() == before


def test_a_training_that_diverges_in_silence_ends_in_an_error_and_keeps_its_checkpoint(tmp_path):
    task = ball_task()

    class Spoiler(Observer):
        def stepped(self, step, report):
            with torch.no_grad():
                task.parameters["color_mlp.weights.0"].fill_(math.nan)

    with pytest.raises(InputError, match="diverged"):
        trained(tmp_path, [Spoiler()], task=task)
    assert RunFolder(tmp_path).load_checkpoint()[1]["step"] == 0


class Hangup(Diary):
    """Closes the terminal after the second step: the kernel tells of it, and the shell."""

    def stepped(self, step, report):
        if step == 2:
            os.kill(os.getpid(), signal.SIGHUP)
            os.kill(os.getpid(), signal.SIGHUP)


@pytest.mark.parametrize(("handler", "steps"), [(signal.SIG_DFL, 2), (signal.SIG_IGN, 5)])
def test_a_closed_terminal_saves_like_ctrl_c_unless_it_is_ignored(handler, steps, tmp_path):
    before = signal.signal(signal.SIGHUP, handler)
    try:
        diary = Hangup()
        trained(tmp_path, [diary], steps=5)
        assert signal.getsignal(signal.SIGHUP) == handler
    finally:
        signal.signal(signal.SIGHUP, before)
    assert diary.told[-3:] == [f"saved {steps}", f"ended at {steps}", "closed"]


class Stopper(Diary):
    """Asks the training to stop after its second step."""

    def begun(self, trainer):
        self.trainer = trainer

    def stepped(self, step, report):
        if step == 2:
            self.trainer.stop()


def test_an_observer_can_stop_a_training_which_then_saves(tmp_path):
    stopper = Stopper()
    trained(tmp_path, [stopper], steps=50, preview_seconds=0)
    assert stopper.told[-3:] == ["saved 2", "ended at 2", "closed"]


def test_a_training_runs_in_a_thread_of_its_own(tmp_path):
    with ThreadPoolExecutor() as threads:
        task = threads.submit(trained, tmp_path, []).result()
    assert task.steps_taken == 3


@pytest.mark.parametrize(
    ("first", "then", "mend"),
    [("native avx2", "native avx512", "NERF_ISA=avx2"), ("reference", "native avx2", "--backend reference")],
)
def test_a_run_that_goes_on_with_other_bits_says_so_and_how_to_keep_them(first, then, mend, tmp_path, capsys):
    for bits, said in ((first, False), (first, False), (then, True)):
        trainer = Trainer(ball_task(), TrainSettings(steps=1), 10, RunFolder(tmp_path), bits=bits)
        if trainer.run.checkpoint.is_file():
            trainer.resume()
        trainer.save()
        assert (f"trained so far on {first}, now on {then}" in capsys.readouterr().out) == said
    trainer.bits = "native none"
    trainer._say_other_bits(first)
    assert mend in capsys.readouterr().out
