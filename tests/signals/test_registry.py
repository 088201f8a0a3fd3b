"""One row a signal: what it takes to add one, and what the command line knows of it before torch is loaded."""

import json
import subprocess
import sys

import pytest
import torch

from nerf.cli.main import main
from nerf.errors import InputError
from nerf.signals.registry import SIGNALS, SignalRow, signal_class
from nerf.signals.settings import FitSettings, read_fit_settings
from nerf.signals.signal import Signal, decibels


class Numbers(Signal):
    """A list of numbers in a text file, which no other file of the program knows."""

    defaults = {"relu": {"field": {"width": 32, "layers": 2}, "train": {"samples": 256, "steps": 150}}}
    options = ("resolution",)
    suffix = ".txt"
    inputs = 1
    outputs = 1

    def __init__(self, samples):
        self.samples = samples

    @classmethod
    def read(cls, file, settings):
        numbers = torch.tensor([float(line) for line in file.read_text().split()])
        self = cls(len(numbers))
        self.numbers = numbers[:, None]
        return self

    @classmethod
    def recall(cls, record, settings):
        return cls(record["samples"])

    def record(self):
        return {"samples": self.samples}

    def loss(self, field, n_samples, random):
        index = torch.randint(self.samples, (n_samples,), generator=random)
        error = (field((index[:, None] + 0.5) / self.samples) - self.numbers[index]).square().mean()
        return error, error.item()

    def evaluate(self, field):
        return {"psnr": decibels((self.render(field, self.samples) - self.numbers).square().mean().item())}

    def render(self, field, count):
        return field.values((torch.arange(count)[:, None] + 0.5) / count)

    def export(self, field, file, request):
        numbers = self.render(field, request.resolution or self.samples)
        file.write_text("\n".join(f"{number:.4f}" for number in numbers[:, 0].tolist()))
        return f"numbers: {file} ({len(numbers)})"


def test_one_row_adds_a_signal_that_is_fitted_scored_and_decoded(tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(SIGNALS, "numbers", SignalRow("a list of numbers: .txt", lambda: Numbers))
    file = tmp_path / "a.txt"
    run = tmp_path / "run"
    truth = torch.linspace(-0.5, 1, 40).square()
    file.write_text("\n".join(map(str, truth.tolist())))

    assert main(["fit", "numbers", str(file), "--out", str(run), "--backend", "reference"]) == 0
    assert "numbers: " in capsys.readouterr().out
    metrics = json.loads((run / "metrics.json").read_text())
    assert metrics["kind"] == "numbers" and metrics["field"] == "relu" and metrics["steps"] == 150
    decoded = torch.tensor([float(line) for line in (run / "decoded.txt").read_text().split()])
    assert metrics["psnr"] > 25
    assert decibels((decoded - truth).square().mean().item()) == pytest.approx(metrics["psnr"], abs=0.1)

    words = ["decode", str(run), "--out", str(tmp_path / "b.txt"), "--backend", "reference"]
    assert main([*words, "--resolution", "80"]) == 0
    assert len((tmp_path / "b.txt").read_text().split()) == 80
    capsys.readouterr()
    assert main([*words, "--rate", "2"]) == 2
    assert "--rate: means nothing to this kind of signal (resolution)" in capsys.readouterr().err

    with pytest.raises(SystemExit):
        main(["fit", "--help"])
    assert "numbers      a list of numbers: .txt" in capsys.readouterr().out


@pytest.mark.parametrize("name", SIGNALS)
def test_every_row_loads_a_whole_signal_with_defaults_that_are_settings(name):
    found = signal_class(name)
    assert issubclass(found, Signal) and not found.__abstractmethods__
    settings = read_fit_settings(None, [], found.defaults)
    first = next(iter(kind for kind in found.defaults if kind != "any"))
    assert settings.field.kind == first
    for section, values in found.defaults[first].items():
        for setting, value in values.items():
            assert getattr(getattr(settings, section), setting) == value


def test_a_signal_that_is_not_there_is_refused_with_the_nearest():
    with pytest.raises(InputError, match='did you mean "video"'):
        signal_class("vidoe")


def test_the_sections_of_settings_yaml_keep_their_order():
    sections = ["field", "optimizer", "train", "image", "video", "tomography", "mri"]
    assert list(FitSettings().to_dict()) == sections


def test_the_help_of_fit_loads_neither_torch_nor_numpy():
    script = (
        "import sys; from nerf.cli.main import main\n"
        "try: main(['fit', '--help'])\n"
        "except SystemExit: print(sorted({'torch', 'numpy'} & sys.modules.keys()))"
    )
    said = subprocess.run([sys.executable, "-c", script], check=True, capture_output=True, text=True).stdout
    assert "tomography.views" in said and said.endswith("[]\n")


def test_a_fit_that_memory_does_not_hold_is_refused(tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(SIGNALS, "numbers", SignalRow("a list of numbers: .txt", lambda: Numbers))
    monkeypatch.setattr("nerf.workflows.fit.machine_memory", lambda: 2**20)
    (tmp_path / "a.txt").write_text("1 2 3")
    assert main(["fit", "numbers", str(tmp_path / "a.txt"), "--out", str(tmp_path / "run")]) == 2
    assert "lower train.samples" in capsys.readouterr().err
