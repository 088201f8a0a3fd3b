"""Clouds of random splats, and the reading of their .ply files: what tests and benchmarks share."""

import numpy
import torch

from nerf.splatting.splats import Splats

KINDS = {"float": "f4"}


def cloud(count=40, degree=4):
    drawn = torch.Generator().manual_seed(1)
    shapes = [(count, 3), (count, 3), (count, 4), (count,), (count, degree**2, 3)]
    mean, log_scale, turn, logit, harmonics = (torch.randn(*shape, generator=drawn) for shape in shapes)
    return Splats(0.5 * mean, 0.5 * log_scale - 2, turn, logit, 0.4 * harmonics)


def ply_table(file):
    """Returns the columns of a binary .ply file by their names."""
    head, _, data = file.read_bytes().partition(b"end_header\n")
    lines = [line.split() for line in head.decode().splitlines()]
    fields = [(line[2], f"<{KINDS[line[1]]}") for line in lines if line[0] == "property"]
    (count,) = (int(line[2]) for line in lines if line[0] == "element")
    table = numpy.frombuffer(data, fields)
    assert len(table) == count
    return {name: torch.from_numpy(table[name].copy()) for name, _ in fields}


def read_ply(file):
    """Returns the splats of a .ply file."""
    table = ply_table(file)

    def columns(*names):
        return torch.stack([table[name] for name in names], dim=1)

    more = sum(name.startswith("f_rest_") for name in table) // 3
    flat = columns("f_dc_0", "f_dc_1", "f_dc_2")[:, None]
    rest = [columns(*(f"f_rest_{channel * more + k}" for channel in range(3)))[:, None] for k in range(more)]
    scale = columns("scale_0", "scale_1", "scale_2")
    turn = columns("rot_0", "rot_1", "rot_2", "rot_3")
    return Splats(columns(*"xyz"), scale, turn, table["opacity"], torch.cat([flat, *rest], dim=1))
