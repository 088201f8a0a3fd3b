"""What this machine can do at most, measured, and the least time that a stage of the engine could take on it."""

from __future__ import annotations

import json
import subprocess
import tempfile
from pathlib import Path

from nerf import engine
from nerf.config import Settings
from nerf.engine.build import find_compiler, instruction_sets
from nerf.field import RadianceField

SOURCE = Path(__file__).with_name("machine.cpp")


def measure() -> dict[str, object]:
    """Returns GFLOP/s of multiply-adds, of bfloat16 dot products (0 without them), and ns of random accesses by size.

    Of one core, with the instructions of the library that computes.
    """
    name = engine.library().name
    flags = next(entry.flags for entry in instruction_sets() if entry.name == name)
    with tempfile.TemporaryDirectory() as folder:
        program = Path(folder) / "machine"
        options = ["-std=c++20", "-O3", "-Wno-psabi", "-ffp-contract=fast", *flags]
        subprocess.run([find_compiler(), *options, str(SOURCE), "-o", str(program)], check=True)
        found = subprocess.run([str(program)], check=True, capture_output=True, text=True).stdout
    return {"instructions": name, **json.loads(found)}


def access_ns(machine: dict[str, object], kind: str, size: int) -> float:
    """Returns ns of a random access, `kind` read_8_ns or change_16_ns, to an array of `size` bytes."""
    rows = machine["access"]
    fitting = [row[kind] for row in rows if row["bytes"] >= size]
    return fitting[0] if fitting else rows[-1][kind]


def bounds(machine: dict[str, object], settings: Settings, field: RadianceField, marched: float) -> dict[str, float]:
    """Returns by stage the least thread-ns per used sample that arithmetic or memory allow.

    marched: samples that the density network sees for one that is used. Counted are the products of the networks at
    the measured peak, one access to a row per corner and level at the rate of what holds all tables (reading) or one
    level's gradient (adding); nothing else. Stages that do neither have no bound here.
    """
    peak = machine["bf16_gflops"] or machine["fma_gflops"]
    density = sum(weight.numel() for weight in field.density_mlp.weights)
    color = sum(weight.numel() for weight in field.color_mlp.weights)
    # The way back computes every layer's gradient by its inputs, save the colour network's by direction.
    by_direction = field.degree**2 * field.color_mlp.weights[0].shape[0]
    rows, features = field.encoding.table.shape
    corners = 8 * settings.field.levels
    # A vertex is read as bfloat16: 2 bytes a feature; 8 bytes at a time.
    reads = corners * max(1.0, features * 2 / 8)
    largest = max(level.rows for level in field.encoding.levels) * features * 4
    return {
        "density": marched
        * (2 * density / peak + reads * access_ns(machine, "read_8_ns", rows * max(4, 2 * features))),
        "color": 2 * color / peak,
        "backward": 2 * (density + color - by_direction) / peak,
        "weights": 2 * (density + color) / peak,
        "scatter": corners * max(1.0, features * 4 / 16) * access_ns(machine, "change_16_ns", largest),
    }
