"""The structs have one text: ctypes' layout is the compiler's, and a library of another text is refused."""

from __future__ import annotations

import ctypes
import importlib.util
import re
import shutil
import subprocess
import sys
from ctypes import Structure
from pathlib import Path
from types import ModuleType

import pytest

from nerf import engine
from nerf.engine import kernels, signatures
from nerf.engine.build import BuildError, find_compiler, library_name
from nerf.engine.signatures import ABI, FUNCTIONS, SOURCES
from nerf.errors import InputError

CPP_NAMES = {
    **{name: f"{name}<float>" for name in ("HashGridCall", "MlpCall", "HarmonicsCall", "CompositeCall", "Contraction")},
    "MarchCallFloat": "MarchCall<float>",
    "MarchCallDouble": "MarchCall<double>",
}
STRUCTS = {
    kind.__name__: kind
    for module in (signatures, kernels)
    for kind in vars(module).values()
    if isinstance(kind, type) and issubclass(kind, Structure) and kind not in (Structure, signatures.Struct)
}


def compiler() -> str:
    """Returns the C++ compiler; skips where there is none."""
    try:
        return find_compiler()
    except BuildError as error:
        pytest.skip(str(error))


def load_by_path(folder: Path) -> ModuleType:
    """Returns a signatures.py that is no part of the package."""
    spec = importlib.util.spec_from_file_location("signatures_by_path", folder / "signatures.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def copy_of_the_sources(folder: Path) -> Path:
    shutil.copytree(SOURCES, folder / "src")
    shutil.copy(signatures.__file__, folder)
    return folder


def test_every_field_lies_where_the_compiler_puts_it(tmp_path):
    checks = []
    for name, kind in STRUCTS.items():
        struct = f"nerf::{CPP_NAMES.get(name, name)}"
        checks.append(f"static_assert(sizeof({struct}) == {ctypes.sizeof(kind)});")
        for field, _ in kind._fields_:
            here, there = getattr(kind, field), field.removesuffix("_")
            checks.append(f"static_assert(offsetof({struct}, {there}) == {here.offset});")
            checks.append(f"static_assert(sizeof({struct}::{there}) == {here.size});")
    headers = ("radiance.h", "ops.cpp", "baked.cpp", "stereo.h", "sight.h", "splats.h", "cuda/work.h")
    source = tmp_path / "layout.cpp"
    source.write_text("\n".join([*(f'#include "{header}"' for header in headers), *checks]))
    command = [compiler(), "-std=c++20", "-fsyntax-only", "-Wno-invalid-offsetof", "-Wno-psabi", f"-I{SOURCES}"]
    result = subprocess.run([*command, str(source)], capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    assert len(STRUCTS) == 39 and len(checks) > 400


def test_every_function_takes_what_the_table_says():
    c_types = {
        "int": ctypes.c_int,
        "int64_t": ctypes.c_int64,
        "uint64_t": ctypes.c_uint64,
        "const char*": ctypes.c_char_p,
        "void": None,
    }
    pointers = {"Model*": ctypes.c_void_p, "float*": ctypes.c_void_p} | {
        f"{CPP_NAMES.get(name, name)}*": ctypes.POINTER(kind)
        for name, kind in STRUCTS.items()
        if name in vars(signatures)
    }
    pointers |= {name.replace("<float>", "<double>"): kind for name, kind in pointers.items() if "March" not in name}

    def c_type(words: str) -> type | None:
        plain = words.replace("nerf::", "").strip()
        return c_types[plain] if plain in c_types else pointers[plain.removeprefix("const ")]

    text = "\n".join(source.read_text() for source in sorted(SOURCES.glob("*.cpp")))
    declared = {}
    for result, name, arguments in re.findall(r"^NERF_EXPORT (.+?)\b(nerf_\w+)\(([^)]*)\)", text, re.MULTILINE):
        kinds = [re.sub(r"\w+$", "", part.strip()) for part in arguments.split(",") if part.strip()]
        declared[name] = (c_type(result), tuple(map(c_type, kinds)))
    assert declared.pop("nerf_radiance_new")[1] == FUNCTIONS["nerf_radiance_new"][1]  # its result is no plain pointer
    assert declared == {name: taken for name, taken in FUNCTIONS.items() if name != "nerf_radiance_new"}


def test_the_numbers_are_those_of_the_sources():
    assert (signatures.MOST_LEVELS, signatures.DENSITY_LAYERS, kernels.THREADS) == (32, 2, 128)
    assert signatures.number("MOST_LAYERS") == signatures.DENSITY_LAYERS + signatures.MOST_COLOR_LAYERS
    assert signatures.BACKGROUNDS == {"black": 0, "white": 1, "random": 2}
    assert signatures.STAGES[0] == "draw" and signatures.STAGES[-1] == "cameras" and len(signatures.STAGES) == 11


def test_what_the_sources_do_not_say_is_refused():
    with pytest.raises(ValueError, match="0 declarations of Nothing"):
        signatures.fields("Nothing")
    with pytest.raises(ValueError, match="0 numbers named NOTHING"):
        signatures.number("NOTHING")
    with pytest.raises(ValueError, match="struct RadianceSpec: cannot read FieldShape shape"):
        signatures.fields("RadianceSpec")


def test_a_misspelt_field_of_work_is_refused():
    with pytest.raises(AttributeError, match="grad_positions"):
        kernels.Work().grad_positions = 1


def test_the_interface_needs_the_standard_library_alone():
    code = (
        "import importlib.util, sys\n"
        f"spec = importlib.util.spec_from_file_location('build', {str(SOURCES.parent / 'build.py')!r})\n"
        "module = importlib.util.module_from_spec(spec); sys.modules['build'] = module\n"
        "spec.loader.exec_module(module); print(module._abi(), 'torch' in sys.modules, 'nerf' in sys.modules)\n"
    )
    result = subprocess.run([sys.executable, "-I", "-S", "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.split() == [ABI, "False", "False"]


@pytest.mark.parametrize(
    ("old", "new", "same"),
    [
        ("float step_length;  // scene units", "float step_length;  // metres", True),
        ("uint64_t seed;\n    int64_t first_ray;", "int64_t first_ray;\n    uint64_t seed;", False),
        ("float near;        // distance", "double near;  // distance", False),
    ],
)
def test_the_abi_changes_with_the_layout_and_not_with_a_comment(tmp_path, old, new, same):
    folder = copy_of_the_sources(tmp_path)
    header = folder / "src" / "radiance_calls.h"
    text = header.read_text()
    assert old in text
    header.write_text(text.replace(old, new))
    assert (load_by_path(folder).ABI == ABI) == same


@pytest.mark.parametrize("source", ["", 'extern "C" const char* nerf_abi() { return "0123456789abcdef"; }'])
def test_a_library_of_other_sources_is_refused_with_the_mend(tmp_path, monkeypatch, source):
    file = tmp_path / "stale.cpp"
    file.write_text(source)
    library = tmp_path / library_name("baseline")
    subprocess.run([compiler(), "-shared", "-fPIC", str(file), "-o", str(library)], check=True)
    monkeypatch.setattr(engine, "FOLDER", tmp_path)
    with pytest.raises(
        InputError, match=r"another version of the sources; build it again: pip install -e \."
    ) as caught:
        engine.load.__wrapped__("baseline")
    assert str(library) in str(caught.value) and "\n" not in str(caught.value)


def test_the_libraries_here_are_of_these_sources(isa):
    assert engine.load(isa).call("nerf_abi") == ABI.encode()
