"""Point clouds: uniform, and read back by another library."""

import numpy
import pytest

from nerf.errors import InputError
from nerf.exporters.pointcloud import check_points_file, sampled
from nerf.meshing.mesh import Mesh
from nerf.meshing.ply import write_ply
from nerf.scenes.raytracing import load_open3d
from tests.meshing.test_mesh_files import ball


def test_points_are_uniform_by_area():
    # Two triangles in a plane, one four times as large as the other.
    vertices = numpy.array([[0, 0, 0], [1, 0, 0], [0, 1, 0], [5, 0, 0], [7, 0, 0], [5, 2, 0]], numpy.float32)
    normals = numpy.tile(numpy.array([[0, 0, 1]], numpy.float32), (6, 1))
    mesh = Mesh(
        vertices, numpy.array([[0, 1, 2], [3, 4, 5]], numpy.int32), normals, numpy.full((6, 3), 90, numpy.uint8)
    )
    points = sampled(mesh, 20_000)
    large = points.vertices[:, 0] >= 5
    assert large.mean() == pytest.approx(0.8, abs=0.01)
    # The middle of uniform points in a triangle is its own middle.
    assert points.vertices[large].mean(0) == pytest.approx([5 + 2 / 3, 2 / 3, 0], abs=0.02)
    assert (points.rgb == 90).all() and (points.normals == [0, 0, 1]).all()


def test_points_are_read_back(tmp_path):
    points = sampled(ball(), 1000)
    write_ply(tmp_path / "ball.ply", points)
    back = load_open3d().io.read_point_cloud(str(tmp_path / "ball.ply"))
    assert numpy.allclose(numpy.asarray(back.points), points.vertices)
    assert numpy.allclose(numpy.asarray(back.normals), points.normals, atol=1e-6)
    assert numpy.allclose(numpy.asarray(back.colors) * 255, [188, 99, 30])
    with pytest.raises(InputError, match="not a point cloud"):
        check_points_file(tmp_path / "ball.xyz")
