"""Point clouds: every format as another library reads it, and headers that lie."""

import random
from pathlib import Path

import numpy
import pytest

from nerf.errors import InputError
from nerf.scenes.raytracing import load_open3d
from nerf.signals.files.pointclouds import read_point_cloud
from nerf.signals.files.shapes import read_shape

PLY = "ply\nformat ascii 1.0\n{}element vertex {}\nproperty float x\nproperty float y\nproperty float z\n"
PLY += "property float nx\nproperty float ny\nproperty float nz\nend_header\n"
PCD = "VERSION .7\nFIELDS x y z normal_x normal_y normal_z\nSIZE 4 4 4 4 4 4\nTYPE F F F F F F\nCOUNT {}\n"
PCD += "WIDTH {}\nHEIGHT 1\nPOINTS {}\nDATA {}\n"
ROWS = "0 0 0 0 0 1\n1 0 0 0 1 0\n0 2 3 1 0 0\n"


def cloud(normals=True):
    """Returns a cloud of 50 points with colours as Open3D holds it."""
    open3d = load_open3d()
    draw = numpy.random.default_rng(0)
    made = open3d.geometry.PointCloud(open3d.utility.Vector3dVector(draw.normal(size=(50, 3))))
    made.colors = open3d.utility.Vector3dVector(draw.random((50, 3)))
    if normals:
        made.normals = open3d.utility.Vector3dVector(draw.normal(size=(50, 3)))
    return made


@pytest.mark.parametrize("name", ["a.ply", "a.pcd", "a.xyzn"])
@pytest.mark.parametrize("text", [True, False])
def test_what_open3d_writes_is_read_as_open3d_reads_it(tmp_path, name, text):
    io = load_open3d().io
    io.write_point_cloud(str(tmp_path / name), cloud(), write_ascii=text)
    expected = io.read_point_cloud(str(tmp_path / name))
    points, normals = read_point_cloud(tmp_path / name)
    assert numpy.array_equal(points, numpy.asarray(expected.points))
    assert numpy.allclose(normals, numpy.asarray(expected.normals), atol=1e-12)


@pytest.mark.parametrize("name", ["a.ply", "a.pcd"])
def test_clouds_without_normals_are_refused_as_such(tmp_path, name):
    load_open3d().io.write_point_cloud(str(tmp_path / name), cloud(normals=False))
    with pytest.raises(InputError, match="50 points without normals"):
        read_shape(tmp_path / name)


def test_a_binary_file_of_big_numbers_first_is_read(tmp_path):
    head = PLY.format("", 3).replace("ascii", "binary_big_endian").replace("float x", "double x")
    rows = numpy.array([tuple(map(float, row.split())) for row in ROWS.splitlines()], ">f8,>f4,>f4,>f4,>f4,>f4")
    (tmp_path / "a.ply").write_bytes(head.encode() + rows.tobytes())
    points, normals = read_point_cloud(tmp_path / "a.ply")
    assert points.tolist() == [[0, 0, 0], [1, 0, 0], [0, 2, 3]] and normals[2].tolist() == [1, 0, 0]


def test_a_very_long_comment_is_read_over(tmp_path):
    (tmp_path / "a.ply").write_text(PLY.format(f"comment {'a' * 100_000}\n", 3) + ROWS)
    assert read_shape(tmp_path / "a.ply").points.shape == (3, 3)


def test_padding_of_a_pcd_is_left_out(tmp_path):
    head = "FIELDS x y z _ normal_x normal_y normal_z _\nSIZE 4 4 4 1 4 4 4 1\nTYPE F F F U F F F U\n"
    head += "COUNT 1 1 1 4 1 1 1 2\nPOINTS 1\nDATA ascii\n"
    (tmp_path / "a.pcd").write_text(head + "1 2 3 0 0 0 0 4 5 6 0 0\n")
    points, normals = read_point_cloud(tmp_path / "a.pcd")
    assert points.tolist() == [[1, 2, 3]] and normals.tolist() == [[4, 5, 6]]


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("a.ply", PLY.format("", 4) + ROWS.replace("0", "0.0"), "claims 4 points, 3 are there"),
        ("a.ply", PLY.format("", 4_000_000_000) + ROWS, "too short"),
        ("a.ply", PLY.format("", -1) + ROWS, "too short"),
        ("a.ply", PLY.format("", "9" * 5000) + ROWS, "cannot be read"),
        ("a.ply", PLY.format("", 3).replace("float nx", "list uchar int nx") + ROWS, "cannot be read"),
        ("a.ply", PLY.format("element face 1\n", 3) + ROWS, "vertices come after"),
        ("a.ply", PLY.format("", 3)[:-4], "does not end"),
        ("a.ply", PLY.format("", 3).replace("ascii", "binary_little_endian") + ROWS, "too short"),
        ("a.pcd", PCD.format("1 1 1 1 1 -1", 3, 3, "ascii") + ROWS, "COUNT"),
        ("a.pcd", PCD.format("1 1 1 1 1 99999999", 3, 3, "ascii") + ROWS, "COUNT"),
        ("a.pcd", PCD.format("1 1 1", 3, 3, "ascii") + ROWS, "equally long"),
        ("a.pcd", PCD.format("1 1 1 1 1 1", 2**31, 2**31, "ascii") + ROWS, "too short"),
        ("a.pcd", PCD.format("1 1 1 1 1 1", -1, -1, "binary") + ROWS, "too short"),
        ("a.pcd", PCD.format("1 1 1 1 1 1", 3, 3, "binary_compressed") + ROWS, "save it as .ply"),
        ("a.pcd", PCD.format("1 1 1 1 1 1", 3, 3, "ascii").replace("4 4\n", "4 -4\n") + ROWS, "SIZE"),
        ("a.xyzn", "0 0 0 0 0\n", "cannot be read"),
        ("a.xyzn", "\n", "no points"),
    ],
)
def test_a_header_that_lies_is_refused_in_one_line(tmp_path, name, text, message):
    (tmp_path / name).write_text(text)
    with pytest.raises(InputError, match=message) as caught:
        read_shape(tmp_path / name) if name != "a.ply" else read_point_cloud(tmp_path / name)
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 500


def test_damaged_clouds_are_read_or_refused(tmp_path):
    draw = random.Random(0)
    whole = [
        ("a.ply", (PLY.format("comment a\n", 3) + ROWS).encode()),
        ("a.ply", PLY.format("", 3).replace("ascii", "binary_little_endian").encode() + bytes(72)),
        ("a.pcd", (PCD.format("1 1 1 1 1 1", 3, 3, "ascii") + ROWS).encode()),
        ("a.pcd", PCD.format("1 1 1 1 1 1", 3, 3, "binary").encode() + bytes(72)),
        ("a.xyzn", ROWS.encode()),
    ]
    refused = 0
    for _ in range(300):
        for name, data in whole:
            changed = bytearray(data)
            for _ in range(draw.randrange(1, 4)):
                changed[draw.randrange(len(changed))] = draw.choice([0, 10, 32, 45, 57, 255, draw.randrange(256)])
            (tmp_path / name).write_bytes(changed[: draw.choice([len(changed), draw.randrange(len(changed))])])
            try:
                points, _ = read_point_cloud(tmp_path / name)
                assert len(points) <= len(data)
            except InputError:
                refused += 1
    assert refused > 500


def test_no_file_is_read_by_open3d():
    files = (Path(__file__).parents[3] / "nerf").rglob("*.py")
    assert [
        file.name for file in files if "read_point_cloud(str(" in file.read_text() or ".io.read" in file.read_text()
    ] == []
