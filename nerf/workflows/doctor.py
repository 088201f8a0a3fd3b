"""What is here and what will be used: one page, and a small problem computed by every backend."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
import time
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

import torch

from nerf import __version__
from nerf.backends.choice import Backend, choose_backend
from nerf.config import settings_from_dict
from nerf.engine import FOLDER, available, nvrtc
from nerf.engine.build import BuildError, find_compiler, library_name
from nerf.engine.driver import why_no_gpu
from nerf.engine.kernels import KERNELS
from nerf.errors import InputError
from nerf.geometry.cameras import Rays
from nerf.geometry.scene_box import SceneBox
from nerf.rendering.model import RadianceModel
from nerf.seeding import generator

OPTIONAL = {
    "cuda-bindings": "compiles and launches the CUDA kernels",
    "nvidia-cuda-nvrtc": "compiles the CUDA kernels",
    "tinycudann": "--backend tcnn",
    "pycolmap": "poses of bare photographs",
    "xatlas": "textured meshes",
}
# Largest error of a colour in [0, 1]: bfloat16 keeps 8 bits, and the networks add some rounded products up.
TOLERANCE = 0.02


def page() -> tuple[list[str], bool]:
    """Returns the page's lines, and whether every self-test passed."""
    tests = list(self_tests())
    lines = [f"{name:<11}{text}" for name, text in [*facts(), *((name, text) for name, text, _ in tests)]]
    return lines, all(passed for _, _, passed in tests)


def facts() -> Iterator[tuple[str, str]]:
    """Yields (name, what is here)."""
    yield "nerf", f"{__version__}, in {Path(__file__).parent}"
    yield "python", f"{platform.python_version()} on {platform.system()} {platform.machine()}"
    yield "torch", f"{torch.__version__}, {torch.get_num_threads()} threads of {os.cpu_count()} cores"
    yield "processor", f"{_processor()}: {_instruction_sets()}"
    yield "gpu", why_no_gpu() or torch.cuda.get_device_name()
    yield "compilers", f"C++: {_compiler()}; NVRTC: {nvrtc.available() or 'not installed'}"
    for name, use in OPTIONAL.items():
        try:
            version = metadata.version(name)
        except metadata.PackageNotFoundError:
            version = "not installed"
        yield "optional", f"{name} {version} ({use})"
    try:
        chosen = choose_backend()
        yield "backend", f"{chosen.name} ({chosen.detail})"
    except InputError as error:
        yield "backend", str(error)


def self_tests() -> Iterator[tuple[str, str, bool]]:
    """Yields (name, what happened, whether that is well) of every backend; one that is not here is well.

    A native engine that was built and cannot be used, as after an update of the sources alone, is not.
    """
    for name in ("reference", "native", "cuda", "tcnn"):
        try:
            backend = choose_backend(name)
        except InputError as error:
            text = f"{name}: not here: {error}"
            well = name != "native" or not (FOLDER / library_name("baseline")).is_file()
            yield "self-test", text + (_compiled() if name == "cuda" and nvrtc.available() else ""), well
            continue
        error, seconds = largest_error(backend)
        verdict = "ok" if error <= TOLERANCE else "WRONG"
        text = f"{name}: {verdict}, colours within {error:.1g} of the reference ({seconds * 1000:.0f} ms)"
        yield "self-test", text, error <= TOLERANCE


def small_problem(backend: Backend) -> tuple[RadianceModel, Rays]:
    """Returns a model with random parameters that a backend computes, and rays through it."""
    settings = settings_from_dict(
        {
            "field": {"levels": 4, "log2_table_size": 10, "finest_resolution": 64},
            # Which samples are too light is decided by a bound: rounding would take some to its other side.
            "render": {"steps": 64, "occupancy_resolution": 16, "minimum_weight": 0.0},
        },
        "nerf doctor",
    )
    model = backend.model(settings, SceneBox(torch.full((3,), -1.0), 2.0))
    random = generator(0, "doctor")
    tensors = {name: value.clone() for name, value in model.field.state_dict().items()}
    tensors["encoding.table"] = tensors["encoding.table"].uniform_(-1, 1, generator=random).bfloat16().float()
    tensors["density_mlp.weights.1"][0] *= 6  # dense here, empty there
    model.field.load_tensors(tensors)
    origin = torch.randn(256, 3, generator=random)
    origin = 3 * origin / origin.norm(dim=1, keepdim=True)
    target = torch.empty(256, 3).uniform_(-0.5, 0.5, generator=random)
    return model, Rays(origin, torch.nn.functional.normalize(target - origin, dim=1))


def largest_error(backend: Backend) -> tuple[float, float]:
    """Returns the largest error of a colour or an opacity on the small problem, and the seconds that it took."""
    model, rays = small_problem(backend)
    truth = small_problem(choose_backend("reference"))[0]
    started = time.perf_counter()
    seen = model.render(rays)
    seconds = time.perf_counter() - started
    expected = truth.render(rays)
    apart = [(getattr(seen, part) - getattr(expected, part)).abs().max().item() for part in ("rgb", "opacity")]
    return max(apart), seconds


def _compiled() -> str:
    started = time.perf_counter()
    reports = nvrtc.compile_kernels("sm_90", 4).reports
    return f"; its {len(reports)} of {len(KERNELS)} kernels compile for sm_90 in {time.perf_counter() - started:.1f} s"


def _processor() -> str:
    information = Path("/proc/cpuinfo")
    if information.is_file():
        for line in information.read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def _instruction_sets() -> str:
    try:
        return ", ".join(available()) or "the native engine was not built"
    except InputError as error:
        return str(error)


def _compiler() -> str:
    try:
        path = find_compiler()
    except BuildError:
        return "none"
    told = subprocess.run([path, "--version"], capture_output=True, text=True, check=False)
    return f"{shutil.which(path)} ({told.stdout.partition(chr(10))[0]})"
