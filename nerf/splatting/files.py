"""Files of Gaussian splats: .ply of 3D Gaussian splatting, .splat, .spz, and .glb with KHR_gaussian_splatting.

Sources: the program of Kerbl et al. 2023 (.ply); antimatter15's viewer (.splat); Niantic's format, version 3 (.spz);
the Khronos registry (.glb).
"""

from __future__ import annotations

import gzip
import math
import struct
from pathlib import Path

import numpy
import torch
from torch import Tensor
from torch.nn.functional import normalize

from nerf.color import linear, to_bytes
from nerf.errors import InputError
from nerf.files import check_writable, replacing
from nerf.geometry.gltf import Arrays
from nerf.geometry.similarity import Placement
from nerf.splatting.splats import Splats

SPZ_MAGIC, SPZ_VERSION = 0x5053474E, 3
SPZ_ANTIALIASED = 1  # flag: drawn so, they look at least as they should
SPZ_PLACE_BITS = 24
SPZ_STEPS = (8, 16)  # of 256: a harmonic of l = 1 is a multiple of the first, one of a higher l of the second

GLTF_POINTS = 0


def check_splats_file(file: Path) -> None:
    """Raises InputError now, not after the fit, if splats cannot be written under this name."""
    if file.suffix.lower() not in WRITERS:
        raise InputError(f'{file}: "{file.suffix}" is not a format of splats; use one of {", ".join(WRITERS)}')
    check_writable(file)


def write_splats(file: Path, splats: Splats, placed: Placement) -> None:
    """Writes splats, atomically.

    .spz and .glb have y up by their standards: unless the user said what is up, they are turned there, .glb by its
    node, which is in metres where it is known what lengths are.

    placed: where the splats were brought. All formats hold single precision: positions stay relative to its origin,
    which .ply has in a comment and .glb as the translation of its node.

    Raises:
        InputError: the file cannot be written, or its format does not hold them.
    """
    content = WRITERS[file.suffix.lower()](splats, placed)
    with replacing(file) as partial:
        partial.write_bytes(content)


def _ply(splats: Splats, placed: Placement) -> bytes:
    rest = splats.harmonics[:, 1:].transpose(1, 2).flatten(1)  # channel by channel
    columns = {
        "xyz": splats.mean,
        "n": torch.zeros(len(splats), 3),
        "f_dc_": splats.harmonics[:, 0],
        "f_rest_": rest,
        "opacity": splats.logit[:, None],
        "scale_": splats.log_scale,
        "rot_": normalize(splats.turn, dim=1),
    }
    names = [*"xyz", "nx", "ny", "nz"]
    names += [f"f_dc_{i}" for i in range(3)] + [f"f_rest_{i}" for i in range(rest.shape[1])]
    names += ["opacity", *(f"scale_{i}" for i in range(3)), *(f"rot_{i}" for i in range(4))]
    head = ["ply", "format binary_little_endian 1.0"]
    if any(placed.origin):
        head.append(f"comment origin {' '.join(map(repr, placed.origin))}")
    head += [f"element vertex {len(splats)}", *(f"property float {name}" for name in names), "end_header", ""]
    return "\n".join(head).encode("ascii") + _bytes(torch.cat([*columns.values()], dim=1))


def _splat(splats: Splats, placed: Placement) -> bytes:
    # The largest and most opaque first, as its viewers show a file while it loads.
    size = splats.log_scale.sum(1).exp() * splats.opacity
    splats = splats[size.sort(descending=True, stable=True).indices]
    place = torch.cat([splats.mean, splats.log_scale.exp()], dim=1).numpy().astype("<f4")
    rgba = to_bytes(torch.cat([splats.rgb, splats.opacity[:, None]], dim=1)).numpy()
    turn = (128 * normalize(splats.turn, dim=1) + 128).round().clamp(0, 255).byte().numpy()
    return numpy.concatenate([place.view("u1"), rgba, turn], axis=1).tobytes()


def _spz(splats: Splats, placed: Placement) -> bytes:
    splats = splats.moved(placed.y_up)

    # Positions have 24 bits, as many of them behind the point as the extent leaves.
    extent = max(splats.mean.abs().max().item() if len(splats) else 0.0, 1e-3)
    bits = SPZ_PLACE_BITS - 2 - math.ceil(math.log2(extent))
    if bits < 0:
        raise InputError(f".spz holds no place {extent:.3g} away from its origin; give a smaller --scale, or use .ply")
    place = (splats.mean.double() * 2**bits).round().int().numpy().astype("<i4")

    steps = torch.cat([torch.full((3,), SPZ_STEPS[0]), torch.full((12,), SPZ_STEPS[1])])[: splats.degree**2 - 1, None]
    harmonics = ((128 * splats.harmonics[:, 1:] + 128) / steps).round() * steps
    parts = [
        struct.pack("<IIIBBBB", SPZ_MAGIC, SPZ_VERSION, len(splats), splats.degree - 1, bits, SPZ_ANTIALIASED, 0),
        place.view("u1").reshape(-1, 4)[:, :3].tobytes(),
        _near_bytes(255 * splats.opacity),
        _near_bytes(255 * (0.15 * splats.harmonics[:, 0] + 0.5)),
        _near_bytes(16 * (splats.log_scale + 10)),
        _smallest_three(splats.turn),
        _near_bytes(harmonics),
    ]
    return gzip.compress(b"".join(parts), mtime=0)


def _smallest_three(turn: Tensor) -> bytes:
    """Returns quaternions (N, 4) in four bytes each: which of x, y, z, w is the largest, and the others by ten bits."""
    turn = normalize(turn, dim=1)[:, [1, 2, 3, 0]]
    largest = turn.abs().argmax(1, keepdim=True)
    turn = turn * torch.where(turn.gather(1, largest) < 0, -1.0, 1.0)
    size = (511 * 2**0.5 * turn.abs()).round().clamp(max=511).long()
    code = largest[:, 0]
    for axis in range(4):
        added = code << 10 | (turn[:, axis] < 0).long() << 9 | size[:, axis]
        code = torch.where(largest[:, 0] == axis, code, added)
    return code.numpy().astype("<u4").tobytes()


def _glb(splats: Splats, placed: Placement) -> bytes:
    opacity = splats.opacity[:, None]
    name = "KHR_gaussian_splatting:"
    harmonics = {
        f"{name}SH_DEGREE_{degree}_COEF_{number}": splats.harmonics[:, degree**2 + number]
        for degree in range(splats.degree)
        for number in range(2 * degree + 1)
    }
    # COLOR_0 is for readers that show points; it is linear.
    points = torch.cat([linear(splats.rgb), opacity], dim=1)
    arrays = {
        "POSITION": splats.mean,
        "COLOR_0": to_bytes(points),
        f"{name}ROTATION": normalize(splats.turn, dim=1)[:, [1, 2, 3, 0]],
        f"{name}SCALE": splats.log_scale.exp(),
        f"{name}OPACITY": opacity,
        **harmonics,
    }

    packed = Arrays()
    numbers = {key: packed.add(array, key == "POSITION", vertices=True) for key, array in arrays.items()}
    primitive = {
        "attributes": numbers,
        "mode": GLTF_POINTS,
        "extensions": {"KHR_gaussian_splatting": {"kernel": "ellipse", "colorSpace": "srgb_rec709_display"}},
    }
    return packed.file(
        {
            "extensionsUsed": ["KHR_gaussian_splatting"],
            "scenes": [{"nodes": [0]}],
            "nodes": [{"mesh": 0, "matrix": placed.gltf.T.flatten().tolist()}],
            "meshes": [{"primitives": [primitive]}],
        }
    )


def _near_bytes(value: Tensor) -> bytes:
    """Returns the nearest numbers in 0 .. 255."""
    return value.round().clamp(0, 255).byte().numpy().tobytes()


def _bytes(value: Tensor) -> bytes:
    """Returns numbers in single precision, little endian."""
    return value.float().numpy().astype("<f4").tobytes()


WRITERS = {".ply": _ply, ".splat": _splat, ".spz": _spz, ".glb": _glb}
