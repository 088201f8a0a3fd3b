"""What this machine can do at most, measured, and the least time that a stage of the engine could take on it."""

from __future__ import annotations

import json
import math
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy

from nerf import engine
from nerf.engine.build import find_compiler, instruction_sets
from nerf.training.radiance import RadianceTask

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


class Bound(NamedTuple):
    """The least thread-ns per used sample that a stage could take, and what of."""

    ns: float
    what: str


def at_size(machine: dict[str, object], key: str, size: int) -> float:
    """Returns a figure of memory, read_8_ns, change_16_ns or stream, for an array of `size` bytes.

    Between two that were measured it goes straight, over the logarithm of the size.
    """
    sizes, values = zip(*((math.log(row["bytes"]), row[key]) for row in machine["access"]))
    return float(numpy.interp(math.log(size), sizes, values))


@dataclass(frozen=True)
class Work:
    """What a step does for one used sample: samples marched, rays drawn, numbers in the lines that Adam moves."""

    marched: float
    rays: float
    moved: float


def bounds(machine: dict[str, object], task: RadianceTask, work: Work) -> dict[str, Bound]:
    """Returns by stage what arithmetic or memory allow.

    Networks: their products at the measured peak. The grid: an access to a row per corner and level, at the rate of
    what holds that level's table or gradient. What reads words one by one, at the rate of what holds them; what passes
    over arrays, at that of a stream through all of them. Nothing else is counted.
    """
    field, settings, cache = task.model.field, task.settings.field, 2**19
    peak = machine["bf16_gflops"] or machine["fma_gflops"]
    density = sum(weight.numel() for weight in field.density_mlp.weights)
    color = sum(weight.numel() for weight in field.color_mlp.weights)
    # The way back computes every layer's gradient by its inputs, save the colour network's by direction.
    by_direction = field.degree**2 * field.color_mlp.weights[0].shape[0]
    rows, features = field.encoding.table.shape
    # A vertex is read as bfloat16, 2 bytes a feature, 8 bytes at a time; its gradient is added to as 4 bytes a feature.
    row_reads = sum(
        8 * max(1.0, features / 4) * at_size(machine, "read_8_ns", level.rows * max(4, 2 * features))
        for level in field.encoding.levels
    )
    row_adds = sum(
        8 * max(1.0, features / 4) * at_size(machine, "change_16_ns", level.rows * features * 4)
        for level in field.encoding.levels
    )
    occupancy_read = at_size(machine, "read_8_ns", task.model.occupancy.occupied.numel() // 8)
    pixel_reads = sum(
        at_size(machine, "read_8_ns", tensor.numel() * tensor.element_size())
        for tensor in (task.views.images, task.pixels.candidates)
    )
    word = 2 if machine["bf16_gflops"] else 4  # bytes of a number as the networks read it
    # Packing reads place and encoding of what was marched and writes them of what is used, and its ray's harmonics.
    packed = (work.marched + 1) * (16 + word * features * settings.levels) + word * field.degree**2
    numbers, moments = 26, 34  # bytes of Adam a number: gradient, value, both moments read and written, packed written
    return {
        "draw": Bound(work.rays * pixel_reads, "a random read of list and picture a ray"),
        "trace": Bound(work.marched * occupancy_read, "a read of the occupancy bits a marched sample"),
        "density": Bound(
            work.marched * (2 * density / peak + row_reads) + 2 * density / peak,
            "a marched sample: products, a read a corner and level; products again of a used one",
        ),
        "gather": Bound(packed / at_size(machine, "stream", cache), f"{packed:.0f} bytes, streamed"),
        "color": Bound(2 * color / peak, "products"),
        "composite": Bound(4 * numbers / at_size(machine, "stream", cache), f"{numbers} numbers a sample, streamed"),
        "backward": Bound(2 * (density + color - by_direction) / peak, "products"),
        "weights": Bound(2 * (density + color) / peak, "products"),
        "scatter": Bound(row_adds, "an add a corner and level"),
        "adam": Bound(
            work.moved * moments / at_size(machine, "stream", 14 * rows * features),
            f"{moments} bytes a number of a moved line, streamed",
        ),
    }
