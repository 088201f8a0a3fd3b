"""glTF 2.0: binary files of arrays, and cameras that move in them. Source: the Khronos specification, 2.0.1.

A camera of glTF looks along its -z axis, and its y axis points up.
"""

from __future__ import annotations

import base64
import json
import math
import struct
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy
import torch
from torch import Tensor

from nerf.errors import InputError
from nerf.files import check_readable, parsed_json
from nerf.geometry.cameras import LARGEST, Cameras
from nerf.geometry.similarity import Placement

MAGIC, VERSION, JSON_CHUNK, BINARY_CHUNK = 0x46546C67, 2, 0x4E4F534A, 0x004E4942
FLOAT, BYTE, VERTICES = 5126, 5121, 34962
KINDS = {1: "SCALAR", 3: "VEC3", 4: "VEC4"}
MOST_BYTES = 2**28  # of a file that is read for its cameras
EMBEDDED = "data:application/octet-stream;base64,"
OPENGL_FROM_OPENCV = torch.tensor([1.0, -1.0, -1.0], dtype=torch.float64)  # y down, z forward -> y up, z back
NEAR = 0.01  # a camera's file must say where it begins to see
STRAIGHT = 1e-3  # by which the axes of a camera, scaled to unit length, may miss a rotation


@dataclass
class Arrays:
    """Arrays packed one behind the other, and what a document says of them."""

    views: list[dict[str, int]] = field(default_factory=list)
    accessors: list[dict[str, Any]] = field(default_factory=list)
    content: bytes = b""

    def add(self, array: Tensor, bounds: bool = False, vertices: bool = False) -> int:
        """Adds an array (N, 1, 3 or 4), uint8 for numbers in [0, 1] or else float32; returns its accessor's number.

        bounds: whether its least and greatest numbers are said. vertices: whether it is an attribute of vertices.
        """
        small = array.dtype == torch.uint8
        data = array.numpy().tobytes() if small else array.float().numpy().astype("<f4").tobytes()
        view = {"buffer": 0, "byteOffset": len(self.content), "byteLength": len(data)}
        self.views.append(view | ({"target": VERTICES} if vertices else {}))
        accessor: dict[str, Any] = {
            "bufferView": len(self.accessors),
            "count": len(array),
            "type": KINDS[array.shape[1]],
        }
        accessor |= {"componentType": BYTE, "normalized": True} if small else {"componentType": FLOAT}
        if bounds:
            ends = (array.float().amin(0), array.float().amax(0))
            accessor |= {name: end.tolist() for name, end in zip(("min", "max"), ends)}
        self.accessors.append(accessor)
        self.content += data + bytes(-len(data) % 4)
        return len(self.accessors) - 1

    def file(self, document: dict[str, Any]) -> bytes:
        """Returns the binary file of a document with these arrays."""
        whole = {"asset": {"version": "2.0", "generator": "nerf"}, "scene": 0, **document}
        if self.content:
            whole["buffers"] = [{"byteLength": len(self.content)}]
            whole |= {"bufferViews": self.views, "accessors": self.accessors}
        text = json.dumps(whole, separators=(",", ":")).encode()
        text += b" " * (-len(text) % 4)
        chunks = struct.pack("<II", len(text), JSON_CHUNK) + text
        if self.content:
            chunks += struct.pack("<II", len(self.content), BINARY_CHUNK) + self.content
        return struct.pack("<III", MAGIC, VERSION, 12 + len(chunks)) + chunks


def motion_file(cameras: Cameras, when: Sequence[float], placed: Placement) -> bytes:
    """Returns a binary file with one camera that moves.

    It has no principal point, and the first one's angle of view at all times.

    Args:
        cameras: K, one a key frame.
        when: K, their times, seconds.
        placed: leads to the space of glTF.
    """
    place, turn, origin = _nodes(cameras, placed)
    arrays = Arrays()
    times = arrays.add(torch.tensor(when, dtype=torch.float64)[:, None], bounds=True)
    outputs = {"translation": arrays.add(place), "rotation": arrays.add(turn)}
    channels = [{"sampler": number, "target": {"node": 1, "path": name}} for number, name in enumerate(outputs)]
    samplers = [{"input": times, "output": output} for output in outputs.values()]
    return arrays.file(
        {
            "scenes": [{"nodes": [0]}],
            "nodes": [{"children": [1], "translation": origin}, {"name": "camera", "camera": 0}],
            "cameras": _lenses(cameras[:1]),
            "animations": [{"samplers": samplers, "channels": channels}],
        }
    )


def still_file(cameras: Cameras, names: Sequence[str], placed: Placement) -> bytes:
    """Returns a binary file with cameras (F) that stand still, without principal points or lenses that bend.

    names: F, of their nodes. placed: leads to the space of glTF.
    """
    place, turn, origin = _nodes(cameras, placed)
    each = zip(names, place.tolist(), turn.tolist(), strict=True)
    nodes = [
        {"name": name, "camera": number, "translation": at, "rotation": turned}
        for number, (name, at, turned) in enumerate(each)
    ]
    whole = {"name": "cameras", "children": [*range(len(nodes))], "translation": origin}
    return Arrays().file({"scenes": [{"nodes": [len(nodes)]}], "nodes": [*nodes, whole], "cameras": _lenses(cameras)})


def _nodes(cameras: Cameras, placed: Placement) -> tuple[Tensor, Tensor, list[float]]:
    """Returns where the nodes of cameras are (F, 3), how they are turned (F, 4), and what both are relative to.

    Turns are quaternions x, y, z, w, none far from the one before: between them no reader goes the long way round.
    """
    from scipy.spatial.transform import Rotation

    there = placed.gltf
    pose = cameras.world_from_camera.double()
    turned = placed.y_up @ pose[:, :, :3] * OPENGL_FROM_OPENCV
    turn = torch.from_numpy(Rotation.from_matrix(turned.numpy()).as_quat())
    along = (turn[1:] * turn[:-1]).sum(1)
    turn *= torch.cat([torch.ones(1), torch.where(along < 0, -1.0, 1.0)]).cumprod(0)[:, None]
    return pose[:, :, 3] @ there[:3, :3].T, turn, there[:3, 3].tolist()


def _lenses(cameras: Cameras) -> list[dict[str, Any]]:
    """Returns what a document says of the lenses of cameras."""
    width, height = cameras.size.double().unbind(1)
    across, down = cameras.focal.double().unbind(1)
    each = zip((2 * torch.atan(height / 2 / down)).tolist(), (width / height * down / across).tolist())
    return [
        {"type": "perspective", "perspective": {"yfov": view, "aspectRatio": aspect, "znear": NEAR}}
        for view, aspect in each
    ]


@dataclass(frozen=True)
class Motion:
    """A camera that moves."""

    poses: Tensor  # (K, 3, 4) float32, world from camera, axes of OpenCV, in the frame that a placement leads from
    when: Tensor  # (K,) float64, seconds, increasing
    view: float  # vertical field of view, radians


def read_motion(file: Path, placed: Placement) -> Motion:
    """Returns the first camera of a .glb or .gltf file that moves, or hangs on what does, at its own key frames.

    placed: leads to the space of glTF.

    Raises:
        InputError: the file cannot be read, or no perspective camera moves in it.
    """
    document, content = _read(file)
    try:
        return _Reader(document, content).motion(placed)
    # A stranger's document may have anything anywhere: what is no camera is found when it is taken for one.
    except (LookupError, TypeError, AttributeError, ValueError, ArithmeticError, RuntimeError) as error:
        said = str(error) if isinstance(error, ValueError) else f"{type(error).__name__}: {error}"
        raise InputError(f"{file}: no moving camera can be read from it ({said})") from None


def _read(file: Path) -> tuple[Any, bytes]:
    """Returns the document of a glTF file and its binary chunk."""
    check_readable(file)
    try:
        if file.stat().st_size > MOST_BYTES:
            raise InputError(f"{file}: larger than {MOST_BYTES >> 20} MiB; export the camera alone")
        data = file.read_bytes()
        if data[:4] != struct.pack("<I", MAGIC):
            return parsed_json(data.decode("utf-8-sig")), b""
        length = struct.unpack_from("<I", data, 12)[0]
        content = data[20 + length :]
        size = struct.unpack_from("<I", content)[0] if len(content) >= 8 else 0
        return parsed_json(data[20 : 20 + length].decode()), content[8 : 8 + size]
    except (OSError, ValueError, RecursionError, struct.error) as error:
        raise InputError(f"{file}: not a glTF file that can be read ({error})") from None


class _Reader:
    """A document in which a camera is looked for. What the document has wrong is a ValueError, KeyError and so on."""

    def __init__(self, document: Any, content: bytes) -> None:
        self.document = document
        self.content = content
        self.nodes = document["nodes"]
        self.parents = {child: number for number, node in enumerate(self.nodes) for child in node.get("children", [])}
        self.moves: dict[tuple[int, str], tuple[Tensor, Tensor, str]] = {}
        for animation in document.get("animations", []):
            for channel in animation["channels"]:
                sampler = animation["samplers"][channel["sampler"]]
                key = (channel["target"].get("node"), channel["target"]["path"])
                if key[1] in ("translation", "rotation", "scale") and key not in self.moves:
                    when = self.array(sampler["input"], 1)[:, 0]
                    value = self.array(sampler["output"], 4 if key[1] == "rotation" else 3)
                    self.moves[key] = when, value, sampler.get("interpolation", "LINEAR")

    def array(self, number: int, width: int) -> Tensor:
        """Returns an array (N, width) float64 of single precision."""
        accessor = self.document["accessors"][number]
        if accessor["componentType"] != FLOAT or accessor["type"] != KINDS[width] or "sparse" in accessor:
            raise ValueError(f"accessor {number} is not of {KINDS[width]} in single precision")
        view = self.document["bufferViews"][accessor["bufferView"]]
        buffer = self.document["buffers"][view["buffer"]]
        content = self.content
        if "uri" in buffer:
            if not buffer["uri"].startswith(EMBEDDED):
                raise ValueError("its numbers are in another file; export it as .glb")
            content = base64.b64decode(buffer["uri"].removeprefix(EMBEDDED))
        if view.get("byteStride", 4 * width) != 4 * width:
            raise ValueError(f"accessor {number} is interleaved")
        start = view.get("byteOffset", 0) + accessor.get("byteOffset", 0)
        count = accessor["count"]
        if not (start >= 0 and count > 0 and start + 4 * width * count <= len(content)):
            raise ValueError(f"accessor {number} reaches beyond the file")
        found = torch.from_numpy(numpy.frombuffer(content, "<f4", width * count, start).astype(numpy.float64))
        if not found.isfinite().all():
            raise ValueError(f"accessor {number} has numbers that are not finite")
        return found.view(count, width)

    def motion(self, placed: Placement) -> Motion:
        """Returns the first camera that moves."""
        for number, node in enumerate(self.nodes):
            if "camera" not in node or "perspective" not in self.document["cameras"][node["camera"]]:
                continue
            line = [number]
            while line[-1] in self.parents:
                line.append(self.parents[line[-1]])
                if len(line) > len(self.nodes):
                    raise ValueError("its nodes form a ring")
            moving = [move[0] for (target, _), move in self.moves.items() if target in line]
            if moving:
                when = torch.cat(moving).unique()
                view = float(self.document["cameras"][node["camera"]]["perspective"]["yfov"])
                if not 0 < view < math.pi:
                    raise ValueError(f"yfov is {view}")
                world = torch.eye(4, dtype=torch.float64)
                for part in line:
                    world = self.local(part, when) @ world
                return Motion(_poses(world, placed), when, view)
        raise ValueError("no perspective camera moves in it")

    def local(self, number: int, when: Tensor) -> Tensor:
        """Returns what brings a node into its parent's frame, (K, 4, 4), at times (K,)."""
        from scipy.spatial.transform import Rotation

        node = self.nodes[number]
        if "matrix" in node:
            return torch.tensor(node["matrix"], dtype=torch.float64).view(4, 4).T.repeat(len(when), 1, 1)
        parts = {"translation": [0.0, 0.0, 0.0], "rotation": [0.0, 0.0, 0.0, 1.0], "scale": [1.0, 1.0, 1.0]}
        value = {
            name: _at(when, *self.moves[number, name], turns=name == "rotation")
            if (number, name) in self.moves
            else torch.tensor(node.get(name, usual), dtype=torch.float64).repeat(len(when), 1)
            for name, usual in parts.items()
        }
        matrix = torch.eye(4, dtype=torch.float64).repeat(len(when), 1, 1)
        turn = torch.from_numpy(Rotation.from_quat(value["rotation"].numpy()).as_matrix())
        matrix[:, :3, :3] = turn * value["scale"][:, None]
        matrix[:, :3, 3] = value["translation"]
        return matrix


def _at(when: Tensor, keys: Tensor, value: Tensor, interpolation: str, turns: bool) -> Tensor:
    """Returns the value of a sampler at times; turns: whether it is of quaternions."""
    if not (keys.diff() > 0).all():
        raise ValueError("the times of its key frames do not increase")
    curved = interpolation == "CUBICSPLINE"
    if len(value) != len(keys) * (3 if curved else 1):
        raise ValueError("it has not a value for each key frame")
    after = torch.searchsorted(keys, when, right=True).clamp(1, max(len(keys) - 1, 1)).clamp(max=len(keys) - 1)
    before = (after - 1).clamp(min=0)
    span = (keys[after] - keys[before]).clamp(min=1e-12)
    part = ((when - keys[before]) / span).clamp(0, 1)[:, None]
    if interpolation == "STEP":
        part = (part >= 1).double()
    if not curved:
        one, other = value[before], value[after]
        if turns:
            other = torch.where((one * other).sum(1, keepdim=True) < 0, -other, other)
            angle = (one * other).sum(1, keepdim=True).clamp(-1, 1).acos()
            small = angle < 1e-6
            sine = torch.where(small, 1.0, angle.sin())
            weights = [torch.where(small, share, (share * angle).sin() / sine) for share in (1 - part, part)]
            return weights[0] * one + weights[1] * other
        return torch.lerp(one, other, part)

    # Hermite's spline: each key has the tangent before it, its value, and the tangent behind it.
    triples = value.view(len(keys), 3, -1)
    leaving, arriving = span[:, None] * triples[before, 2], span[:, None] * triples[after, 0]
    t, tt, ttt = part, part**2, part**3
    from_one, to_other = 2 * ttt - 3 * tt + 1, 3 * tt - 2 * ttt
    return (
        from_one * triples[before, 1]
        + (ttt - 2 * tt + t) * leaving
        + to_other * triples[after, 1]
        + (ttt - tt) * arriving
    )


def _poses(world: Tensor, placed: Placement) -> Tensor:
    """Returns poses (K, 3, 4), see `Motion`, of cameras' nodes (K, 4, 4), whose scale does not count."""
    turn = torch.nn.functional.normalize(world[:, :3, :3], dim=1)
    error = (turn.mT @ turn - torch.eye(3, dtype=torch.float64)).abs().max()
    if not (error < STRAIGHT and (torch.linalg.det(turn) > 0).all()):
        raise ValueError("its camera is sheared or mirrored")
    back = torch.linalg.inv(placed.gltf)
    place = world[:, :3, 3] @ back[:3, :3].T + back[:3, 3]
    if not (place.abs() < LARGEST).all():
        raise ValueError("its camera is nowhere, or too far away")
    return torch.cat([placed.y_up.T @ turn * OPENGL_FROM_OPENCV, place[:, :, None]], dim=2).float()
