"""The public face: what `import nerf` costs and offers, and the examples of docs/python-api.md."""

import os
import re
import subprocess
import sys
from pathlib import Path

import nerf
from tests.conftest import write_ball_scene

REPOSITORY = Path(__file__).parents[1]
PAGE = REPOSITORY / "docs" / "python-api.md"


def run_python(program: str, folder: Path) -> str:
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
    done = subprocess.run([sys.executable, "-c", program], cwd=folder, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_importing_nerf_loads_no_library_and_changes_nothing(tmp_path):
    program = (
        "import os, sys\n"
        "environment, modules = dict(os.environ), set(sys.modules)\n"
        "import nerf\n"
        "new = {name.partition('.')[0] for name in set(sys.modules) - modules}\n"
        "print(sorted(new - set(sys.stdlib_module_names)), environment == dict(os.environ))\n"
    )
    assert run_python(program, tmp_path) == "['nerf'] True\n"


def test_every_name_that_is_offered_is_there_and_said_on_the_page():
    page = PAGE.read_text()
    for name in nerf.__all__:
        assert getattr(nerf, name).__doc__
        assert name in dir(nerf)
    missing = [name for name in nerf.__all__ if f"nerf.{name}" not in page]
    assert missing == ["CropBox", "open_fit"]  # said in the docstrings of render and fit


def test_the_examples_of_the_page_run_one_after_another(tmp_path):
    # A scene put under data/ is taken before the built-in one of that name, and is much smaller.
    write_ball_scene(tmp_path / "data" / "lego")
    examples = re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL)
    assert len(examples) >= 9
    said = run_python("\n".join(examples), tmp_path)
    assert "50 steps" in said and "held-out views" in said and "no run in it" in said
    assert (tmp_path / "orbit.mp4").is_file() and (tmp_path / "tiny.ply").is_file()
