"""A scene in map coordinates: it trains as it does near its origin, and all that is written is where it belongs."""

import json

import numpy
import pytest
import torch
import trimesh

from nerf.cli.main import main
from nerf.geometry.origin import absolute
from nerf.scenes.blender import load_blender
from nerf.workflows.trained import open_run
from tests.conftest import RADIUS, SMALL, write_ball_scene

OFFSET = numpy.array([448262.0, 5411932.0, 205.0])
TOLERANCE = 0.1  # of positions on the ball that 150 steps have learned


@pytest.fixture(scope="module")
def far_run(tmp_path_factory):
    root = tmp_path_factory.mktemp("far")
    scene = write_ball_scene(root / "scene")
    for file in scene.glob("transforms_*.json"):
        tree = json.loads(file.read_text())
        for frame in tree["frames"]:
            matrix = numpy.array(frame["transform_matrix"])
            matrix[:3, 3] += OFFSET
            frame["transform_matrix"] = matrix.tolist()
        file.write_text(json.dumps(tree))
    words = ["train", "--scene", str(scene), "--out", str(root / "run"), "--steps", "150", "--backend", "reference"]
    assert main([*words, *SMALL, "output.video=", "output.mesh="]) == 0
    return root / "run"


def test_a_far_scene_is_learned_and_scored_as_a_near_one(far_run, capsys):
    run = open_run(far_run)
    assert run.cameras.origin == tuple(OFFSET)
    assert run.cameras.world_from_camera[:, :, 3].norm(dim=1).max() < 2.1
    assert main(["evaluate", str(far_run)]) == 0
    assert json.loads((far_run / "metrics.json").read_text())["psnr"] > 20
    capsys.readouterr()
    assert main(["train", "--scene", run.record["folder"], "--out", str(far_run), "--resume", "--steps", "152"]) == 0
    assert "resumed at step 150" in capsys.readouterr().out


@pytest.mark.parametrize("suffix", [".ply", ".obj", ".glb"])
def test_meshes_of_a_far_scene_are_where_it_is_without_stairs(far_run, tmp_path, suffix):
    file = tmp_path / f"ball{suffix}"
    low, high = OFFSET - 0.6, OFFSET + [0.6, 0.6, 0.2]
    words = ["export", str(far_run), "--mesh", str(file), "--resolution", "32", "--crop"]
    assert main([*words, *map(str, [*low, *high])]) == 0
    mesh = trimesh.load(file, process=False, force="mesh")
    if suffix == ".glb":  # whose y axis is up: back to the input's frame
        x, y, z = mesh.vertices.T
        mesh.vertices = numpy.stack([x, -z, y], 1)
    assert len(numpy.unique(mesh.vertices[:, 1])) > len(mesh.vertices) / 4
    distance = numpy.linalg.norm(mesh.vertices - OFFSET, axis=1)
    assert abs(numpy.median(distance) - RADIUS) < TOLERANCE
    assert (
        mesh.vertices[:, 2].max() < OFFSET[2] + 0.22
    )  # the crop box is in the frame of the input; smoothing rounds it
    report = json.loads((tmp_path / "ball.report.json").read_text())
    assert report["origin"] == OFFSET.tolist() and abs(report["highest"][2] - mesh.vertices[:, 2].max()) < 1e-4


def test_points_cameras_and_depths_of_a_far_scene_are_where_it_is(far_run, tmp_path):
    words = ["export", str(far_run), "--points", str(tmp_path / "p.ply"), "--count", "500", "--resolution", "24"]
    assert main([*words, "--cameras", str(tmp_path / "cameras"), "--depth", str(tmp_path / "depth")]) == 0
    points = trimesh.load(tmp_path / "p.ply").vertices
    assert len(numpy.unique(points[:, 1])) > 400
    assert abs(numpy.median(numpy.linalg.norm(points - OFFSET, axis=1)) - RADIUS) < TOLERANCE

    cameras = open_run(far_run).cameras
    eye = absolute(cameras.world_from_camera[:, :, 3], cameras.origin).numpy()
    frames = json.loads((tmp_path / "cameras" / "transforms.json").read_text())["frames"]
    assert numpy.abs(numpy.array([frame["transform_matrix"] for frame in frames])[:, :3, 3] - eye).max() < 1e-9
    frames = json.loads((tmp_path / "depth" / "depths.json").read_text())["frames"]
    assert numpy.abs(numpy.array([frame["world_from_camera"] for frame in frames])[:, :, 3] - eye).max() < 1e-9

    lines = (tmp_path / "cameras" / "sparse" / "0" / "images.txt").read_text().splitlines()[1::2]
    for line, place in zip(lines, eye):
        w, x, y, z, *moved = map(float, line.split()[1:8])
        turn = trimesh.transformations.quaternion_matrix([w, x, y, z])[:3, :3]
        assert numpy.abs(-turn.T @ moved - place).max() < 1e-6


def test_key_frames_and_tracks_of_a_far_scene_are_in_its_frame(far_run, tmp_path):
    keys = tmp_path / "keys.json"
    eyes = [OFFSET + place for place in ([2.0, 0.0, 0.3], [0.0, 2.0, 0.3])]
    frames = [{"eye": eye.tolist(), "target": OFFSET.tolist()} for eye in eyes]
    keys.write_text(json.dumps({"frames": frames}))
    words = ["render", str(far_run), "--keys", str(keys), "--frames", "2", "--size", "24x16"]
    assert main([*words, "--out", str(tmp_path / "a.gif")]) == 0
    track = json.loads((tmp_path / "a.track.json").read_text())
    found = numpy.array([frame["world_from_camera"] for frame in track["frames"]])[:, :, 3]
    assert numpy.abs(found - eyes).max() < 1e-6


def test_the_splits_of_a_far_scene_share_an_origin_and_one_alone_has_its_own(far_run):
    folder = far_run.parent / "scene"
    test = load_blender(folder, "test").cameras
    ours = test.about(open_run(far_run).cameras.origin)
    assert torch.allclose(ours.world_from_camera[:, :, 3].norm(dim=1), torch.full((2,), 2.0), atol=1e-5)
