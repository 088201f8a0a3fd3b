"""Polycam's raw export, and depth maps that transforms.json names."""

import json

import numpy
import pytest
from PIL import Image

from nerf.config import SceneSettings
from nerf.errors import InputError
from nerf.scenes import SceneFolder, load_scene
from tests.scenes.photo_folder import FOCAL, HEIGHT, WIDTH, N, picture, poses

GL = numpy.array([1.0, -1.0, -1.0, 1.0])


def loaded(folder, **settings):
    return load_scene(SceneFolder("capture", folder, ""), ("train",), SceneSettings(holdout=0, **settings), False)


def write_polycam(folder, kind="corrected_"):
    place = folder / "keyframes"
    for part in (f"{kind}images", f"{kind}cameras", "depth", "confidence"):
        (place / part).mkdir(parents=True)
    for view, pose in enumerate(poses()):
        name = f"{1000 + view}"
        tree = {f"t_{row}{column}": (pose * GL)[row, column] for row in range(3) for column in range(4)}
        tree |= {"fx": FOCAL, "fy": FOCAL, "cx": 15.5, "cy": 12.5, "width": WIDTH, "height": HEIGHT, "blur_score": 90}
        (place / f"{kind}cameras" / f"{name}.json").write_text(json.dumps(tree))
        Image.fromarray(picture(view)).save(place / f"{kind}images" / f"{name}.jpg")
        Image.fromarray(numpy.full((12, 16), 2500 + view, numpy.uint16)).save(place / "depth" / f"{name}.png")
        Image.fromarray(numpy.full((12, 16), 255, numpy.uint8)).save(place / "confidence" / f"{name}.png")
    return folder


@pytest.mark.parametrize("kind", ["corrected_", ""])
def test_polycams_export_is_read_with_poses_and_depth_maps(tmp_path, kind):
    scene = loaded(write_polycam(tmp_path, kind))
    views = scene.splits["train"]
    assert scene.kind == "polycam" and len(views) == N
    assert numpy.allclose(views.cameras.world_from_camera.numpy(), poses(), atol=1e-6)
    assert views.cameras.center[0].tolist() == [15.5, 12.5]
    assert all(file.unit == 1e-3 and file.confidence.is_file() for file in views.depth_files)
    assert any("12 depth maps" in note for note in scene.notes)


def test_optimized_cameras_go_before_those_of_the_phone(tmp_path):
    write_polycam(tmp_path, "")
    cameras = tmp_path / "keyframes" / "corrected_cameras"
    cameras.mkdir()
    (tmp_path / "keyframes" / "corrected_images").mkdir()
    for file in list((tmp_path / "keyframes" / "cameras").iterdir())[:4]:
        (cameras / file.name).write_bytes(file.read_bytes())
        image = tmp_path / "keyframes" / "images" / f"{file.stem}.jpg"
        (tmp_path / "keyframes" / "corrected_images" / image.name).write_bytes(image.read_bytes())
    assert len(loaded(tmp_path).splits["train"]) == 4


@pytest.mark.parametrize("damage", ["null", '{"t_00": "1"}', "[", "{}"])
def test_a_damaged_camera_is_named(tmp_path, damage):
    write_polycam(tmp_path)
    (tmp_path / "keyframes" / "corrected_cameras" / "1003.json").write_text(damage)
    with pytest.raises(InputError, match="1003.json"):
        loaded(tmp_path)


def write_transforms(folder, **more):
    frames = []
    for view, pose in enumerate(poses()):
        Image.fromarray(picture(view)).save(folder / f"{view}.png")
        Image.fromarray(numpy.full((12, 16), 2500, numpy.uint16)).save(folder / f"{view}_depth.png")
        matrix = numpy.vstack([pose * GL, [0, 0, 0, 1]]).tolist()
        frames.append({"file_path": f"{view}.png", "transform_matrix": matrix, "depth_file_path": f"{view}_depth.png"})
    tree = {"fl_x": FOCAL, "w": WIDTH, "h": HEIGHT, "frames": frames, **more}
    (folder / "transforms.json").write_text(json.dumps(tree))
    return tree


def test_transforms_name_depth_maps_in_millimetres_or_another_unit(tmp_path):
    write_transforms(tmp_path)
    scene = loaded(tmp_path)
    assert all(file.unit == 1e-3 for file in scene.splits["train"].depth_files)
    assert not any("not read" in note for note in scene.notes)
    write_transforms(tmp_path, depth_unit_scale_factor=0.01)
    assert loaded(tmp_path).splits["train"].depth_files[0].unit == 0.01


@pytest.mark.parametrize(
    "name, says",
    [
        ("gone.png", "depth map .gone.png. not found"),
        (7, "expected a file name"),
        ("d.exr", "save it as .npy, in metres"),
        ("../../x.png", "x.png"),
    ],
)
def test_a_depth_map_that_cannot_be_is_named(tmp_path, name, says):
    tree = write_transforms(tmp_path)
    tree["frames"][2]["depth_file_path"] = name
    (tmp_path / "transforms.json").write_text(json.dumps(tree))
    with pytest.raises(InputError, match=says):
        loaded(tmp_path)
