"""Cameras in glTF files: what is written is read back, and what Blender writes is understood."""

import base64
import json
import math
import struct

import pytest
import torch

from nerf.errors import InputError
from nerf.geometry.cameras import Cameras, look_at
from nerf.geometry.gltf import motion_file, read_motion
from nerf.geometry.similarity import NOWHERE, placement

UP = torch.tensor([0.0, 0.0, 1.0])
PLACES = {
    "as it is": NOWHERE,
    "far away, in centimetres, z up": placement("", UP, unit="cm", origin=(100.0, 0.0, -5.0)),
}


def circle(count=7):
    angle = torch.linspace(0, 5, count)
    eyes = torch.stack([3 * angle.cos(), 3 * angle.sin(), 1 + angle / 5], dim=1)
    poses = torch.stack([look_at(eye, torch.zeros(3), UP) for eye in eyes])
    each = torch.ones(count, 2)
    return Cameras(poses, 40.0 * each, 16.0 * each, 32, 24)


def written(folder, placed=NOWHERE):
    file = folder / "camera.glb"
    file.write_bytes(motion_file(circle(), [number / 24 for number in range(7)], placed))
    return file


@pytest.mark.parametrize("placed", PLACES.values(), ids=PLACES)
def test_a_camera_that_moves_comes_back_as_it_was(placed, tmp_path):
    back = read_motion(written(tmp_path, placed), placed)
    assert torch.allclose(back.poses, circle().world_from_camera, atol=2e-5)
    assert torch.allclose(back.when, torch.arange(7).double() / 24, atol=1e-7)
    assert back.view == pytest.approx(2 * math.atan(12 / 40))


def test_no_turn_is_taken_the_long_way_round(tmp_path):
    document, content = chunks(written(tmp_path))
    samplers = document["animations"][0]["samplers"]
    turns = accessor(document, content, samplers[1]["output"])
    assert len(turns) == 7 and (turns[1:] * turns[:-1]).sum(1).min() > 0.5
    assert document["accessors"][samplers[0]["input"]]["min"] == [0.0]


def chunks(file):
    data = file.read_bytes()
    length = struct.unpack_from("<I", data, 12)[0]
    return json.loads(data[20 : 20 + length]), data[28 + length :]


def accessor(document, content, number):
    told = document["accessors"][number]
    view = document["bufferViews"][told["bufferView"]]
    numbers = torch.frombuffer(bytearray(content), dtype=torch.float32, offset=view["byteOffset"])
    width = {"SCALAR": 1, "VEC3": 3, "VEC4": 4}[told["type"]]
    return numbers[: told["count"] * width].view(-1, width)


def embedded(tmp_path, arrays, animations, nodes, camera=None):
    """Returns a .gltf file with its numbers inside, as Blender writes one on request."""
    content, accessors, views = b"", [], []
    for values in arrays:
        rows = torch.tensor(values, dtype=torch.float32)
        rows = rows[:, None] if rows.dim() == 1 else rows
        views.append({"buffer": 0, "byteOffset": len(content), "byteLength": 4 * rows.numel()})
        kind = {1: "SCALAR", 3: "VEC3", 4: "VEC4"}[rows.shape[1]]
        accessors.append({"bufferView": len(accessors), "componentType": 5126, "count": len(rows), "type": kind})
        content += rows.numpy().tobytes()
    uri = "data:application/octet-stream;base64," + base64.b64encode(content).decode()
    document = {
        "asset": {"version": "2.0"},
        "nodes": nodes,
        "cameras": [camera or {"type": "perspective", "perspective": {"yfov": 0.5, "znear": 0.1}}],
        "animations": animations,
        "accessors": accessors,
        "bufferViews": views,
        "buffers": [{"byteLength": len(content), "uri": uri}],
    }
    file = tmp_path / "blender.gltf"
    file.write_text(json.dumps(document))
    return file


def channel(node, path, output, interpolation="LINEAR", times=0):
    sampler = {"input": times, "output": output, "interpolation": interpolation}
    return {"samplers": [sampler], "channels": [{"sampler": 0, "target": {"node": node, "path": path}}]}


def test_a_camera_hangs_on_nodes_that_turn_and_scale(tmp_path):
    half = math.sqrt(0.5)
    nodes = [
        {"children": [1], "scale": [2.0, 2.0, 2.0]},
        {"children": [2], "translation": [0.0, 1.0, 0.0]},
        {"camera": 0, "rotation": [-half, 0.0, 0.0, half]},  # looks down
    ]
    moves = [channel(1, "translation", 1), channel(2, "rotation", 2, times=3)]
    arrays = [[0.0, 2.0], [[0.0, 1, 0], [4.0, 1, 0]], [[-half, 0, 0, half], [-half, 0, 0, half]], [0.5, 1.0]]
    motion = read_motion(embedded(tmp_path, arrays, moves, nodes), NOWHERE)
    assert motion.when.tolist() == [0.0, 0.5, 1.0, 2.0] and motion.view == 0.5
    assert motion.poses[:, :, 3].tolist() == [[0.0, 2.0, 0.0], [2.0, 2.0, 0.0], [4.0, 2.0, 0.0], [8.0, 2.0, 0.0]]
    assert torch.allclose(motion.poses[0, :, 2], torch.tensor([0.0, -1.0, 0.0]), atol=1e-6)


def test_steps_and_splines_are_followed(tmp_path):
    nodes = [{"camera": 0}]
    arrays = [[0.0, 1.0], [[0.0, 0, 0], [1.0, 0, 0]], [0.0, 0.5, 1.0], [[0.0, 0, 0, 1]] * 3]
    moves = [channel(0, "translation", 1, "STEP"), channel(0, "rotation", 3, times=2)]
    place = read_motion(embedded(tmp_path, arrays, moves, nodes), NOWHERE).poses[:, 0, 3]
    assert place.tolist() == [0.0, 0.0, 1.0]
    flat = [[0.0, 0, 0], [0.0, 0, 0], [0.0, 0, 0], [0.0, 0, 0], [1.0, 0, 0], [0.0, 0, 0]]
    arrays[1] = flat  # at rest at both ends: half the way at half the time
    moves[0] = channel(0, "translation", 1, "CUBICSPLINE")
    assert read_motion(embedded(tmp_path, arrays, moves, nodes), NOWHERE).poses[:, 0, 3].tolist() == [0.0, 0.5, 1.0]


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda tree: tree.pop("animations"), "no perspective camera moves in it"),
        (lambda tree: tree["nodes"][0].update(children=[0]), "ring"),
        (lambda tree: tree["accessors"][1].update(count=2**40), "reaches beyond the file"),
        (lambda tree: tree["bufferViews"][1].update(byteOffset=-4), "reaches beyond the file"),
        (lambda tree: tree["accessors"][0].update(componentType=5121), "not of SCALAR in single precision"),
        (lambda tree: tree["buffers"][0].update(uri="../../secret.bin"), "in another file; export it as .glb"),
        (lambda tree: tree["nodes"][0].update(scale=[1.0, 1.0, -1.0]), "sheared or mirrored"),
        (lambda tree: tree["cameras"][0]["perspective"].update(yfov=9.0), "yfov is 9.0"),
        (lambda tree: tree.pop("nodes"), "nodes"),
        (lambda tree: tree["animations"][0]["channels"][0].update(sampler=7), "IndexError"),
        (lambda tree: tree.update(nodes=3), "TypeError"),
        (lambda tree: tree.update(nodes=[3]), "AttributeError"),
        (lambda tree: tree["buffers"][0].update(uri=5), "AttributeError"),
        (lambda tree: tree["nodes"][0].update(scale=[1.0, 1.0]), "RuntimeError"),
        (lambda tree: tree["nodes"][0].update(rotation=[0.0, 0.0, 0.0, 0.0]), "quaternion"),
        (lambda tree: tree["nodes"].append({"children": [0], "translation": [1e30, 0.0, 0.0]}), "too far away"),
        (lambda tree: tree["nodes"].append({"children": [0], "matrix": [1.0, 2.0]}), "RuntimeError"),
    ],
)
def test_what_is_wrong_with_a_file_is_said(spoil, message, tmp_path):
    file = embedded(tmp_path, [[0.0, 1.0], [[0.0, 0, 0], [1.0, 0, 0]]], [channel(0, "translation", 1)], [{"camera": 0}])
    assert len(read_motion(file, NOWHERE).when) == 2
    tree = json.loads(file.read_text())
    spoil(tree)
    file.write_text(json.dumps(tree))
    with pytest.raises(InputError, match=message) as caught:
        read_motion(file, NOWHERE)
    assert "blender.gltf: no moving camera" in str(caught.value)


@pytest.mark.parametrize(
    "content", [b"", b"glTF", b"\x00" * 40, b"[]", b"glTF\x02\0\0\0\xff\xff\xff\xff\xff\xff\xff\xffJSON{}"]
)
def test_other_files_are_refused(content, tmp_path):
    file = tmp_path / "a.glb"
    file.write_bytes(content)
    with pytest.raises(InputError, match=r"a\.glb: "):
        read_motion(file, NOWHERE)
