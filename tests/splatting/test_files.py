"""Files of splats, taken apart by their formats' rules, and read by programs that did not write them."""

import gzip
import json
import shutil
import struct
import subprocess
from pathlib import Path

import numpy
import pytest
import torch
from torch.nn.functional import normalize

from nerf.color import linear
from nerf.errors import InputError
from nerf.geometry.similarity import NOWHERE, placement
from nerf.splatting.files import check_splats_file, write_splats
from tests.splatting.clouds import cloud, ply_table

REPOSITORY = Path(__file__).parents[2]
UP = torch.tensor([0.0, 0.0, 1.0])


def rotations(turn):
    """Returns (N, 3, 3) of quaternions w, x, y, z."""
    w, x, y, z = normalize(turn.double(), dim=1).unbind(1)
    columns = [1 - 2 * (y * y + z * z), 2 * (x * y + w * z), 2 * (x * z - w * y)]
    columns += [2 * (x * y - w * z), 1 - 2 * (x * x + z * z), 2 * (y * z + w * x)]
    columns += [2 * (x * z + w * y), 2 * (y * z - w * x), 1 - 2 * (x * x + y * y)]
    return torch.stack(columns, dim=1).view(-1, 3, 3).mT


def written(folder, suffix, splats, placed=NOWHERE):
    file = folder / f"cloud{suffix}"
    write_splats(file, splats, placed)
    return file


@pytest.mark.parametrize("degree", [1, 2, 3, 4])
def test_ply_holds_every_number_as_its_program_names_them(degree, tmp_path):
    splats = cloud(degree=degree)
    table = ply_table(written(tmp_path, ".ply", splats))
    assert torch.equal(torch.stack([table[name] for name in "xyz"], dim=1), splats.mean)
    assert torch.equal(table["opacity"], splats.logit)
    assert torch.equal(torch.stack([table[f"scale_{i}"] for i in range(3)], dim=1), splats.log_scale)
    turn = torch.stack([table[f"rot_{i}"] for i in range(4)], dim=1)
    assert torch.allclose(turn, normalize(splats.turn, dim=1), atol=1e-6)
    more = degree**2 - 1
    assert len(table) == 17 + 3 * more
    for channel in range(3):
        assert torch.equal(table[f"f_dc_{channel}"], splats.harmonics[:, 0, channel])
        for k in range(more):
            assert torch.equal(table[f"f_rest_{channel * more + k}"], splats.harmonics[:, 1 + k, channel])


def test_far_from_the_origin_ply_says_where_it_is(tmp_path):
    file = written(tmp_path, ".ply", cloud(), placement("", UP, origin=(5e5, 5.2e6, 100.0)))
    assert b"comment origin 500000.0 5200000.0 100.0\n" in file.read_bytes()[:200]


def test_splat_has_the_largest_first(tmp_path):
    splats = cloud()
    data = written(tmp_path, ".splat", splats).read_bytes()
    assert len(data) == 32 * len(splats)
    order = (splats.log_scale.sum(1).exp() * splats.opacity).argsort(descending=True)
    rows = [struct.unpack("<6f8B", data[at : at + 32]) for at in range(0, len(data), 32)]
    table = torch.tensor(rows)
    assert torch.allclose(table[:, :3], splats.mean[order])
    assert torch.allclose(table[:, 3:6], splats.log_scale[order].exp())
    assert torch.allclose(table[:, 6:9] / 255, splats.rgb[order], atol=0.003)
    assert torch.allclose(table[:, 9] / 255, splats.opacity[order], atol=0.003)
    assert torch.allclose(rotations(table[:, 10:] - 128), rotations(splats.turn[order]), atol=0.03)


def smallest_three(codes):
    """Returns quaternions w, x, y, z of .spz's four bytes, one by one as its standard says."""
    found = []
    for code in codes:
        largest, parts = code >> 30, {}
        for axis in reversed([axis for axis in range(4) if axis != largest]):
            size = (code & 511) / 511 / 2**0.5
            parts[axis] = -size if code & 512 else size
            code >>= 10
        parts[largest] = max(0.0, 1 - sum(value**2 for value in parts.values())) ** 0.5
        found.append([parts[3], parts[0], parts[1], parts[2]])
    return torch.tensor(found)


@pytest.mark.parametrize("degree", [1, 2, 4])
@pytest.mark.parametrize("size", [1.0, 300.0])
def test_spz_has_y_up_and_its_steps(degree, size, tmp_path):
    splats, up = cloud(degree=degree), placement("", UP)
    splats = splats.moved(torch.eye(3), size)
    data = gzip.decompress(written(tmp_path, ".spz", splats, up).read_bytes())
    magic, version, count, highest, bits, flags, reserved = struct.unpack("<IIIBBBB", data[:16])
    assert (magic, version, count, highest, flags, reserved) == (0x5053474E, 3, len(splats), degree - 1, 1, 0)
    expected = splats.moved(up.y_up)
    sizes = [9, 1, 3, 3, 4, 3 * (degree**2 - 1)]
    assert len(data) == 16 + count * sum(sizes)
    ends = numpy.cumsum([16, *(count * size for size in sizes)])
    place, opacity, dc, scale, turn, rest = (data[start:end] for start, end in zip(ends, ends[1:]))
    whole = [int.from_bytes(place[at : at + 3], "little", signed=True) for at in range(0, len(place), 3)]
    assert torch.allclose(torch.tensor(whole).view(-1, 3) / 2**bits, expected.mean, atol=size * 1e-5)
    assert max(map(abs, whole)) > 2**20
    byte = torch.frombuffer(bytearray(dc), dtype=torch.uint8).view(-1, 3)
    assert torch.allclose((byte / 255 - 0.5) / 0.15, expected.harmonics[:, 0], atol=0.015)
    byte = torch.frombuffer(bytearray(scale), dtype=torch.uint8).view(-1, 3)
    assert torch.allclose(byte / 16 - 10, expected.log_scale, atol=0.032)
    byte = torch.frombuffer(bytearray(opacity), dtype=torch.uint8)
    assert torch.allclose(byte / 255, expected.opacity, atol=0.003)
    codes = struct.unpack(f"<{count}I", turn)
    assert torch.allclose(rotations(smallest_three(codes)), rotations(expected.turn), atol=0.005)
    if degree > 1:
        byte = torch.frombuffer(bytearray(rest), dtype=torch.uint8).view(count, -1, 3)
        inside = expected.harmonics[:, 1:].abs() < 0.9
        off = ((byte.float() - 128) / 128 - expected.harmonics[:, 1:]).abs()
        assert off[inside].max() <= 8.5 / 128 and off[:, :3][inside[:, :3]].max() <= 4.5 / 128


def glb_parts(file):
    data = file.read_bytes()
    length = struct.unpack("<I", data[12:16])[0]
    document = json.loads(data[20 : 20 + length])
    return document, data[28 + length :]


def test_glb_has_the_attributes_of_the_standard_and_points_for_other_readers(tmp_path):
    splats = cloud(degree=2)
    placed = placement("", UP, origin=(8.0, 0.0, 2.0), unit="cm")
    file = written(tmp_path, ".glb", splats, placed)
    document, content = glb_parts(file)
    assert document["extensionsUsed"] == ["KHR_gaussian_splatting"]
    (primitive,) = document["meshes"][0]["primitives"]
    assert primitive["mode"] == 0 and primitive["extensions"]["KHR_gaussian_splatting"]["kernel"] == "ellipse"
    arrays = {}
    for name, number in primitive["attributes"].items():
        accessor = document["accessors"][number]
        view = document["bufferViews"][accessor["bufferView"]]
        kind = {5126: "<f4", 5121: "u1"}[accessor["componentType"]]
        data = content[view["byteOffset"] : view["byteOffset"] + view["byteLength"]]
        arrays[name] = torch.from_numpy(numpy.frombuffer(data, kind).reshape(len(splats), -1).copy())
    short = {name.removeprefix("KHR_gaussian_splatting:"): array for name, array in arrays.items()}
    assert torch.equal(short["POSITION"], splats.mean)
    assert torch.allclose(short["SCALE"], splats.log_scale.exp()) and torch.allclose(
        short["OPACITY"][:, 0], splats.opacity
    )
    assert torch.allclose(short["ROTATION"], normalize(splats.turn, dim=1)[:, [1, 2, 3, 0]])
    for name, k in (("SH_DEGREE_0_COEF_0", 0), ("SH_DEGREE_1_COEF_0", 1), ("SH_DEGREE_1_COEF_2", 3)):
        assert torch.equal(short[name], splats.harmonics[:, k])
    assert torch.allclose(arrays["COLOR_0"][:, :3] / 255, linear(splats.rgb), atol=0.003)

    import trimesh

    points = trimesh.load(file)
    middle = numpy.asarray(points.bounds).mean(0)
    expected = splats.mean.numpy() @ placed.gltf.numpy()[:3, :3].T + placed.gltf.numpy()[:3, 3]
    assert middle == pytest.approx((expected.min(0) + expected.max(0)) / 2, abs=1e-6)


@pytest.mark.parametrize("suffix", [".ply", ".splat", ".spz"])
def test_another_program_reads_the_same_splats(suffix, tmp_path):
    program = REPOSITORY / "node_modules" / "@playcanvas" / "splat-transform" / "bin" / "cli.mjs"
    if shutil.which("node") is None or not program.is_file():
        pytest.skip("needs: npm install --no-save @playcanvas/splat-transform")
    splats = cloud(degree=3)
    file = written(tmp_path, suffix, splats)
    other = tmp_path / "other.ply"
    done = subprocess.run(["node", str(program), str(file), str(other)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    table = ply_table(other)
    assert len(table["x"]) == len(splats)
    for name, column in zip("xyz", splats.mean.T):
        ends = [[values.min().item(), values.max().item()] for values in (table[name], column)]
        assert ends[0] == pytest.approx(ends[1], abs=1e-3)
    assert table["opacity"].sigmoid().sort().values == pytest.approx(splats.opacity.sort().values, abs=0.004)
    if suffix != ".splat":
        assert table["f_rest_3"].numpy() == pytest.approx(splats.harmonics[:, 4, 0].numpy(), abs=8.5 / 128)


def test_spz_refuses_places_that_it_does_not_hold(tmp_path):
    with pytest.raises(InputError, match=r"\.spz holds no place .* give a smaller --scale, or use \.ply"):
        written(tmp_path, ".spz", cloud().moved(torch.eye(3), 1e7))
    assert not [*tmp_path.iterdir()]


def test_other_names_are_refused(tmp_path):
    with pytest.raises(InputError, match=r'"\.sog" is not a format of splats; use one of \.ply, \.splat, \.spz, \.glb'):
        check_splats_file(tmp_path / "a.sog")
