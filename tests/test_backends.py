"""Which backend is taken, and that it is said."""

import pytest

from nerf import engine
from nerf.backends import choose_backend
from nerf.cli import main
from nerf.errors import InputError
from tests.conftest import SMALL


def test_auto_takes_the_engine_where_it_was_built_and_says_so_where_not(monkeypatch):
    if engine.available():
        assert choose_backend().name == "native"
    monkeypatch.setattr(engine, "available", list)
    chosen = choose_backend()
    assert chosen.name == "reference" and "needs a C++ compiler" in chosen.detail


@pytest.mark.parametrize("backend", ["cuda", "tcnn"])
def test_what_is_not_here_is_never_substituted(backend):
    with pytest.raises(InputError, match=f"--backend {backend}: "):
        choose_backend(backend)


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
