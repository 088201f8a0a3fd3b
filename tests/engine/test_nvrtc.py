"""The CUDA kernels compiled by NVRTC, which needs no GPU and no driver."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from nerf.engine import nvrtc
from nerf.engine.kernels import KERNELS
from nerf.errors import InputError

TABLE = Path(__file__).parents[2] / "docs" / "cuda.md"
NEEDS_NVRTC = pytest.mark.skipif(not nvrtc.available(), reason="NVRTC is not installed: pip install 'nerf[cuda]'")


@NEEDS_NVRTC
@pytest.mark.parametrize(
    ("architecture", "features"),
    [*((name, 4) for name in nvrtc.ARCHITECTURES), ("sm_90", 1), ("sm_90", 2), ("sm_90", 8)],
)
def test_every_kernel_compiles_without_spills(architecture, features):
    compiled = nvrtc.compile_kernels(architecture, features)
    assert compiled.cubin[:4] == b"\x7fELF"
    assert [report.name for report in compiled.reports] == sorted(KERNELS)
    assert [report for report in compiled.reports if report.spills or report.registers == 0] == []
    # Sine and cosine, of a fisheye lens, keep what reduces a huge angle on the stack.
    assert {report.name for report in compiled.reports if report.stack} <= {"draw_rays"}
    # 65536 registers hold five blocks of 128 such threads.
    assert max(report.registers for report in compiled.reports) <= 96


@NEEDS_NVRTC
def test_the_assembler_s_log_is_read():
    log = (
        "ptxas info    : Compiling entry function 'two' for 'sm_90'\n"
        "ptxas info    : Function properties for two\n"
        "    16 bytes stack frame, 8 bytes spill stores, 4 bytes spill loads\n"
        "ptxas info    : Used 40 registers\n"
    )
    assert nvrtc.reports(log) == (nvrtc.KernelReport("two", 40, 16, 8),)


@NEEDS_NVRTC
def test_what_was_compiled_is_kept_until_something_changes(tmp_path, monkeypatch):
    monkeypatch.setenv("NERF_CACHE", str(tmp_path))
    first, compiled = nvrtc.cached_cubin("sm_80", 2)
    again, compiled_again = nvrtc.cached_cubin("sm_80", 2)
    assert compiled and not compiled_again and first == again
    assert nvrtc.source_hash("sm_80", 2) != nvrtc.source_hash("sm_80", 4) != nvrtc.source_hash("sm_90", 4)
    sources = tmp_path / "src"
    monkeypatch.setattr(nvrtc, "SOURCES", sources)
    (sources / "cuda").mkdir(parents=True)
    before = nvrtc.source_hash("sm_80", 2)
    (sources / "march.h").write_text("// changed")
    assert nvrtc.source_hash("sm_80", 2) != before


@NEEDS_NVRTC
def test_an_architecture_that_the_compiler_does_not_know_is_refused():
    with pytest.raises(InputError, match="not for sm_30"):
        nvrtc.compile_kernels("sm_30", 4)


def test_a_compiler_that_is_not_installed_is_named(monkeypatch):
    import sys

    monkeypatch.setitem(sys.modules, "cuda.bindings", None)
    assert nvrtc.available() == ""
    with pytest.raises(InputError, match=r"pip install 'nerf\[cuda\]'"):
        nvrtc.compile_kernels("sm_90", 4)


def test_the_docs_table_has_every_kernel():
    assert sorted(re.findall(r"^\| `(\w+)` \| \d", TABLE.read_text(), re.MULTILINE)) == sorted(KERNELS)


def test_a_kept_cubin_that_is_cut_foreign_or_open_to_others_is_compiled_again(tmp_path, monkeypatch):
    made = iter([b"one", b"two", b"three", b"four", b"five"])
    monkeypatch.setenv("NERF_CACHE", str(tmp_path))
    monkeypatch.setattr(nvrtc, "compile_kernels", lambda *_: nvrtc.Compiled(next(made), ()))
    assert nvrtc.cached_cubin("sm_90", 4) == (b"one", True) and nvrtc.cached_cubin("sm_90", 4) == (b"one", False)
    (file,) = nvrtc.cache_folder().iterdir()
    assert nvrtc.cache_folder().stat().st_mode & 0o777 == 0o700
    file.write_bytes(file.read_bytes()[:-1])
    assert nvrtc.cached_cubin("sm_90", 4) == (b"two", True)
    file.write_bytes(b"")
    assert nvrtc.cached_cubin("sm_90", 4) == (b"three", True)
    file.chmod(0o666)
    assert nvrtc.cached_cubin("sm_90", 4) == (b"four", True)
    nvrtc.cache_folder().chmod(0o777)
    assert nvrtc.cached_cubin("sm_90", 4) == (b"five", True)
