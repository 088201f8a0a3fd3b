"""The house rules of CONTRIBUTING.md, checked on the source."""

import ast
import dataclasses
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from nerf.config import Settings
from nerf.signals.settings import FitSettings

REPOSITORY = Path(__file__).parents[1]
FILES = sorted((REPOSITORY / "nerf").rglob("*.py"))


def floors() -> list[list[str]]:
    """Returns the rooms of CONTRIBUTING.md's table, lowest floor first: the one list of what may import what."""
    text = (REPOSITORY / "CONTRIBUTING.md").read_text()
    table = text.split("<!-- rooms, from the roof down -->")[1].split("<!-- end of rooms -->")[0]
    rows = [line.split("|")[1] for line in table.splitlines() if line.startswith("| `")]
    return [re.findall(r"`(\w+)", row) for row in reversed(rows)]


# digger.py is the built-in scene's list of bricks: data in the shape of calls.
BUDGET = {"digger.py": 520}
LAZY = {"open3d", "skimage", "scipy", "trimesh", "imageio", "imageio_ffmpeg", "tqdm", "PIL", "yaml", "safetensors"}
LAZY |= {
    "pycolmap",
    "xatlas",
    "OpenEXR",
    "constriction",
    "cuda",
    "tinycudann",
    "nibabel",
    "pydicom",
    "pillow_heif",
    "websockets",
}


def room(file: Path) -> str:
    """Returns the floor table's word for a file: its top-level module or package."""
    first = file.relative_to(REPOSITORY / "nerf").parts[0]
    return first.removesuffix(".py")


def imports(tree: ast.AST):
    """Yields (module, node) of every absolute import in a file, those named in strings included."""
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.level == 0:
            yield node.module, node
        elif isinstance(node, ast.Import):
            for name in node.names:
                yield name.name, node
        elif isinstance(node, ast.Constant) and re.fullmatch(r"nerf(\.\w+)+(:\w+)?", str(node.value)):
            yield node.value.partition(":")[0], node  # a module named in a string, to be imported later


def test_imports_only_go_down():
    height = {name: index for index, floor in enumerate(floors()) for name in floor}
    wrong = sorted({room(file) for file in FILES} - height.keys() - {"__init__"})
    for file in FILES:
        here = room(file)
        if here == "__init__":
            continue
        for module, _ in imports(ast.parse(file.read_text())):
            parts = module.split(".")
            if parts[0] != "nerf" or len(parts) == 1 or parts[1] == here:
                continue
            if height[parts[1]] >= height[here]:
                wrong.append(f"{here} imports {module}")
    assert wrong == []


def test_heavy_libraries_load_when_used_not_at_import():
    wrong = []
    for file in FILES:
        for node in ast.parse(file.read_text()).body:
            if isinstance(node, (ast.Import, ast.ImportFrom)):
                for module, _ in imports(node):
                    if module.split(".")[0] in LAZY:
                        wrong.append(f"{file.name}: {module}")
    assert wrong == []


def is_packed(assignment: ast.Assign) -> bool:
    """Returns whether an assignment packs several into one: ``a, b = x, y``, but no swap."""
    target = assignment.targets[0]
    if not isinstance(target, ast.Tuple) or not isinstance(assignment.value, ast.Tuple):
        return False
    targets = {ast.unparse(element) for element in target.elts}
    return targets != {ast.unparse(element) for element in assignment.value.elts}


def test_values_that_have_nothing_to_do_with_each_other_are_assigned_one_by_one():
    packed = []
    n_assignments = 0
    for file in FILES:
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.Assign):
                n_assignments += 1
                if is_packed(node):
                    packed.append(f"{file.relative_to(REPOSITORY)}:{node.lineno}")
    assert len(packed) <= 0.02 * n_assignments, packed


def test_long_functions_are_in_paragraphs():
    wrong = []
    for file in FILES:
        if file.name in BUDGET:
            continue
        text = file.read_text()
        lines = text.splitlines()
        for node in ast.walk(ast.parse(text)):
            if not isinstance(node, ast.FunctionDef):
                continue
            statements = node.body[1:] if ast.get_docstring(node) else node.body
            body = lines[statements[0].lineno - 1 : node.end_lineno] if statements else []
            if len(body) > 20 and all(line.strip() for line in body):
                wrong.append(f"{file.relative_to(REPOSITORY)}: {node.name}")
    assert wrong == []


def test_what_a_run_says_goes_through_the_report():
    # There strangers' words become plain. Two files of the engine are programs, too.
    may_print = re.compile(r"report\.py|engine/(build|nvrtc)\.py")
    writes = re.compile(r"\bprint\(|sys\.(__)?std(out|err)|\btqdm\b|warnings\.warn\(|print_exc\(|os\.write\(")
    wrong = [
        f"{name}: {ast.unparse(node)}"
        for file in FILES
        if not may_print.match(name := str(file.relative_to(REPOSITORY / "nerf")))
        for node in ast.walk(ast.parse(file.read_text()))
        if isinstance(node, (ast.Call, ast.Attribute, ast.Import, ast.ImportFrom))
        and writes.match(ast.unparse(node))
        or isinstance(node, (ast.Import, ast.ImportFrom))
        and "tqdm" in ast.unparse(node)
    ]
    assert wrong == []


def test_json_and_yaml_of_strangers_are_read_at_one_place():
    # Formats that are read with errors of their own kind may parse by themselves; nothing else does.
    may_parse = ("files.py", "scenes/blender.py", "scenes/transforms.py", "runs.py")
    parsing = {
        str(file.relative_to(REPOSITORY / "nerf"))
        for file in FILES
        if re.search(r"json\.loads?\(|yaml\.(safe_)?load\(", file.read_text())
    }
    assert parsing <= {*may_parse}


def test_what_is_written_in_place_is_opened_at_one_place():
    # A run folder may be a stranger's, with a link or a pipe where the log is. All else is written beside and renamed.
    wrong = [
        f"{file.relative_to(REPOSITORY)}:{node.lineno}"
        for file in FILES
        if file.relative_to(REPOSITORY / "nerf") != Path("files.py")
        for node in ast.walk(ast.parse(file.read_text()))
        if isinstance(node, ast.Call)
        if re.match(r"os\.open\((?!os\.devnull)|(.*\.)?open\(.*'(a|r\+|x)[bt]?'", ast.unparse(node))
    ]
    assert wrong == []


def test_every_name_that_ffmpeg_is_given_is_a_file():
    calls = [
        (f"{file.relative_to(REPOSITORY)}:{node.lineno}", function, ast.unparse(node))
        for file in FILES
        for node in ast.walk(ast.parse(file.read_text()))
        if isinstance(node, ast.Call)
        if (function := ast.unparse(node.func).split(".")[-1])
        in ("read_frames", "write_frames", "count_frames_and_secs")
    ]
    wrong = [where for where, function, text in calls if f"{function}(ffmpeg_name(" not in text]
    assert len(calls) >= 2 and wrong == []
    # One route into films, one out of them, and one out of pictures of 16 bits.
    pictures = "nerf/scenes/pictures.py"
    assert {(function, where.startswith(pictures)) for where, function, _ in calls} == {
        ("write_frames", False),
        ("read_frames", True),
    }

    readers = [file for file in FILES if "get_ffmpeg_exe" in file.read_text()]
    assert [file.relative_to(REPOSITORY / "nerf").as_posix() for file in readers] == ["scenes/films.py"]
    assert '*FILES_ONLY, "-i", ffmpeg_name(file)]' in readers[0].read_text()


def test_every_picture_is_opened_through_the_one_gate():
    wrong = [
        f"{file.relative_to(REPOSITORY)}:{node.lineno}"
        for file in FILES
        if file.relative_to(REPOSITORY / "nerf") != Path("scenes", "pictures.py")
        for node in ast.walk(ast.parse(file.read_text()))
        if isinstance(node, ast.Call)
        if re.search(r"(^|\.)(Image\.open|imread|imopen|get_reader|read_image|read_png)$", ast.unparse(node.func))
    ]
    assert wrong == []


def test_files_functions_and_parameter_lists_stay_small():
    wrong = []
    for file in FILES:
        text = file.read_text()
        if len(text.splitlines()) > BUDGET.get(file.name, 400):
            wrong.append(f"{file.name}: {len(text.splitlines())} lines")
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.FunctionDef):
                lines = node.end_lineno - node.lineno + 1 - len((ast.get_docstring(node) or "").splitlines())
                arguments = [a.arg for a in node.args.args + node.args.kwonlyargs if a.arg not in ("self", "ctx")]
                if lines > 60 or len(arguments) > 8 or node.args.kwarg:
                    wrong.append(f"{file.name}: {node.name}")
    assert wrong == []


def test_public_functions_say_what_they_return():
    wrong = []
    for file in FILES:
        for node in ast.parse(file.read_text()).body:
            if isinstance(node, (ast.FunctionDef, ast.ClassDef)) and not node.name.startswith("_"):
                if any(ast.unparse(decorator) == "overload" for decorator in node.decorator_list):
                    continue  # a signature alone: the function itself follows
                untyped = isinstance(node, ast.FunctionDef) and node.returns is None
                if ast.get_docstring(node) is None or untyped:
                    wrong.append(f"{file.name}: {node.name}")
        if ast.get_docstring(ast.parse(file.read_text())) is None:
            wrong.append(file.name)
    assert wrong == []


def test_pyright_is_silent():
    pytest.importorskip("pyright", reason="pyright is not installed; it is in the extra nerf[test]")
    command = [sys.executable, "-m", "pyright", "--pythonpath", sys.executable, str(REPOSITORY / "nerf")]
    environment = {**os.environ, "PYRIGHT_PYTHON_IGNORE_WARNINGS": "1"}
    done = subprocess.run(command, cwd=REPOSITORY, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def test_nothing_is_swallowed_evaluated_or_unpickled():
    forbidden = r"except:|except Exception:\s*pass|(?<!\.)\beval\(|\bexec\(|pickle|torch\.load\(|shell=True"
    wrong = [file.name for file in FILES if re.search(forbidden, file.read_text())]
    assert wrong == []


def test_every_setting_is_read_somewhere():
    text = "\n".join(file.read_text() for file in FILES if file.name not in ("config.py", "settings.py"))
    unread = [
        f"{section.name}.{entry.name}"
        for section in (*dataclasses.fields(Settings), *dataclasses.fields(FitSettings))
        for entry in dataclasses.fields(section.default)
        if not re.search(rf"\.{entry.name}\b", text)
    ]
    assert unread == []


def test_every_test_can_fail():
    empty = []
    for file in sorted((REPOSITORY / "tests").rglob("test_*.py")):
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.FunctionDef) and node.name.startswith("test_"):
                source = ast.unparse(node)
                if not re.search(r"\bassert\b|pytest\.raises", source):
                    empty.append(f"{file.name}: {node.name}")
    assert empty == []


def test_no_file_names_a_place_of_one_machine():
    folders = "|".join(["work", "tmp", "root", "home"])
    pattern = re.compile(rf"""["'\s(]/({folders})/""")
    files = [*FILES, *(REPOSITORY / "tests").rglob("*.py"), *(REPOSITORY / "scripts").rglob("*.py")]
    assert [file.name for file in files if pattern.search(file.read_text())] == []


def test_every_extra_that_a_message_or_page_names_exists():
    setup = (REPOSITORY / "setup.py").read_text()
    pages = [*FILES, *REPOSITORY.glob("*.md"), *(REPOSITORY / "docs").glob("*.md"), *REPOSITORY.glob("*/README.md")]
    named = {name for page in pages for name in re.findall(r"nerf\[(\w+)\]", page.read_text())}
    assert named and not {name for name in named if f'"{name}": [' not in setup}
