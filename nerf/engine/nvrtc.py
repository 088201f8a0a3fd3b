"""The CUDA kernels compiled at first use, by NVRTC: NVIDIA's compiler as a library, without driver or toolkit.

It comes with the packages cuda-bindings and nvidia-cuda-nvrtc (``pip install 'nerf[cuda]'``). What was compiled is kept
on disk, under a name made of the sources, the options and the compiler's version.
"""

from __future__ import annotations

import hashlib
import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nerf.errors import InputError
from nerf.files import replacing

if TYPE_CHECKING:
    from types import ModuleType

SOURCES = Path(__file__).parent / "src"
KERNELS = SOURCES / "cuda" / "kernels.cu"
ARCHITECTURES = ("sm_80", "sm_90", "sm_120")  # what the tests compile for: A100, H100, RTX 50
# Headers that NVRTC lacks; cuda/nvrtc.h says what the engine uses of them.
STANDARD = (
    *("algorithm", "cmath", "cstddef", "cstdint", "cstdlib", "cstring"),
    *("limits", "new", "type_traits", "utility", "vector"),
)
HOW = "pip install 'nerf[cuda]', or pip install cuda-bindings nvidia-cuda-nvrtc"


@dataclass(frozen=True)
class KernelReport:
    """What a kernel takes of a GPU, as the assembler tells: registers a thread, bytes of stack and of spills."""

    name: str
    registers: int
    stack: int
    spills: int


@dataclass(frozen=True)
class Compiled:
    """A cubin for one architecture and number of features, and what the assembler told of its kernels."""

    cubin: bytes
    reports: tuple[KernelReport, ...]


def available() -> str:
    """Returns the compiler's version, or an empty text where it is not installed."""
    try:
        return ".".join(map(str, _checked(_nvrtc(), "nvrtcVersion")))
    except InputError:
        return ""


def options(architecture: str, features: int) -> list[str]:
    """Returns the compiler's options."""
    return [
        f"--gpu-architecture={architecture}",
        "--std=c++20",
        # A function without a word of CUDA is the GPU's: the headers need none.
        "--device-as-default-execution-space",
        "-DNERF_ONE_LANE",
        f"-DNERF_FEATURES={features}",
        f"--include-path={SOURCES}",
        f"--pre-include={SOURCES / 'cuda' / 'nvrtc.h'}",
        "--ptxas-options=--verbose",
    ]


def compile_kernels(architecture: str, features: int) -> Compiled:
    """Returns the kernels for an architecture (``sm_90``) and a table with so many features a vertex.

    Raises:
        InputError: the compiler is not installed, or does not know the architecture.
        RuntimeError: it refused the sources.
    """
    nvrtc = _nvrtc()
    known = [f"sm_{number}" for number in _checked(nvrtc, "nvrtcGetSupportedArchs")]
    if architecture not in known:
        raise InputError(f"CUDA: this NVRTC compiles for {', '.join(known)}, not for {architecture}; {HOW} --upgrade")
    headers = [name.encode() for name in STANDARD]
    program = _checked(
        nvrtc, "nvrtcCreateProgram", KERNELS.read_bytes(), b"kernels.cu", len(headers), [b"\n"] * len(headers), headers
    )
    words = [word.encode() for word in options(architecture, features)]
    (failed,) = nvrtc.nvrtcCompileProgram(program, len(words), words)
    log = bytearray(_checked(nvrtc, "nvrtcGetProgramLogSize", program))
    _checked(nvrtc, "nvrtcGetProgramLog", program, log)
    text = bytes(log).decode(errors="replace").rstrip("\0\n")
    if failed:
        raise RuntimeError(f"NVRTC refused {KERNELS} for {architecture}:\n{text}")
    cubin = bytearray(_checked(nvrtc, "nvrtcGetCUBINSize", program))
    _checked(nvrtc, "nvrtcGetCUBIN", program, cubin)
    _checked(nvrtc, "nvrtcDestroyProgram", program)
    return Compiled(bytes(cubin), reports(text))


def reports(log: str) -> tuple[KernelReport, ...]:
    """Returns what the assembler's log says of every kernel, by name."""
    found = []
    for part in log.split("Compiling entry function '")[1:]:
        numbers = [
            int(match[1]) if match else 0
            for match in (
                re.search(r"Used (\d+) registers", part),
                re.search(r"(\d+) bytes stack frame", part),
                re.search(r"(\d+) bytes spill stores", part),
            )
        ]
        found.append(KernelReport(part.partition("'")[0], *numbers))
    return tuple(sorted(found, key=lambda report: report.name))


def cached_cubin(architecture: str, features: int, anew: bool = False) -> tuple[bytes, bool]:
    """Returns the kernels' cubin, and whether it had to be compiled. anew: what is kept is not looked at.

    Kernels run with all that the user may do: what others could have written is compiled again, and so is what was cut.

    Raises:
        InputError: see `compile_kernels`.
    """
    file = cache_folder() / f"{source_hash(architecture, features)}.cubin"
    if not anew and (kept := _kept_cubin(file)):
        return kept, False
    cubin = compile_kernels(architecture, features).cubin
    file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    if _is_mine(file.parent):
        with replacing(file) as partial:
            partial.write_bytes(hashlib.sha256(cubin).digest() + cubin)
    return cubin, True


def _kept_cubin(file: Path) -> bytes:
    """Returns the cubin in a file of the cache; nothing if it is not whole, or somebody else may have written it."""
    if not (_is_mine(file.parent) and file.is_file() and _is_mine(file)):
        return b""
    data = file.read_bytes()
    check = data[: hashlib.sha256().digest_size]
    cubin = data[len(check) :]
    return cubin if hashlib.sha256(cubin).digest() == check else b""


def _is_mine(path: Path) -> bool:
    """Returns whether a file or folder is this user's, and nobody else may write to it."""
    if not hasattr(os, "getuid"):
        return True
    try:
        status = path.stat()
    except OSError:
        return False
    return status.st_uid == os.getuid() and not status.st_mode & 0o022


def source_hash(architecture: str, features: int) -> str:
    """Returns what tells one compilation from another: sources, options and the compiler's version."""
    digest = hashlib.sha256()
    for file in sorted([*SOURCES.glob("*.h"), *(SOURCES / "cuda").iterdir()]):
        digest.update(f"{file.name}\0{file.stat().st_size}\0".encode() + file.read_bytes())
    digest.update("\0".join(["", architecture, str(features), available()]).encode())
    return digest.hexdigest()[:32]


def cache_folder() -> Path:
    """Returns where cubins are kept: NERF_CACHE, else the user's cache folder."""
    base = os.environ.get("NERF_CACHE") or os.environ.get("XDG_CACHE_HOME")
    return Path(base or Path.home() / ".cache") / "nerf" / "cubins"


def _nvrtc() -> ModuleType:
    try:
        from cuda.bindings import nvrtc  # pyright: ignore[reportAttributeAccessIssue]  compiled, no stubs

        nvrtc.nvrtcVersion()  # finds the library, which may be missing where the bindings are not
    except (ImportError, RuntimeError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise InputError(f"CUDA: the compiler NVRTC is not installed ({reason}); {HOW}") from None
    return nvrtc


def _checked(nvrtc: ModuleType, function: str, *arguments: Any) -> Any:
    """Returns what an NVRTC function returns beside its error code; a tuple if it is several things."""
    error, *values = getattr(nvrtc, function)(*arguments)
    if error:
        raise RuntimeError(f"{function}: {error!r}")
    return values[0] if len(values) == 1 else tuple(values)


if __name__ == "__main__":
    columns = [compile_kernels(architecture, 4).reports for architecture in ARCHITECTURES]
    print("kernel", *ARCHITECTURES, "bytes spilled", "bytes of stack", sep="\t")
    for row in zip(*columns):
        most = (max(report.spills for report in row), max(report.stack for report in row))
        print(row[0].name, *(report.registers for report in row), *most, sep="\t")
