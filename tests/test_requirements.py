"""What is installed: pins with hashes for every requirement of the metadata, at or above its oldest version."""

import importlib.metadata
import re
import runpy
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

setuptools = pytest.importorskip("setuptools")

REPOSITORY = Path(__file__).parents[1]
BY_MACHINE = {"torch", "tinycudann"}  # whose builds depend on the machine, and are installed as it needs
PLACES = [
    {"python_version": version, "python_full_version": f"{version}.9", "sys_platform": system, "extra": ""}
    for version in ("3.10", "3.11", "3.12", "3.13", "3.14")
    for system in ("linux", "darwin", "win32")
]


@pytest.fixture
def required(monkeypatch) -> list[Requirement]:
    """Returns the requirements that setup.py states, of all extras too."""
    stated = {}
    monkeypatch.setattr(setuptools, "setup", lambda **words: stated.update(words))
    runpy.run_path(str(REPOSITORY / "setup.py"))
    texts = [*stated["install_requires"], *(text for extra in stated["extras_require"].values() for text in extra)]
    return [Requirement(text) for text in texts]


def locked() -> list[tuple[Requirement, list[str]]]:
    """Returns the pins and the hashes of requirements-locked.txt."""
    text = (REPOSITORY / "requirements-locked.txt").read_text().replace("\\\n", " ")
    lines = [line for line in text.splitlines() if not line.startswith("#")]
    return [(Requirement(line.split(" --hash=")[0]), re.findall(r"--hash=(\S+)", line)) for line in lines]


def pins(place: dict[str, str] | None) -> dict[str, str]:
    """Returns the versions, by names, that are installed at a place (None: here)."""
    found = {}
    for pin, _ in locked():
        if pin.marker is None or pin.marker.evaluate(place):
            name = canonicalize_name(pin.name)
            assert name not in found, f"{name} twice: {place}"
            found[name] = str(pin.specifier).removeprefix("==")
    return found


def test_every_requirement_has_a_pin_with_a_hash_at_or_above_its_oldest_version(required):
    assert all(hashes and all(re.fullmatch("sha256:[0-9a-f]{64}", text) for text in hashes) for _, hashes in locked())
    assert all(re.fullmatch(r"==[\w.]+", str(pin.specifier)) for pin, _ in locked())
    wrong = []
    for place in PLACES:
        versions = pins(place)
        for requirement in required:
            name = canonicalize_name(requirement.name)
            if name in BY_MACHINE or (requirement.marker is not None and not requirement.marker.evaluate(place)):
                continue
            if not requirement.specifier.contains(versions.get(name, "0")):
                wrong.append(f"{requirement}: {versions.get(name)} at {place}")
    assert wrong == [] and len(required) > 20


def test_what_the_pins_need_themselves_is_pinned():
    versions = pins(None)
    missing = []
    for name in versions:
        try:
            needs = importlib.metadata.requires(name) or []
        except importlib.metadata.PackageNotFoundError:
            continue  # an extra that is not installed here
        for need in map(Requirement, needs):
            if need.marker is None or need.marker.evaluate({"extra": ""}):
                version = versions.get(canonicalize_name(need.name))
                if version is None:
                    missing.append(f"{name} needs {need}")
    assert missing == []


def test_the_torch_of_the_set_up_is_one_that_the_metadata_takes(required):
    (pin,) = (Requirement(line) for line in read_lines("requirements.txt"))
    (torch,) = (requirement for requirement in required if requirement.name == "torch")
    assert torch.specifier.contains(str(pin.specifier).removeprefix("=="))


def read_lines(name: str) -> list[str]:
    return [line for line in (REPOSITORY / name).read_text().splitlines() if line and not line.startswith("#")]
