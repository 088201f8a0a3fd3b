"""Meshes of the ball: where it is, which way it faces, its colours, and what is done to triangles."""

import tracemalloc

import numpy
import pytest
import torch
import trimesh

from nerf.cli.main import main
from nerf.errors import InputError
from nerf.meshing.mesh import (
    Mesh,
    decimated,
    is_watertight,
    joints,
    shared_edges,
    smoothed,
    vertex_normals,
    with_holes_filled,
    without_small_pieces,
)
from nerf.meshing.surface import SurfaceRequest, make_surface
from nerf.workflows.trained import open_run
from tests.ball import ball_model, cameras_round
from tests.conftest import RADIUS, ball_color

BYTES_A_TRIANGLE = 180  # ten million triangles, lego at 1024 cells a side, are then worked on within 2 GiB


@pytest.fixture(scope="module", params=["density", "fusion"])
def ball_mesh(request):
    return make_surface(ball_model(), cameras_round(), SurfaceRequest(64, request.param))[0]


def icosphere(rounds=3):
    ball = trimesh.creation.icosphere(rounds)
    return Mesh(ball.vertices.astype(numpy.float32), ball.faces.astype(numpy.int32))


def test_the_mesh_is_the_ball_in_the_frame_of_the_poses(ball_mesh):
    # A cell of the lattice is 0.019: the surface is found to within one, and no wall of the hollow inside is.
    assert numpy.abs(numpy.linalg.norm(ball_mesh.vertices, axis=1) - RADIUS).max() < 0.019


def test_the_mesh_is_closed_and_faces_outwards(ball_mesh):
    shape = trimesh.Trimesh(ball_mesh.vertices, ball_mesh.faces)
    assert shape.is_watertight and is_watertight(ball_mesh)
    assert shape.volume == pytest.approx(4 / 3 * numpy.pi * RADIUS**3, rel=0.05)


def test_normals_are_those_of_the_ball(ball_mesh):
    outwards = ball_mesh.vertices / numpy.linalg.norm(ball_mesh.vertices, axis=1, keepdims=True)
    angle = numpy.degrees(numpy.arccos((outwards * ball_mesh.normals).sum(1).clip(-1, 1)))
    assert numpy.median(angle) < 10 and angle.max() < 60  # pictures of 48 pixels


def test_vertices_have_the_colours_of_the_ball(ball_mesh):
    normal = ball_mesh.vertices / numpy.linalg.norm(ball_mesh.vertices, axis=1, keepdims=True)
    assert numpy.abs(ball_mesh.rgb / 255 - ball_color(normal)).mean() < 0.03


@pytest.mark.parametrize("method", ["density", "fusion"])
def test_without_silhouettes_only_what_cameras_see_is_kept(method):
    cameras = cameras_round(60)
    above = cameras[cameras.world_from_camera[:, 2, 3] > 1.0]
    mesh, how = make_surface(ball_model(hull=False), above, SurfaceRequest(48, method))
    assert numpy.abs(numpy.linalg.norm(mesh.vertices, axis=1) - RADIUS).max() < 0.04
    assert mesh.vertices[:, 2].max() > 0.45 and mesh.vertices[:, 2].min() > -0.4  # the whole ball reaches to -0.5
    assert not how["watertight"]


def test_small_floating_pieces_are_dropped():
    ball, dust = trimesh.creation.icosphere(4), trimesh.creation.box((0.1, 0.1, 0.1))
    vertices = numpy.concatenate([dust.vertices + 3, ball.vertices])
    faces = numpy.concatenate([dust.faces, ball.faces + len(dust.vertices)])
    kept = without_small_pieces(Mesh(vertices, faces))
    assert len(kept.faces) == len(ball.faces) and numpy.abs(kept.vertices).max() <= 1 + 1e-9


def test_smoothing_takes_noise_away_and_keeps_the_ball():
    ball = icosphere(4)
    noise = numpy.random.default_rng(0).normal(0, 0.01, ball.vertices.shape).astype(numpy.float32)
    rough = Mesh(ball.vertices + noise, ball.faces)
    smooth = smoothed(rough, 5, 1.0)

    def spread(mesh):
        return numpy.linalg.norm(mesh.vertices, axis=1).std()

    assert spread(smooth) < 0.5 * spread(rough)
    assert numpy.linalg.norm(smooth.vertices, axis=1).mean() == pytest.approx(1, abs=0.01)
    assert numpy.abs(smoothed(rough, 5, 0.001).vertices - rough.vertices).max() < 0.0011


def test_decimation_keeps_to_its_budget_and_the_shape():
    small = decimated(icosphere(4), 500)
    assert 400 <= len(small.faces) <= 500
    assert numpy.abs(numpy.linalg.norm(small.vertices, axis=1) - 1).max() < 0.05
    assert decimated(icosphere(2), 0).faces is not None and len(decimated(icosphere(2), 0).faces) == 320


def test_a_small_hole_is_filled():
    ball = icosphere(3)
    cut = Mesh(ball.vertices, ball.faces[1:])
    assert is_watertight(ball) and not is_watertight(cut)
    assert trimesh.Trimesh(*[getattr(with_holes_filled(cut), name) for name in ("vertices", "faces")]).is_watertight


def test_a_mesh_turned_inside_out_in_one_place_is_not_watertight():
    ball = icosphere(1)
    faces = ball.faces.copy()
    faces[0] = faces[0][::-1]
    assert not is_watertight(Mesh(ball.vertices, faces))


def test_an_edge_where_two_surfaces_touch_is_counted():
    vertices = numpy.array([[0, 0, 0], [0, 0, 1], [1, 0, 0], [1, 1, 0], [-1, 0, 0], [-1, -1, 0]], numpy.float32)
    one = numpy.array([[0, 1, 2], [1, 0, 3], [0, 2, 3], [1, 3, 2]], numpy.int32)
    other = numpy.array([[0, 1, 4], [1, 0, 5], [0, 4, 5], [1, 5, 4]], numpy.int32)
    both = Mesh(vertices, numpy.concatenate([one, other]))
    assert shared_edges(both) == 1 and shared_edges(Mesh(vertices, one)) == 0
    assert is_watertight(both)


def test_vertex_normals_of_a_ball_are_its_directions():
    ball = icosphere(3)
    assert numpy.abs(vertex_normals(ball) - ball.vertices).max() < 0.03


STAGES = [without_small_pieces, lambda mesh: smoothed(mesh, 5, 0.01), is_watertight, joints, vertex_normals]


@pytest.mark.parametrize("stage", STAGES, ids=["pieces", "smoothing", "watertight", "joints", "normals"])
def test_what_is_done_to_a_mesh_is_bounded_in_memory_by_its_triangles(stage):
    mesh = icosphere(6)
    stage(icosphere(1))  # imports are not the mesh's
    tracemalloc.start()
    try:
        stage(mesh)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < BYTES_A_TRIANGLE * len(mesh.faces)


def test_an_empty_model_is_an_error(ball_run):
    run = open_run(ball_run)
    run.model.occupancy.occupied.zero_()
    run.model.occupancy.hull.zero_()
    with pytest.raises(InputError, match="the model is empty"):
        make_surface(run.model, run.cameras, SurfaceRequest(16))


def test_nothing_but_colour_depends_on_the_view(ball_mesh):
    assert ball_mesh.vertices.dtype == numpy.float32 and ball_mesh.rgb.dtype == numpy.uint8
    assert torch.from_numpy(ball_mesh.normals).norm(dim=1).sub(1).abs().max() < 1e-4


def test_the_command_writes_everything_where_it_is_told(ball_run, tmp_path, capsys):
    words = ["export", str(ball_run), "--mesh", str(tmp_path / "new" / "ball.obj"), "--resolution", "24"]
    words += ["--points", str(tmp_path / "points.ply"), "--count", "500", "--depth", str(tmp_path / "depth")]
    assert main([*words, "--cameras", str(tmp_path / "cameras")]) == 0
    assert {path.name for path in (tmp_path / "new").iterdir()} == {"ball.obj", "ball.report.json"}
    assert (tmp_path / "cameras" / "sparse" / "0" / "images.txt").is_file()
    assert len(list((tmp_path / "depth").glob("*.png"))) == 12
    assert "triangles" in capsys.readouterr().out
