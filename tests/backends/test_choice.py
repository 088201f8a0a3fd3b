"""Which backend is taken, and that it is said."""

import pytest
import torch

from nerf import engine
from nerf.backends.choice import choose_backend
from nerf.cli.main import main
from nerf.engine import driver, nvrtc
from nerf.engine.driver import why_no_gpu
from nerf.errors import InputError
from tests.conftest import SMALL


def test_auto_takes_the_engine_where_it_was_built_and_says_so_where_not(monkeypatch):
    if engine.available():
        assert choose_backend().name == "native"
    monkeypatch.setattr(engine, "available", list)
    chosen = choose_backend()
    assert chosen.name == "reference" and "needs a C++ compiler" in chosen.detail


@pytest.mark.skipif(why_no_gpu() == "", reason="there is a GPU here")
@pytest.mark.parametrize(("option", "backend"), [("backend", "cuda"), ("backend", "tcnn"), ("device", "cuda")])
def test_what_is_not_here_is_never_substituted(option, backend, ball_scene, tmp_path, capsys):
    words = ["train", "--scene", str(ball_scene), "--out", str(tmp_path / "run"), f"--{option}", backend]
    assert main(words) == 2
    (line,) = capsys.readouterr().err.splitlines()
    reason = "tinycudann is not installed" if backend == "tcnn" else "torch "
    assert line.startswith(f"nerf: error: --{option} {backend}: {reason}")
    assert "use --backend cuda" in line if backend == "tcnn" else "--backend native computes on the CPU" in line
    assert not (tmp_path / "run").exists()


def pretend_a_gpu(monkeypatch) -> None:
    monkeypatch.setattr(driver, "why_no_gpu", lambda: "")
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda: "a GPU")


def test_auto_takes_the_gpu_where_there_is_one_with_its_compiler(monkeypatch):
    pretend_a_gpu(monkeypatch)
    monkeypatch.setattr(nvrtc, "available", lambda: "13.0")
    assert choose_backend() == choose_backend("cuda") == choose_backend(device="cuda")
    assert choose_backend().name == "cuda" and choose_backend().detail == "kernels on a GPU"
    assert choose_backend(device="cpu").name != "cuda"
    with pytest.raises(InputError, match="--backend tcnn: tinycudann is not installed"):
        choose_backend("tcnn")


def test_a_gpu_without_the_compiler_is_not_passed_over_in_silence(monkeypatch):
    pretend_a_gpu(monkeypatch)
    monkeypatch.setattr(nvrtc, "available", lambda: "")
    assert "a GPU is here, but not the compiler NVRTC: pip install" in choose_backend().detail
    with pytest.raises(InputError, match="--backend cuda: a GPU is here, but not the compiler NVRTC"):
        choose_backend("cuda")


@pytest.mark.parametrize(
    ("backend", "device"), [("cuda", "cpu"), ("tcnn", "cpu"), ("native", "cuda"), ("reference", "cuda")]
)
def test_a_backend_on_a_device_that_it_does_not_use_is_refused(backend, device):
    with pytest.raises(InputError, match=f"--device {device}: --backend {backend} computes on"):
        choose_backend(backend, device)


def test_an_unknown_instruction_set_is_refused(monkeypatch):
    monkeypatch.setenv("NERF_ISA", "avx1024")
    with pytest.raises(InputError, match="NERF_ISA"):
        choose_backend("native")


@pytest.mark.skipif(not engine.available(), reason="the native engine was not built: no C++ compiler")
def test_the_command_line_trains_films_and_scores_with_the_engine(ball_scene, tmp_path, capsys):
    out = str(tmp_path / "run")
    words = ["train", "--scene", str(ball_scene), "--out", out, "--steps", "300", "--backend", "native", *SMALL]
    assert main(words) == 0
    assert "backend: native" in capsys.readouterr().out
    scores = []
    for backend in ("native", "reference"):
        assert main(["evaluate", out, "--backend", backend]) == 0
        scores.append(float(capsys.readouterr().out.split("white: ")[1].split(" dB")[0]))
    # Two precisions of one model: bfloat16 shows in the second decimal.
    assert scores[0] > 20 and abs(scores[0] - scores[1]) < 0.3
