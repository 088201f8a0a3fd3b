"""``python -m nerf``."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

REPOSITORY = Path(__file__).parents[2]


def test_modules_of_the_current_folder_are_not_imported(tmp_path):
    for name in ("yaml", "numpy", "torch", "safetensors", "argparse", "json"):
        (tmp_path / f"{name}.py").write_text(f"raise SystemExit('{name}.py of the current folder was imported')")
    words = ["train", "--scene", str(tmp_path / "none"), "--out", str(tmp_path / "run")]
    done = subprocess.run(
        [sys.executable, "-m", "nerf", *words],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(REPOSITORY)},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert "of the current folder" not in done.stderr and done.stderr.startswith("nerf: error: "), done.stderr
    assert done.returncode == 2


def test_it_still_runs_from_a_checkout_that_is_not_installed():
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run(
        [sys.executable, "-m", "nerf", "--version"], cwd=REPOSITORY, env=environment, capture_output=True, timeout=120
    )
    assert done.returncode == 0 and done.stdout.startswith(b"nerf ")
