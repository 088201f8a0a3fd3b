"""The page of `nerf doctor`, and the backends that it tries."""

from __future__ import annotations

import pytest
import torch

from nerf import engine
from nerf.backends.choice import choose_backend
from nerf.cli.main import main
from nerf.workflows import doctor


def test_the_page_names_what_is_here_and_tries_every_backend(capsys):
    assert main(["doctor"]) == 0
    page = capsys.readouterr().out
    for name in ("nerf", "python", "torch", "processor", "gpu", "compilers", "optional", "backend"):
        assert f"\n{name:<11}" in "\n" + page
    for backend in ("reference: ok", "native: ", "cuda: ", "tcnn: "):
        assert f"self-test  {backend}" in page
    assert torch.__version__ in page


def test_a_backend_that_computes_wrong_is_told(monkeypatch, capsys):
    monkeypatch.setattr(doctor, "largest_error", lambda backend: (0.5, 0.0))
    assert main(["doctor"]) == 1
    assert "reference: WRONG, colours within 0.5 of the reference" in capsys.readouterr().out


@pytest.mark.skipif(not engine.available(), reason="the native engine was not built")
def test_an_engine_of_other_sources_is_told_and_the_rest_of_the_page_too(monkeypatch, capsys):
    monkeypatch.setattr(engine, "ABI", "of another version")
    engine.load.cache_clear()
    try:
        assert main(["doctor"]) == 1
    finally:
        engine.load.cache_clear()
    page = capsys.readouterr().out
    assert page.count("was built from another version of the sources; build it again: pip install") == 3
    assert "\nself-test  reference: ok" in page and "\nself-test  native: not here" in page


def test_the_small_problem_is_not_trivial():
    error, seconds = doctor.largest_error(choose_backend("reference"))
    assert error == 0 and seconds > 0
    rays = doctor.small_problem(choose_backend("reference"))[1]
    opacity = doctor.small_problem(choose_backend("reference"))[0].render(rays).opacity
    assert opacity.max() > 0.5 and opacity.std() > 0.05
