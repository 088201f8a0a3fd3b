"""Prints figures of how the program is built: sizes, documentation, imports, and the air on its pages.

    python benchmarks/house.py [CHECKOUT] [OTHER CHECKOUT]

It reads the source of one checkout, this one by default, or of two side by side, and runs nothing.
The figures are a mirror and no goal. What has to hold is in tests/test_architecture.py.
"""

from __future__ import annotations

import argparse
import ast
import io
import re
import tokenize
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median

REPOSITORY = Path(__file__).parents[1]
LONG_FILE = 400  # lines
LONG_LINE = 100  # characters
CPP_SUFFIXES = {".h", ".cpp", ".cu", ".cuh"}

Function = ast.FunctionDef | ast.AsyncFunctionDef


@dataclass(frozen=True)
class PythonFile:
    """One file of nerf/."""

    room: str  # the module or the folder at the top of nerf/ that it is in
    lines: list[str]
    tree: ast.Module
    comments: int

    @property
    def functions(self) -> list[Function]:
        """Every function, methods and nested ones included."""
        return [node for node in ast.walk(self.tree) if isinstance(node, Function)]


def python_files(checkout: Path) -> list[PythonFile]:
    """Returns the Python files of nerf/."""
    found = []
    for file in sorted((checkout / "nerf").rglob("*.py")):
        text = file.read_text(encoding="utf-8")
        tokens = tokenize.generate_tokens(io.StringIO(text).readline)
        comments = sum(token.type == tokenize.COMMENT for token in tokens)
        room = file.relative_to(checkout / "nerf").parts[0].removesuffix(".py")
        found.append(PythonFile(room, text.splitlines(), ast.parse(text), comments))
    return found


def first_statement(function: Function) -> int:
    """Returns the line on which a function's body begins, behind its docstring."""
    has_docstring = ast.get_docstring(function) is not None
    following = function.body[1:] if has_docstring else function.body
    return following[0].lineno if following else (function.end_lineno or 0) + 1


def function_length(function: Function) -> int:
    """Returns the lines of a function, without its docstring."""
    lines = (function.end_lineno or 0) - function.lineno + 1
    if ast.get_docstring(function) is not None:
        docstring = function.body[0]
        lines -= (docstring.end_lineno or 0) - docstring.lineno + 1
    return lines


def n_parameters(function: Function) -> int:
    """Returns how many parameters a function has, those aside that Python or torch passes."""
    arguments = function.args.posonlyargs + function.args.args + function.args.kwonlyargs
    return sum(argument.arg not in ("self", "cls", "ctx") for argument in arguments)


def is_packed(assignment: ast.Assign) -> bool:
    """Returns whether an assignment packs several into one: ``a, b = x, y``, but no swap."""
    target = assignment.targets[0]
    if not isinstance(target, ast.Tuple) or not isinstance(assignment.value, ast.Tuple):
        return False
    targets = {ast.unparse(element) for element in target.elts}
    return targets != {ast.unparse(element) for element in assignment.value.elts}


def imported_rooms(file: PythonFile) -> Iterator[str]:
    """Yields the room of every import from nerf, modules that are named in strings included."""
    modules = []
    for node in ast.walk(file.tree):
        if isinstance(node, ast.ImportFrom) and node.level == 0 and node.module == "nerf":
            modules += [f"nerf.{name.name}" for name in node.names]
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            modules.append(node.module or "")
        elif isinstance(node, ast.Import):
            modules += [name.name for name in node.names]
        elif isinstance(node, ast.Constant) and re.fullmatch(r"nerf(\.\w+)+(:\w+)?", str(node.value)):
            modules.append(node.value.partition(":")[0])

    for module in modules:
        parts = module.split(".")
        if parts[0] == "nerf" and len(parts) > 1 and parts[1] != file.room:
            yield parts[1]


def floors(checkout: Path) -> dict[str, int]:
    """Returns the height of each room in CONTRIBUTING.md's table; empty where there is no table."""
    page = checkout / "CONTRIBUTING.md"
    text = page.read_text(encoding="utf-8") if page.is_file() else ""
    _, _, behind = text.partition("<!-- rooms, from the roof down -->")
    table, _, _ = behind.partition("<!-- end of rooms -->")
    rows = [line.split("|")[1] for line in table.splitlines() if line.startswith("| `")]
    return {name: height for height, row in enumerate(reversed(rows)) for name in re.findall(r"`(\w+)", row)}


def percent(part: int, whole: int) -> str:
    """Returns a part of a whole, in per cent."""
    return f"{100 * part / max(whole, 1):.1f} %"


def spread(lengths: Sequence[int]) -> str:
    """Returns median, ninth decile and maximum."""
    if not lengths:
        return "n/a"
    ordered = sorted(lengths)
    return f"{median(ordered):g} / {ordered[len(ordered) * 9 // 10]} / {ordered[-1]}"


def size_figures(checkout: Path, files: list[PythonFile]) -> dict[str, str]:
    """Returns the sizes of files and functions."""
    lengths = [len(file.lines) for file in files]
    functions = [function for file in files for function in file.functions]
    top = [path for path in (checkout / "nerf").iterdir() if path.name != "__pycache__"]
    folders = [path for path in top if path.is_dir()]
    modules = [path for path in top if path.suffix == ".py"]
    return {
        "Python files": str(len(files)),
        "median lines of a file": f"{median(lengths):g}",
        f"files over {LONG_FILE} lines": str(sum(length > LONG_FILE for length in lengths)),
        "files + folders at the top of nerf/": f"{len(modules)} + {len(folders)}",
        "function lines, median / p90 / max": spread([function_length(function) for function in functions]),
        "most parameters": str(max(n_parameters(function) for function in functions)),
    }


def documentation_figures(files: list[PythonFile]) -> dict[str, str]:
    """Returns how much is documented and typed."""
    functions = [function for file in files for function in file.functions]
    public = [function for function in functions if not function.name.startswith("_")]
    documented = sum(ast.get_docstring(function) is not None for function in public)
    typed = sum(function.returns is not None for function in functions)
    return {
        "public functions with a docstring": percent(documented, len(public)),
        "functions with a typed return": percent(typed, len(functions)),
    }


def import_figures(checkout: Path, files: list[PythonFile]) -> dict[str, str]:
    """Returns how rooms import each other."""
    arrows = {(file.room, other) for file in files for other in imported_rooms(file)}
    mutual = [pair for pair in arrows if pair[0] < pair[1] and pair[::-1] in arrows]

    height = floors(checkout)
    upward = [(a, b) for a, b in arrows if a in height and b in height and height[b] >= height[a]]
    return {
        "imports between rooms": str(len(arrows)),
        "mutual imports of rooms": str(len(mutual)),
        "upward imports, by CONTRIBUTING.md": str(len(upward)) if height else "n/a",
    }


def air_figures(files: list[PythonFile]) -> dict[str, str]:
    """Returns how airy the pages are."""
    n_lines = sum(len(file.lines) for file in files)
    n_long = sum(len(line) > LONG_LINE for file in files for line in file.lines)

    # A nested function's lines are the outer one's too, and count once.
    n_body = 0
    n_blank = 0
    for file in files:
        body = {number for f in file.functions for number in range(first_statement(f), (f.end_lineno or 0) + 1)}
        n_body += len(body)
        n_blank += sum(not file.lines[number - 1].strip() for number in body)

    assignments = [node for file in files for node in ast.walk(file.tree) if isinstance(node, ast.Assign)]
    packed = sum(map(is_packed, assignments))
    return {
        "comments, of lines": percent(sum(file.comments for file in files), n_lines),
        "blank lines, of function bodies": percent(n_blank, n_body),
        "a, b = x, y, of assignments": percent(packed, len(assignments)),
        f"lines over {LONG_LINE} characters": percent(n_long, n_lines),
    }


def cpp_functions(text: str) -> list[int]:
    """Returns the lines of each function in C++ text: braces behind parentheses, outside of other functions."""
    code = re.sub(r'//[^\n]*|"(\\.|[^"\\\n])*"|\'(\\.|[^\'\\\n])\'', "", text)
    code = re.sub(r"/\*.*?\*/", lambda found: "\n" * found[0].count("\n"), code, flags=re.S)
    code = re.sub(r"^#.*?(?<!\\)$", lambda found: "\n" * found[0].count("\n"), code, flags=re.S | re.M)

    lengths = []
    head = 0  # where the words begin that say what the next brace opens
    depth = 0  # braces inside a function
    start = 0
    for mark in re.finditer(r"[{};]", code):
        words = code[head : mark.start()]
        if mark[0] == "{" and depth > 0:
            depth += 1
        elif mark[0] == "{" and "(" in words and not re.search(r"\b(namespace|enum)\b|=\s*$", words):
            depth = 1
            start = head + len(words) - len(words.lstrip())
        elif mark[0] == "}" and depth > 0:
            depth -= 1
            if depth == 0:
                lengths.append(code.count("\n", start, mark.end()) + 1)
        head = mark.end()
    return lengths


def cpp_figures(checkout: Path) -> dict[str, str]:
    """Returns the sizes of C++ and CUDA files and functions."""
    files = [file for file in sorted((checkout / "nerf").rglob("*")) if file.suffix in CPP_SUFFIXES]
    texts = [file.read_text(encoding="utf-8") for file in files]
    lengths = [length for text in texts for length in cpp_functions(text)]
    return {
        "C++ files": str(len(files)),
        f"C++ files over {LONG_FILE} lines": str(sum(len(text.splitlines()) > LONG_FILE for text in texts)),
        "C++ functions": str(len(lengths)),
        "C++ function lines, median / p90 / max": spread(lengths),
    }


def figures(checkout: Path) -> dict[str, str]:
    """Returns every figure of a checkout by its name."""
    files = python_files(checkout)
    return {
        **size_figures(checkout, files),
        **documentation_figures(files),
        **import_figures(checkout, files),
        **air_figures(files),
        **cpp_figures(checkout),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkouts", metavar="CHECKOUT", type=Path, nargs="*", default=[REPOSITORY])
    arguments = parser.parse_args()

    for checkout in arguments.checkouts:
        if not (checkout / "nerf").is_dir():
            parser.error(f"{checkout}: holds no folder nerf; name a checkout of this repository")
    columns = [figures(checkout) for checkout in arguments.checkouts]

    heads = [checkout.resolve().name for checkout in arguments.checkouts]
    print(f"| {'measured':40} |" + "".join(f" {head:>14} |" for head in heads))
    print(f"| {'-' * 40} |" + " -------------: |" * len(heads))
    for name in columns[0]:
        print(f"| {name:40} |" + "".join(f" {column[name]:>14} |" for column in columns))


if __name__ == "__main__":
    main()
