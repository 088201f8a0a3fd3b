"""How the engine is built, found and chosen."""

from __future__ import annotations

import math
import re
import shutil
import subprocess

import pytest

from nerf import engine
from nerf.backends import cuda_arrays as cuda_tensors
from nerf.backends import reference
from nerf.engine.build import SOURCES, BuildError, build, find_compiler, instruction_sets, library_name
from nerf.engine.signatures import FUNCTIONS
from nerf.errors import InputError
from nerf.geometry import contraction
from nerf.ops import march, splats
from nerf.rendering import occupancy

# Numbers that decide what is computed, which C++ and Python both have to name.
SHARED = {
    "OCCUPANCY_DECAY": occupancy.DECAY,
    "LEAST_THICKNESS": occupancy.LEAST_THICKNESS,
    "CELLS_PER_PROBE": occupancy.CELLS_PER_PROBE,
    "NEGLIGIBLE_WEIGHT": reference.NEGLIGIBLE_WEIGHT,
    "PART_OF_HEAVIEST": reference.PART_OF_HEAVIEST,
    "FAR": contraction.FAR,
    "MOST_STEPS": march.MOST_STEPS,
    "PIXEL_BLUR": splats.PIXEL_BLUR,
    "MOST_ALPHA": splats.MOST_ALPHA,
    "LEAST_LIGHT": splats.LEAST_LIGHT,
    "LEAST_SHARE": splats.LEAST_SHARE,
    "WIDEST": splats.WIDEST,
    "FINE": math.log2(cuda_tensors.FINE),
    "COARSE": math.log2(cuda_tensors.COARSE),
}


@pytest.mark.parametrize("name", SHARED)
def test_the_reference_and_the_engine_agree_on_a_number(name):
    text = "".join(source.read_text(encoding="utf-8") for source in SOURCES.glob("*.h"))
    (found,) = re.findall(rf"\b{name} = ([0-9.e+-]+?)f?[,;]", text)
    assert float(found) == SHARED[name]


@pytest.mark.skipif(shutil.which("nm") is None, reason="needs nm of the binutils")
@pytest.mark.parametrize("name", [entry.name for entry in instruction_sets()])
def test_every_library_exports_exactly_the_functions_of_the_table(name):
    symbols = subprocess.run(
        ["nm", "-D", "--defined-only", str(engine.FOLDER / library_name(name))],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    exported = {line.split()[-1] for line in symbols.splitlines() if " T " in line}
    assert exported == set(FUNCTIONS)


def test_the_fastest_instruction_set_is_chosen(monkeypatch):
    monkeypatch.delenv("NERF_ISA", raising=False)
    assert engine.library().name == engine.available()[-1]


def test_the_environment_overrides_the_choice(isa):
    assert engine.library().name == isa


def test_an_unknown_instruction_set_is_refused_with_the_nearest(monkeypatch):
    monkeypatch.setenv("NERF_ISA", "avx51")
    with pytest.raises(InputError, match='"avx51" is not an instruction set; did you mean "avx512"'):
        engine.library()


def test_a_library_that_was_not_built_says_how_to_get_it(monkeypatch, tmp_path):
    monkeypatch.setattr(engine, "FOLDER", tmp_path)
    assert engine.available() == []
    with pytest.raises(InputError, match=r"pip install again, or use --backend reference"):
        engine.load.__wrapped__("baseline")


def test_a_damaged_library_says_so(monkeypatch, tmp_path):
    (tmp_path / library_name("baseline")).write_bytes(b"not a library")
    monkeypatch.setattr(engine, "FOLDER", tmp_path)
    with pytest.raises(InputError, match="does not load") as caught:
        engine.load.__wrapped__("baseline")
    assert isinstance(caught.value.__cause__, OSError)


def test_a_missing_compiler_is_named(monkeypatch):
    monkeypatch.setenv("CXX", "no-such-compiler")
    with pytest.raises(BuildError, match="no-such-compiler not found"):
        find_compiler()


def test_a_failing_compiler_shows_its_words(monkeypatch, tmp_path):
    compiler = tmp_path / "compiler"
    compiler.write_text("#!/bin/sh\necho 'no space left' >&2\nexit 1\n")
    compiler.chmod(0o755)
    monkeypatch.setenv("CXX", str(compiler))
    with pytest.raises(BuildError, match="no space left"):
        build(tmp_path / "out")
    assert list((tmp_path / "out").iterdir()) == []


@pytest.mark.skipif(not engine.available() or not shutil.which("readelf"), reason="no library, or no readelf, here")
def test_the_libraries_are_hardened():
    for name in engine.available():
        command = ["readelf", "--wide", "--dynamic", "--program-headers", "--dyn-syms"]
        path = str(engine.FOLDER / library_name(name))
        told = subprocess.run([*command, path], capture_output=True, text=True, check=True).stdout
        assert "BIND_NOW" in told and "GNU_RELRO" in told and "__stack_chk_fail" in told, name
        assert re.search(r"GNU_STACK.* RW +0x", told), name
