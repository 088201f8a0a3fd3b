import numpy
import torch
import trimesh

from nerf.cli.main import main
from nerf.meshing.sphere_tracing import shape_picture, sphere_traced, surface_mesh
from nerf.signals.files.shapes import shape_of_mesh, shape_of_points
from nerf.signals.registry import signal_class
from nerf.signals.sdf import SignedDistance, distance, gradient
from nerf.signals.settings import FitSettings
from nerf.signals.settings import read_fit_settings as read
from nerf.signals.signal import DecodeRequest, SignalTask, new_field

SMALL = [
    "field.levels=4", "field.base_resolution=4", "field.finest_resolution=32", "field.log2_table_size=12",
    "field.width=16", "optimizer.learning_rate=1e-2", "optimizer.final_factor=0.1", "train.samples=4096",
]  # fmt: skip
BOX = trimesh.creation.box((1, 0.6, 0.8)).triangles


def small() -> FitSettings:
    return read(None, SMALL, signal_class("sdf").defaults)


def ball(position: torch.Tensor) -> torch.Tensor:
    return (position - 0.5).norm(dim=1) - 0.3


def test_a_box_is_learned_from_its_distances():
    shape = shape_of_mesh(BOX)
    signal = SignedDistance(shape.side, shape.corner, shape, pool=2**15)
    task = SignalTask(signal, small())
    before = signal.evaluate(task.field, 4000, 32)
    for step in range(100):
        task.train_step(step, step / 100)
    after = signal.evaluate(task.field, 4000, 32)
    assert before["iou"] < 0.8 < 0.93 < after["iou"]
    assert after["chamfer_percent"] < 0.25 * before["chamfer_percent"] and after["watertight"]


def test_a_ball_is_learned_from_points_and_normals_alone():
    mesh = trimesh.creation.icosphere(4, radius=2.0)
    shape = shape_of_points(mesh.vertices, mesh.vertices / 2)
    signal = SignedDistance(shape.side, shape.corner, shape)
    task = SignalTask(signal, small())
    for step in range(40):
        task.train_step(step, step / 40)
    place = torch.rand(4000, 3, generator=torch.Generator().manual_seed(0))
    truth = (place - 0.5).norm(dim=1) - 0.45
    value, slope = gradient(task.field, place)
    near = truth.abs() < 0.1
    assert (value - truth)[near].abs().mean() < 0.03  # the first ball is 0.1 too small
    assert abs(slope[near].norm(dim=1).mean() - 1) < 0.2
    assert signal.evaluate(task.field)["chamfer_percent"] < 2


def test_a_field_is_a_ball_at_first():
    shape = shape_of_mesh(BOX)
    field = new_field(SignedDistance(shape.side, shape.corner), small(), "reference")
    point = torch.rand(100, 3, generator=torch.Generator().manual_seed(0))
    assert torch.allclose(distance(field.values, point), (point - 0.5).norm(dim=1) - 0.35, atol=1e-3)


def test_rays_stop_on_a_ball_and_miss_beside_it():
    origin = torch.tensor([[0.5, 0.5, -1.0], [0.95, 0.95, -1.0], [2.0, 2.0, 2.0]])
    t, met = sphere_traced(ball, origin, torch.tensor([[0.0, 0.0, 1.0]]).repeat(3, 1))
    assert met.tolist() == [True, False, False] and abs(t[0].item() - 1.2) < 1e-3


def test_the_picture_of_a_ball_is_round_and_lit_from_above():
    picture = shape_picture(ball, (80, 60)).astype(float).mean(2)
    shown = picture < 255
    radius = 0.3 * 2.4 * 60 / (3**2 - 0.3**2) ** 0.5  # of the cone that touches it
    assert picture.shape == (60, 80) and abs(shown.sum() / (3.14159 * radius**2) - 1) < 0.05
    row = numpy.arange(60)[:, None]
    assert picture[shown & (row < 25)].mean() > picture[shown & (row > 35)].mean()


def test_the_mesh_of_a_ball_faces_outwards():
    mesh = surface_mesh(ball, 32)
    assert numpy.abs(numpy.linalg.norm(mesh.vertices - 0.5, axis=1) - 0.3).max() < 1e-3
    assert ((mesh.vertices - 0.5) * mesh.normals).sum(1).min() > 0.2


def test_the_command_fits_a_mesh_and_writes_it_where_it_was(tmp_path, monkeypatch):
    monkeypatch.setattr("nerf.signals.sdf.POOL", 2**14)
    monkeypatch.setattr("nerf.signals.sdf.HELD_OUT", 2**12)
    monkeypatch.setattr("nerf.signals.sdf.RESOLUTION", 32)
    file = tmp_path / "box.obj"
    trimesh.creation.box((1, 0.6, 0.8)).apply_translation((10, 0, 0)).export(file)
    run = tmp_path / "run"
    assert main(["fit", "sdf", str(file), "--out", str(run), "--backend", "reference", "--steps", "30", *SMALL]) == 0
    mesh = trimesh.load(run / "decoded.ply", force="mesh")
    assert numpy.abs(mesh.bounds.mean(0) - [10, 0, 0]).max() < 0.1
    signal = SignedDistance.recall({"side": 1.0, "corner": [0, 0, 0]}, small())
    field = new_field(signal, small(), "reference")
    assert "sphere-traced" in signal.export(field, tmp_path / "a.png", DecodeRequest(size=(40, 30)))
    assert (tmp_path / "a.png").stat().st_size > 300


def test_the_command_refuses_a_mesh_with_holes_in_one_line(tmp_path, capsys):
    ball_mesh = trimesh.creation.icosphere(2)
    trimesh.Trimesh(ball_mesh.vertices, ball_mesh.faces[1:]).export(tmp_path / "open.obj")
    assert main(["fit", "sdf", str(tmp_path / "open.obj"), "--out", str(tmp_path / "run")]) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1 and "1 hole (3 open edges)" in said


def test_a_shape_far_from_its_origin_is_written_without_stairs(tmp_path):
    class Nothing:
        @staticmethod
        def values(position):
            return torch.zeros(len(position), 1)

    corner = [448262.3, 5411932.7, 200.0]
    signal = SignedDistance(2.0, corner)
    signal.export(Nothing(), tmp_path / "ball.ply", DecodeRequest(resolution=24))
    vertices = trimesh.load(tmp_path / "ball.ply", process=False).vertices
    assert len(numpy.unique(vertices[:, 1])) > 100  # single precision would leave five
    distance_of = numpy.linalg.norm(vertices - (numpy.array(corner) + 1), axis=1)
    assert numpy.abs(distance_of - 0.7).max() < 0.02  # the ball that the field corrects, to a fraction of a cell
