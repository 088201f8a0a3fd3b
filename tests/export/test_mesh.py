"""Meshes of the trained ball: where it is, which way it faces, and what the files hold."""

import numpy
import pytest
import torch
import trimesh

from nerf.cli import main
from nerf.config import RenderSettings
from nerf.errors import InputError
from nerf.export.mesh import Mesh, _without_small_pieces, extract_mesh, write_mesh
from nerf.occupancy import OccupancyGrid
from nerf.ops.march import Cube
from nerf.rendering import RadianceModel
from nerf.trained import open_run
from tests.conftest import RADIUS, ball_color


class BallField(torch.nn.Module):
    """An analytic field in place of a learned one: a ball that is dense only in a shell, as learned balls are."""

    def density(self, position):
        radius = (position * 1.2 - 0.6).norm(dim=1)
        shell = torch.sigmoid((RADIUS - radius) * 400) * torch.sigmoid((radius - 0.6 * RADIUS) * 400)
        return 600 * shell, position * 1.2 - 0.6

    def color(self, direction, features, code=None):
        return torch.from_numpy(ball_color((features / RADIUS).numpy())).float()


def ball_model():
    hull = torch.ones(32, 32, 32, dtype=torch.bool)
    hull[0] = False
    settings = RenderSettings(steps=400)
    return RadianceModel(BallField(), OccupancyGrid(hull), Cube(torch.full((3,), -0.6), 1.2), settings)


@pytest.fixture(scope="module")
def ball_mesh(ball_run):
    return extract_mesh(ball_model(), open_run(ball_run).cameras, 64)


def test_the_mesh_is_the_ball_in_the_frame_of_the_poses(ball_mesh):
    # A cell of the lattice is 0.019: the surface is found to within one, and no wall of the hollow inside is.
    assert numpy.abs(numpy.linalg.norm(ball_mesh.vertices, axis=1) - RADIUS).max() < 0.019


def test_the_mesh_is_closed_and_faces_outwards(ball_mesh):
    shape = trimesh.Trimesh(ball_mesh.vertices, ball_mesh.faces)
    assert shape.is_watertight
    assert shape.volume == pytest.approx(4 / 3 * numpy.pi * RADIUS**3, rel=0.05)


def test_vertices_have_the_colours_of_the_ball(ball_mesh):
    normal = ball_mesh.vertices / numpy.linalg.norm(ball_mesh.vertices, axis=1, keepdims=True)
    assert numpy.abs(ball_mesh.rgb / 255 - ball_color(normal)).mean() < 0.03


def test_small_floating_pieces_are_dropped():
    ball, dust = trimesh.creation.icosphere(4), trimesh.creation.box((0.1, 0.1, 0.1))
    vertices = numpy.concatenate([dust.vertices + 3, ball.vertices])
    faces = numpy.concatenate([dust.faces, ball.faces + len(dust.vertices)])
    kept, triangles, _ = _without_small_pieces(vertices, faces, vertices)
    assert len(triangles) == len(ball.faces) and numpy.abs(kept).max() <= 1 + 1e-9


@pytest.mark.parametrize("suffix", [".ply", ".obj", ".glb"])
def test_files_are_read_back_with_shape_and_colour(suffix, tmp_path):
    ball = trimesh.creation.icosphere(2)
    rgb = numpy.tile(numpy.array([[188, 99, 30]], numpy.uint8), (len(ball.vertices), 1))
    write_mesh(tmp_path / f"ball{suffix}", Mesh(ball.vertices.astype("float32"), ball.faces, rgb))
    back = trimesh.load_mesh(tmp_path / f"ball{suffix}", process=False)
    assert len(back.faces) == len(ball.faces)
    assert numpy.allclose(back.bounds, ball.bounds, atol=1e-5)
    # glTF stores linear light: 188 of 255 in sRGB is half of it.
    expected = [128, 32, 3] if suffix == ".glb" else [188, 99, 30]
    assert numpy.abs(numpy.asarray(back.visual.vertex_colors[0, :3], int) - expected).max() <= 1
    assert [path.name for path in tmp_path.iterdir() if "partial" in path.name] == []


def test_an_empty_model_is_an_error(ball_run):
    run = open_run(ball_run)
    run.model.occupancy.occupied.zero_()
    run.model.occupancy.hull.zero_()
    with pytest.raises(InputError, match="the model is empty"):
        extract_mesh(run.model, run.cameras, 16)


def test_the_command_writes_where_it_is_told(ball_run, tmp_path, capsys):
    assert main(["export", str(ball_run), "--mesh", str(tmp_path / "new" / "ball.obj"), "--resolution", "24"]) == 0
    assert (tmp_path / "new" / "ball.obj").is_file()
    assert "triangles" in capsys.readouterr().out
