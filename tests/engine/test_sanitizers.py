"""The kernels under the address and undefined-behaviour sanitizers: training, surfaces, pictures and back."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from nerf.engine.build import BuildError, find_compiler
from tests.engine.launchers import shim_folder
from tests.engine.shim import SANITIZED, build_shim

WORK = """
import sys
import torch
from pathlib import Path
from tests.engine.shim import ShimLauncher
from tests.backends.small_scene import ball_photographs, ball_task, ball_views, cuda_model, cuda_task

changes = {
    "field": {"features_per_level": 2, "levels": 5, "density_width": 19, "geometry_features": 17, "color_width": 21},
    "render": {"steps": 48, "occupancy_resolution": 19, "occupancy_every": 2, "occupancy_from": 2},
    "train": {"samples": 512},
}
settings, launcher = ball_task(changes=changes).settings, ShimLauncher(Path(sys.argv[1]))
task = cuda_task(ball_views(), settings, launcher)
for step in range(4):
    task.train_step(step, step / 4)
task.model.density(torch.rand(70, 3) - 0.5)
rays, code = task.views.cameras.image_rays(0)[200:300], torch.zeros(100, 5, requires_grad=True)
task.model.surface(rays)
coded_model = cuda_model(settings, launcher, task.model.box, code_size=5)
coded_model.render(rays, code).rgb.sum().backward()
settings = ball_task(changes={**changes, "scene": {"bounds": 0}}, views=ball_photographs()).settings
photographs = cuda_task(ball_photographs(), settings, launcher)
photographs.train_step(0, 0.0)
assert photographs.model.box.contraction and code.grad.any()
print("no complaint")
"""


def sanitizer_runtime() -> str:
    """Returns the library that must be loaded before Python; skips where the compiler has none."""
    try:
        compiler = find_compiler()
    except BuildError as error:
        pytest.skip(str(error))
    found = subprocess.run([compiler, "-print-file-name=libasan.so"], capture_output=True, text=True, check=True)
    if not Path(found.stdout.strip()).is_absolute():
        pytest.skip(f"{compiler} has no address sanitizer")
    return found.stdout.strip()


def test_the_kernels_run_clean_under_the_sanitizers():
    runtime = sanitizer_runtime()
    library = build_shim(shim_folder() / "sanitized.so", 2, SANITIZED)
    # Python itself never frees what it keeps to its end.
    environment = {**os.environ, "LD_PRELOAD": runtime, "ASAN_OPTIONS": "detect_leaks=0"}
    result = subprocess.run(
        [sys.executable, "-c", WORK, str(library)],
        capture_output=True,
        text=True,
        check=False,
        env=environment,
        cwd=Path(__file__).parents[2],
    )
    marks = ("ERROR: ", "runtime error: ", ".cu:", "located", "Error: ")
    complaints = [line for line in result.stderr.splitlines() if any(mark in line for mark in marks)]
    assert result.returncode == 0 and "no complaint" in result.stdout, "\n".join(complaints)
