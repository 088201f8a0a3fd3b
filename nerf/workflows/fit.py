"""From a file to a fitted run, and back to a file; what happens is said on standard output."""

from __future__ import annotations

import hashlib
import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from nerf import __version__
from nerf.backends.choice import Backend
from nerf.errors import InputError
from nerf.fields.coordinate import CoordinateField
from nerf.files import check_readable, write_text
from nerf.memory import machine_memory
from nerf.report import say
from nerf.runs import RunFolder
from nerf.signals.registry import signal_class
from nerf.signals.settings import FitSettings
from nerf.signals.signal import DecodeRequest, Signal, SignalTask, field_shapes, load_field_state, new_field
from nerf.training.observers import LogFile, ProgressBar
from nerf.training.trainer import Trainer, TrainingEnd


@dataclass(frozen=True)
class Source:
    """What is fitted."""

    signal: str  # a name of `nerf.signals.registry.SIGNALS`
    file: Path


def fit(run: RunFolder, source: Source, settings: FitSettings, backend: Backend, resume: bool) -> TrainingEnd:
    """Fits a field to a file in a run folder, from its checkpoint if `resume`; then scores it and writes it back.

    Raises:
        InputError: the file cannot be read, does not fit the memory, or the training diverges.
    """
    if not os.path.exists(source.file):  # which says no, too, of a name that cannot be one
        raise InputError(f"{source.file}: not found; name an existing file")
    check_readable(source.file)
    signal = signal_class(source.signal).read(source.file, settings)
    say("signal", f"{source.signal}: {source.file}: {signal.describe()}")
    if resume and run.checkpoint.is_file():
        run.check_shapes(field_shapes(signal, settings))
    task = SignalTask(signal, settings, backend.name)
    numbers = sum(parameter.numel() for parameter in task.field.parameters())
    say(
        "field",
        f"field: {settings.field.kind}, {numbers} parameters; backend: {backend.name} ({backend.detail}), "
        f"{torch.get_num_threads()} threads",
    )
    _check_memory(task)

    # Go on from a checkpoint, or begin a run of its own.
    trainer = Trainer(
        task, settings.train, settings.optimizer.horizon, run, [ProgressBar(), LogFile(run)], backend.bits
    )
    record = _record(source, signal, backend)
    if resume and run.checkpoint.is_file():
        if run.load_signal().get("sha256") != record["sha256"]:
            raise InputError(f"--resume: {run.path} was fitted to another file than {source.file}; name that file")
        trainer.resume()
        say("training", f"resumed at step {trainer.step}, {trainer.seconds:.1f} s of training")
    else:
        if not resume:
            run.keep_earlier()
        run.save_settings(settings)
        run.save_signal(record)

    end = trainer.run_to_budget(lambda step: signal.evaluate(task.field)[signal.figure])
    if end.step > 0:
        run.save_repeat(settings, end.step, trainer.schedule.text())
    say("training", f"trained: {end.step} steps in {end.seconds:.1f} s; saved in {run.path}")
    if end.interrupted:
        say("training", f"interrupted; go on with --resume --out {run.path}")
        return end

    # Score the field, and write the signal back.
    metrics = {**signal.evaluate(task.field), "parameters": numbers, **_circumstances(source, settings, backend, end)}
    write_text(run.path / "metrics.json", json.dumps(metrics, indent=1))
    say("figures", "; ".join(f"{name} {_short(value)}" for name, value in metrics.items() if isinstance(value, float)))
    say("output", signal.export(task.field, run.path / f"decoded{signal.suffix}", DecodeRequest()))
    return end


def _short(value: float) -> str:
    """Returns four digits of a small number, two decimals of others."""
    return f"{value:.4g}" if abs(value) < 1 else f"{value:.2f}"


def _check_memory(task: SignalTask) -> None:
    """Says how much memory the fit takes.

    Raises:
        InputError: more than the machine has.
    """
    needed = task.memory()
    present = machine_memory()
    say("memory", f"memory: about {needed / 2**30:.1f} GiB")
    if needed > present:
        raise InputError(
            f"the fit takes about {needed / 2**30:.1f} GiB of memory, the machine has {present / 2**30:.1f}; "
            "lower train.samples or field.width"
        )


def _record(source: Source, signal: Signal, backend: Backend) -> dict[str, Any]:
    """Returns what signal.json says."""
    return {
        "kind": source.signal,
        "file": str(source.file.resolve()),
        "sha256": _digest(source.file),
        "backend": backend.name,
        "signal": signal.record(),
    }


def _digest(file: Path) -> str:
    """Returns the SHA-256 of a file, or of all files of a folder in the order of their names."""
    parts = sorted(file.iterdir()) if file.is_dir() else [file]
    digest = hashlib.sha256()
    for part in parts:
        if part.is_file():
            digest.update(part.read_bytes())
    return digest.hexdigest()


def _circumstances(source: Source, settings: FitSettings, backend: Backend, end: TrainingEnd) -> dict[str, Any]:
    """Returns what metrics.json says beside the figures."""
    return {
        "kind": source.signal,
        "file": source.file.name,
        "field": settings.field.kind,
        "training_seconds": round(end.seconds, 3),
        "steps": end.step,
        "seed": settings.train.seed,
        "version": __version__,
        "backend": f"{backend.name} ({backend.detail})",
        "threads": torch.get_num_threads(),
    }


def open_fit(run: RunFolder, backend: Backend) -> tuple[Signal, CoordinateField]:
    """Returns the signal of a run, without samples, and its field.

    Raises:
        InputError: the folder holds no whole fit.
    """
    record = run.load_signal()
    settings = run.load_settings(FitSettings())
    try:
        signal = signal_class(record["kind"]).recall(record["signal"], settings)
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(f"{run.path / 'signal.json'}: damaged ({error!r}); copy the whole run folder") from None

    run.check_shapes(field_shapes(signal, settings))
    tensors, _ = run.load_checkpoint()
    field = new_field(signal, settings, backend.name)
    load_field_state(field, tensors)
    return signal, field


def decode(run: RunFolder, file: Path, request: DecodeRequest, backend: Backend) -> str:
    """Writes the signal of a run to a file and returns what it wrote, in words.

    Raises:
        InputError: the run is not whole, or its signal cannot answer the request.
    """
    signal, field = open_fit(run, backend)
    for name, value in vars(request).items():
        if value and name not in signal.options:
            raise InputError(f"--{name}: means nothing to this kind of signal ({', '.join(signal.options) or 'none'})")
    return signal.export(field, file, request)
