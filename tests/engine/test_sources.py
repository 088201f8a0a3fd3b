"""How long the C++ and CUDA sources and their functions may be."""

from __future__ import annotations

import re

import pytest

from nerf.engine.build import SOURCES

FILES = sorted(file for pattern in ("*.h", "*.cpp", "*.cu") for file in SOURCES.rglob(pattern))
MOST_LINES = 400  # of a file
MOST_FUNCTION_LINES = 60
NO_FUNCTION = re.compile(
    r"\s*(//|#|(if|for|while|switch|else|do|namespace|class|struct|enum|public|private|protected)\b)"
)


def functions(text: str) -> dict[str, int]:
    """Returns how many lines every function has, by the first line of its head.

    A head begins at the left, or one level deeper in a class, where clang-format puts it, and has parentheses before
    its brace. The function ends at the next brace below the beginning.
    """
    lines = text.splitlines()
    found = {}
    for first, line in enumerate(lines):
        indent = re.match(" *", line)[0]
        if len(indent) not in (0, 4) or NO_FUNCTION.match(line):
            continue
        head = next((at for at in range(first, len(lines)) if not lines[at] or lines[at][-1] in "{};"), first)
        if not lines[head].endswith("{") or "(" not in "".join(lines[first : head + 1]):
            continue
        last = next((at for at in range(head, len(lines)) if lines[at].startswith(f"{indent}}}")), None)
        if last is not None:
            found[line.strip()] = last - first + 1
    return found


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)
def test_a_source_and_its_functions_are_not_too_long(file):
    text = file.read_text(encoding="utf-8")
    assert text.count("\n") <= MOST_LINES
    assert {head: lines for head, lines in functions(text).items() if lines > MOST_FUNCTION_LINES} == {}


def test_functions_are_counted():
    lines = [
        "int one(int a,",
        "        int b) {",
        "    return a;",
        "}",
        "class C {",
        "    void two() const {",
        "    }",
        "};",
    ]
    assert functions("\n".join(lines)) == {"int one(int a,": 4, "void two() const {": 2}
    whole = functions((SOURCES / "radiance_step.h").read_text(encoding="utf-8"))
    assert len(whole) >= 8 and whole["template <class A> StepReport Radiance<A>::step(const StepCall& call) {"] > 30
