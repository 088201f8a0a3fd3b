"""Mesh files, each read back by a library that did not write it."""

import errno
import json
import shutil
import subprocess
import tracemalloc
from pathlib import Path

import numpy
import pytest
import torch

from nerf.errors import InputError
from nerf.geometry.scale import Scale
from nerf.geometry.similarity import placement
from nerf.meshing.mesh import Mesh, joints, vertex_normals
from nerf.meshing.mesh_files import check_mesh_file, mesh_report, write_mesh, write_report
from nerf.scenes.raytracing import load_open3d
from tests.meshing.test_mesh import icosphere

REPOSITORY = Path(__file__).parents[2]
VALIDATE = """
const [file] = process.argv.slice(1);
const bytes = new Uint8Array(require('fs').readFileSync(file));
require('gltf-validator').validateBytes(bytes).then(report => console.log(JSON.stringify(report)));
"""
UP = torch.tensor([0.0, 0, 1])
PLACED = placement("", UP)


def ball():
    shape = icosphere(2)
    rgb = numpy.tile(numpy.array([[188, 99, 30]], numpy.uint8), (len(shape.vertices), 1))
    return Mesh(shape.vertices, shape.faces, vertex_normals(shape), rgb)


def textured_square():
    """Returns a square whose texture is red at the top left and black elsewhere."""
    vertices = numpy.array([[0, 0, 0], [2, 0, 0], [2, 1, 0], [0, 1, 0]], numpy.float32)
    faces = numpy.array([[0, 1, 2], [0, 2, 3]], numpy.int32)
    texture = numpy.zeros((8, 8, 3), numpy.uint8)
    texture[:4, :4, 0] = 255
    normals = numpy.tile(numpy.array([[0, 0, 1]], numpy.float32), (4, 1))
    uv = vertices[:, :2] / numpy.array([2, 1], numpy.float32)
    return Mesh(vertices, faces, normals, texture[:4, 0] * 0, uv, texture)


@pytest.mark.parametrize("suffix", [".ply", ".obj", ".glb", ".stl"])
def test_files_are_read_back_with_extent_triangles_and_colour(suffix, tmp_path):
    mesh, file = ball(), tmp_path / f"ball{suffix}"
    write_mesh(file, mesh)
    back = load_open3d().io.read_triangle_mesh(str(file))
    assert len(back.triangles) == len(mesh.faces)
    assert numpy.allclose(back.get_max_bound() - back.get_min_bound(), mesh.extent, atol=1e-5)
    if suffix != ".stl":
        # glTF stores linear light: 188 of 255 in sRGB is half of it.
        expected = [128, 32, 3] if suffix == ".glb" else [188, 99, 30]
        assert numpy.abs(numpy.asarray(back.vertex_colors)[0] * 255 - expected).max() < 1.01
        assert (numpy.asarray(back.vertex_normals) * numpy.asarray(back.vertices)).sum(1).min() > 0.95
    assert [path.name for path in tmp_path.iterdir()] == [file.name]


def test_the_text_of_an_obj_is_never_in_memory_whole(tmp_path):
    shape = icosphere(5)
    mesh, file = (
        Mesh(shape.vertices, shape.faces, shape.vertices, numpy.zeros_like(shape.vertices, "u1")),
        tmp_path / "a.obj",
    )
    write_mesh(tmp_path / "warm.obj", ball())  # imports are not the mesh's
    tracemalloc.start()
    try:
        write_mesh(file, mesh)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < file.stat().st_size


@pytest.mark.parametrize("suffix", [".obj", ".glb"])
def test_textures_are_read_back_the_right_way_up(suffix, tmp_path):
    file = tmp_path / f"square{suffix}"
    write_mesh(file, textured_square())
    model = load_open3d().io.read_triangle_model(str(file))
    shape, material = model.meshes[0].mesh, model.materials[0]
    image = numpy.asarray(material.albedo_img)[..., :3]
    uv, corner = numpy.asarray(shape.triangle_uvs), numpy.asarray(shape.vertices)[numpy.asarray(shape.triangles)]
    assert image.shape == (8, 8, 3) and uv.shape == (6, 2)
    assert numpy.allclose(uv[:, 0], corner.reshape(-1, 3)[:, 0] / 2, atol=1e-6)
    assert numpy.allclose(uv[:, 1], corner.reshape(-1, 3)[:, 1], atol=1e-6)
    assert image[0, 0, 0] == 255 and image[7, 0, 0] == 0 and image[0, 7, 0] == 0
    if suffix == ".obj":
        assert {path.name for path in tmp_path.iterdir()} == {"square.obj", "square.mtl", "square.png"}


@pytest.mark.parametrize("name", ["fern.png", "fern.mtl"])
def test_files_beside_a_mesh_that_are_not_ours_stay(tmp_path, name):
    (tmp_path / name).write_text("my work")
    with pytest.raises(InputError, match=f"{name}: exists already, not written by nerf"):
        check_mesh_file(tmp_path / "fern.obj", textured=True)
    with pytest.raises(InputError, match=f"{name}: exists already"):
        write_mesh(tmp_path / "fern.obj", textured_square())
    assert [path.name for path in tmp_path.iterdir()] == [name] and (tmp_path / name).read_text() == "my work"
    check_mesh_file(tmp_path / "fern.obj")  # without a texture, nothing is written beside it


def test_files_beside_a_mesh_that_are_ours_are_replaced(tmp_path):
    write_mesh(tmp_path / "fern.obj", textured_square())
    (tmp_path / "fern.png").write_bytes(b"old")
    check_mesh_file(tmp_path / "fern.obj", textured=True)
    write_mesh(tmp_path / "fern.obj", textured_square())
    assert (tmp_path / "fern.png").stat().st_size > 3


def test_a_texture_does_not_appear_without_its_mesh(tmp_path, monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(numpy, "savetxt", full)
    with pytest.raises(InputError, match="fern.obj: cannot be written .No space left"):
        write_mesh(tmp_path / "fern.obj", textured_square())
    assert list(tmp_path.iterdir()) == []


def test_a_report_replaces_only_reports(tmp_path):
    report = mesh_report(ball(), {}, PLACED)
    assert write_report(tmp_path / "a.ply", report) == write_report(tmp_path / "a.ply", report)
    (tmp_path / "b.report.json").write_text('{"quarter": 3}')
    with pytest.raises(InputError, match="b.report.json: exists already"):
        write_report(tmp_path / "b.ply", report)
    assert (tmp_path / "b.report.json").read_text() == '{"quarter": 3}'


def test_gltf_is_in_metres(tmp_path):
    write_mesh(tmp_path / "ball.glb", ball(), placement("z", UP, unit="mm"))
    back = load_open3d().io.read_triangle_mesh(str(tmp_path / "ball.glb"))
    assert numpy.allclose(back.get_max_bound(), 0.001, atol=1e-5)


def test_gltf_has_y_up_unless_another_axis_is_asked_for(tmp_path):
    tower = numpy.array([[0, 0, 0], [1, 0, 0], [0, 0, 5]], numpy.float32)  # z is up
    mesh = Mesh(tower, numpy.array([[0, 1, 2]], numpy.int32), tower * 0 + [0, 1, 0], numpy.zeros((3, 3), numpy.uint8))
    known = Scale(0.5, "measured")
    write_mesh(tmp_path / "tower.glb", mesh, placement("", UP, origin=(8.0, 0.0, 2.0), known=known))
    back = load_open3d().io.read_triangle_mesh(str(tmp_path / "tower.glb"))
    assert numpy.allclose(back.get_max_bound(), [4.5, 3.5, 0], atol=1e-5)  # metres: (8 + 1, 2 + 5) halved
    write_mesh(tmp_path / "as_asked.glb", mesh, placement("z", UP, known=known))
    back = load_open3d().io.read_triangle_mesh(str(tmp_path / "as_asked.glb"))
    assert numpy.allclose(back.get_max_bound(), [0.5, 0, 2.5], atol=1e-5)


def khronos(*words):
    """Returns what node says, run where `npm install --no-save gltf-validator` puts the Khronos glTF validator."""
    if shutil.which("node") is None:
        pytest.skip("node is not installed")
    return subprocess.run(["node", "-e", *words], cwd=REPOSITORY, capture_output=True, text=True)


@pytest.mark.parametrize("make", [ball, textured_square])
def test_the_khronos_validator_finds_nothing_wrong(make, tmp_path):
    if khronos("require('gltf-validator')").returncode != 0:
        pytest.skip("needs: npm install --no-save gltf-validator")
    file, mesh = tmp_path / "mesh.glb", make()
    write_mesh(file, mesh, placement("", UP, unit="cm"))
    said = khronos(VALIDATE, str(file))
    assert said.returncode == 0, said.stderr
    report = json.loads(said.stdout)
    assert (report["issues"]["numErrors"], report["issues"]["numWarnings"]) == (0, 0), report["issues"]["messages"]
    assert report["info"]["totalTriangleCount"] == len(mesh.faces)


def test_the_report_says_what_the_mesh_is(tmp_path):
    mesh = ball()
    file = write_report(tmp_path / "ball.ply", mesh_report(mesh, {"method": "density", **joints(mesh)}, PLACED))
    report = json.loads(file.read_text())
    assert file.name == "ball.report.json"
    assert (report["triangles"], report["pieces"], report["watertight"]) == (320, 1, True)
    assert report["extent"] == pytest.approx(mesh.extent.tolist()) and "frame of the input" in report["units"]


def test_formats_without_a_texture_are_refused(tmp_path):
    for name, textured, message in (("a.fbx", False, "not a mesh format"), ("a.stl", True, "no texture")):
        with pytest.raises(InputError, match=message):
            check_mesh_file(tmp_path / name, textured)
