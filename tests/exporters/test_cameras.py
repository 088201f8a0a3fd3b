"""Cameras and depth maps: what others read is what we see."""

import json
import math
from dataclasses import replace

import numpy
import pytest
import torch
from PIL import Image
from scipy.spatial.transform import Rotation

from nerf.config import SceneSettings
from nerf.errors import InputError
from nerf.exporters.cameras import picture_names, write_colmap, write_transforms
from nerf.exporters.depth_maps import write_depths
from nerf.files import check_new_folder
from nerf.geometry.gltf import still_file
from nerf.geometry.lenses import lens_terms
from nerf.geometry.similarity import placement
from nerf.scenes import SceneFolder, load_scene
from tests.ball import ball_model, cameras_round
from tests.geometry.test_gltf import chunks

NAMES = ["a.png", "b.png", "c.png"]


def test_transforms_are_read_back_by_our_own_loader(tmp_path):
    cameras = cameras_round(3, 32)
    write_transforms(tmp_path / "transforms_train.json", cameras, NAMES)
    for name in NAMES:
        Image.new("RGBA", (32, 32), (9, 9, 9, 255)).save(tmp_path / name)
    back = load_scene(SceneFolder("", tmp_path, ""), ("train",), SceneSettings()).splits["train"].cameras
    assert torch.allclose(back.world_from_camera, cameras.world_from_camera, atol=1e-6)
    assert torch.allclose(back.focal, cameras.focal, rtol=1e-5)


@pytest.mark.parametrize("kind", ["transforms", "colmap"])
def test_lenses_and_sizes_are_handed_on(tmp_path, kind):
    terms = {"k1": -0.1, "k2": 0.03, "p1": 0.004, "p2": -0.002}
    other = {"k3": 0.01, "k4": 0.02} if kind == "transforms" else {"k3": 0.01, "d1": 0.02}
    lens = [lens_terms(False, {**terms, **other}), lens_terms(True, {**terms, "k4": 0.01}), [0.0] * 12]
    size = torch.tensor([[32, 32], [32, 24], [32, 32]])
    cameras = replace(cameras_round(3, 32), lens=torch.tensor(lens), size=size)
    for name, (width, height) in zip(NAMES, size.tolist()):
        Image.new("RGB", (width, height), (9, 9, 9)).save(tmp_path / name)
    if kind == "transforms":
        write_transforms(tmp_path / "transforms.json", cameras, NAMES)
    else:
        write_colmap(tmp_path / "sparse", cameras, NAMES)
    back = load_scene(SceneFolder("", tmp_path, ""), ("train",), SceneSettings()).splits["train"].cameras
    assert torch.equal(back.size, size) and torch.allclose(back.lens, cameras.lens, atol=1e-7)
    assert torch.allclose(back.world_from_camera, cameras.world_from_camera, atol=1e-5)


def test_a_colmap_model_projects_points_where_our_cameras_do(tmp_path):
    cameras = cameras_round(3, 32)
    write_colmap(tmp_path, cameras, NAMES)
    lens = [line.split() for line in (tmp_path / "cameras.txt").read_text().splitlines() if line[0] != "#"]
    assert len(lens) == 1 and lens[0][1:4] == ["PINHOLE", "32", "32"]
    fx, fy, cx, cy = map(float, lens[0][4:])
    lines = [line for line in (tmp_path / "images.txt").read_text().splitlines() if line and line[0] != "#"]
    point = torch.randn(6, 3, generator=torch.Generator().manual_seed(0)) * 0.3
    for frame, line in enumerate(lines):
        words = line.split()
        w, x, y, z = map(float, words[1:5])
        turn = torch.tensor([
            [1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)],
            [2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)],
            [2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)],
        ])  # fmt: skip
        inside = point @ turn.T + torch.tensor([float(word) for word in words[5:8]])
        pixel = inside[:, :2] / inside[:, 2:] * torch.tensor([fx, fy]) + torch.tensor([cx, cy])
        assert torch.allclose(pixel, cameras.project(frame, point)[0], atol=1e-3)
        assert words[8:] == ["1", NAMES[frame]]


def test_pycolmap_reads_the_model(tmp_path):
    pycolmap = pytest.importorskip("pycolmap")
    cameras = cameras_round(3, 32)
    write_colmap(tmp_path, cameras, NAMES)
    model = pycolmap.Reconstruction(str(tmp_path))
    centers = {image.name: image.projection_center() for image in model.images.values()}
    assert numpy.allclose([centers[name] for name in NAMES], cameras.world_from_camera[:, :, 3], atol=1e-5)


def test_a_name_with_line_breaks_injects_no_line(tmp_path):
    write_colmap(tmp_path, cameras_round(2, 32), ["a\n9 1 0 0 0 0 0 0 1 faked.png", "b\u2028c.png"])
    names = [line.split(maxsplit=9)[9] for line in (tmp_path / "images.txt").read_text().splitlines()[1:] if line]
    assert names == [r"a\x0a9 1 0 0 0 0 0 0 1 faked.png", r"b\u2028c.png"]


@pytest.mark.parametrize("kind", ["png", "npy"])
def test_a_depth_map_puts_every_pixel_on_the_ball(tmp_path, kind):
    cameras = cameras_round(3, 32)
    write_depths(tmp_path / "depth", ball_model(), cameras, NAMES, 2.0, kind)
    about = json.loads((tmp_path / "depth" / "depths.json").read_text())
    file = tmp_path / "depth" / about["frames"][1]["file"]
    depth = numpy.load(file) if kind == "npy" else numpy.array(Image.open(file)).astype(float) * about["unit"]
    met = numpy.isfinite(depth) & (depth > 0)
    assert 0.1 < met.mean() < 0.6
    row, column = met.nonzero()
    slope = torch.tensor(numpy.stack([column, row], 1) + 0.5) - cameras.center[1]
    place = (
        torch.cat([slope / cameras.focal[1], torch.ones(len(row), 1)], 1).double()
        * torch.tensor(depth[met])[:, None]
        / 2
    )
    world = place.float() @ cameras.world_from_camera[1, :, :3].T + cameras.world_from_camera[1, :, 3]
    assert (world.norm(dim=1) - 0.5).abs().max() < 0.02


def test_names_with_folders_become_one_name_each_and_full_folders_are_refused(tmp_path):
    assert picture_names(["./train/r_0", "a/b.jpg"]) == ["train_r_0.png", "a_b.jpg"]
    assert picture_names(["shot.0001", "a/b", "a_B"]) == ["shot.0001.png", "a_b.png", "a_B-2.png"]


@pytest.mark.parametrize(
    ("names", "files"),
    [
        (["shot.0001", "shot.0002", "shot.0003"], ["shot.0001.png", "shot.0002.png", "shot.0003.png"]),
        (["a.jpg", "a.png", "b"], ["a.jpg.png", "a.png.png", "b.png.png"]),
    ],
)
def test_every_view_has_a_depth_map_of_its_own(tmp_path, names, files):
    write_depths(tmp_path / "depth", ball_model(), cameras_round(3, 16), picture_names(names), 1.0, "png")
    about = json.loads((tmp_path / "depth" / "depths.json").read_text())
    assert [frame["file"] for frame in about["frames"]] == files
    assert {path.name for path in (tmp_path / "depth").iterdir()} == {*files, "depths.json"}
    check_new_folder(tmp_path / "new")
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="exists already"):
        check_new_folder(tmp_path)


def test_cameras_stand_in_the_space_of_meshes_for_blender(tmp_path):
    cameras = cameras_round(5)
    placed = placement("", torch.tensor([0.0, 0.0, 1.0]), unit="cm")
    (tmp_path / "cameras.glb").write_bytes(still_file(cameras, [f"{number}.png" for number in range(5)], placed))
    tree, _ = chunks(tmp_path / "cameras.glb")
    (root,) = tree["scenes"][0]["nodes"]
    nodes = [tree["nodes"][number] for number in tree["nodes"][root]["children"]]
    assert [node["name"] for node in nodes] == [f"{number}.png" for number in range(5)]
    for node, pose in zip(nodes, cameras.world_from_camera):
        x, y, z = (pose[:, 3] / 100).tolist()  # metres; z becomes y, and y becomes -z
        assert node["translation"] == pytest.approx([x, z, -y], abs=1e-6)
        turn = torch.from_numpy(Rotation.from_quat(node["rotation"]).as_matrix()).float()
        towards = torch.nn.functional.normalize(-torch.tensor(node["translation"]), dim=0)
        assert torch.allclose(-turn[:, 2], towards, atol=1e-5)  # all look at the origin, along their -z
        assert turn[1, 1] > 0  # and hold their y up
    view = tree["cameras"][nodes[0]["camera"]]["perspective"]["yfov"]
    assert view == pytest.approx(2 * math.atan(0.5 / 1.1))
