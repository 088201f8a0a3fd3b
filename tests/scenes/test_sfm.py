"""Bare photographs and videos: frames, poses found by structure-from-motion, and what is said where there are none."""

import os
import subprocess
import sys
from importlib import import_module
from importlib.util import find_spec

import numpy
import pytest
from PIL import Image

from nerf.config import SceneSettings
from nerf.errors import InputError
from nerf.scenes import SceneFolder, load_scene
from nerf.scenes.formats import found_formats
from nerf.scenes.sfm import find_poses, photo_names
from tests.scenes import photo_folder as made

ENDED = """
import os, signal, sys, time
from nerf.cli.main import main
from nerf.scenes import sfm
def search(pictures, names, work, in_order):
    (work / "half").write_text("")
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(30)
sfm._best_model = search
sys.exit(main(["check", "."]))
"""


def wall_photos(folder, n=6, width=320, height=240):
    """Writes pictures of a corner of two textured walls, taken while walking past it; returns the eyes (n, 3)."""
    from scipy.ndimage import gaussian_filter

    generator = numpy.random.default_rng(5)
    fine = generator.random((2, 512, 512, 3))
    walls = sum(gaussian_filter(fine, (0, s, s, 0)) / gaussian_filter(fine, (0, s, s, 0)).std() for s in (1.5, 4, 12))
    walls = 255 * (walls - walls.min()) / (walls.max() - walls.min())
    row, column = numpy.mgrid[:height, :width] + 0.5
    slope = numpy.stack([(column - width / 2) / 300, (row - height / 2) / 300, numpy.ones_like(row)], -1)
    eyes = numpy.array([[0.25 * i - 0.6, 0.05 * (-1) ** i, 0.1 * i] for i in range(n)])
    folder.mkdir(parents=True)
    for view, eye in enumerate(eyes):
        shown, nearest = numpy.zeros((height, width, 3)), numpy.full((height, width), numpy.inf)
        for wall, normal in enumerate(([0.6, 0, -0.8], [-0.6, 0, -0.8])):  # they meet at z = 4
            normal = numpy.array(normal)
            t = ((numpy.array([0, 0, 4]) - eye) @ normal) / (slope @ normal)
            point = eye + t[..., None] * slope
            place = numpy.stack([point[..., 1], point[..., 0]], -1) * 90 + 256
            color = walls[wall][tuple(place.astype(int).clip(0, 511).transpose(2, 0, 1))]
            near = (t > 0) & (t < nearest)
            shown[near], nearest[near] = color[near], t[near]
        Image.fromarray(shown.astype(numpy.uint8)).save(folder / f"w_{view}.png")
    return eyes


def test_poses_of_bare_photographs_are_found_once_and_kept_in_colmaps_format(tmp_path):
    pytest.importorskip("pycolmap")
    eyes = wall_photos(tmp_path / "images")
    Image.new("RGB", (320, 240), (90, 90, 90)).save(tmp_path / "images" / "x_flat.png")
    assert [row.name for row in found_formats(tmp_path)] == ["photos"]
    scene = load_scene(SceneFolder("walls", tmp_path, ""), ("train",), SceneSettings())
    assert [row.name for row in found_formats(tmp_path)] == ["colmap"]
    assert (tmp_path / "sparse" / "0" / "images.bin").is_file()
    assert not [path for path in tmp_path.iterdir() if path.name.startswith(".sfm")]
    cameras = scene.splits["train"].cameras
    assert len(cameras) == 6 and scene.splits["train"].depths is not None
    assert any("x_flat.png: only 0 features" in note for note in scene.notes)
    # Up to a similarity, the eyes are where the pictures were taken from: distances agree in proportion.
    centers = cameras.world_from_camera[:, :, 3].double().numpy()
    found = numpy.linalg.norm(centers[:, None] - centers, axis=2)
    true = numpy.linalg.norm(eyes[:, None] - eyes, axis=2)
    scale = (found * true).sum() / (true * true).sum()
    assert numpy.abs(found / scale - true).max() < 0.03 * true.max()


def test_photographs_that_pycolmap_cannot_read_are_converted_for_it(tmp_path):
    pytest.importorskip("pycolmap")
    folder = tmp_path / "images"
    wall_photos(folder)
    heic = ".avif"
    if find_spec("pillow_heif"):
        heic = ".heic"
        import_module("pillow_heif").register_heif_opener()
    for view, suffix in enumerate((".avif", ".webp", ".png", heic, ".JPG", ".webp")):
        file = folder / f"w_{view}.png"
        Image.open(file).save(file.with_suffix(suffix), quality=95)
        if suffix != ".png":
            file.unlink()
    before = sorted(file.name for file in folder.iterdir())
    scene = load_scene(SceneFolder("walls", tmp_path, ""), ("train",), SceneSettings())
    assert len(scene.splits["train"]) == 6 and sorted(file.name for file in folder.iterdir()) == before
    assert any("found for 6 of 6 pictures" in note for note in scene.notes)


def test_pictures_that_are_not_read_are_named_with_the_mend(tmp_path):
    pytest.importorskip("pycolmap")
    for name in ("a.CR2", "b.dng", "c.jpg"):
        (tmp_path / name).write_bytes(b"")
    with pytest.raises(InputError, match="1 photographs, 3 are needed; .*not read .2.: a.CR2, b.dng; convert them"):
        load_scene(SceneFolder("raw", tmp_path, ""), ("train",), SceneSettings())


def test_photographs_that_show_nothing_end_in_advice(tmp_path, capsys):
    pytest.importorskip("pycolmap")
    for view in range(4):
        Image.new("RGB", (160, 120), (30 * view, 90, 90)).save(tmp_path / f"{view}.png")
    assert photo_names(tmp_path) == ["0.png", "1.png", "2.png", "3.png"]
    elsewhere = tmp_path / "work" / "first" / "model"
    elsewhere.mkdir(parents=True)
    for name in ("cameras.txt", "images.txt"):
        (elsewhere / name).write_text("")
    assert [row.name for row in found_formats(tmp_path)] == ["photos"]
    with pytest.raises(InputError, match="no camera poses found in 4 pictures; take sharp pictures"):
        find_poses(tmp_path)
    assert not (tmp_path / "sparse").exists()
    assert f"{elsewhere}: a COLMAP model, but not where one is looked for" in capsys.readouterr().out


def test_without_pycolmap_the_extra_is_named(tmp_path, monkeypatch):
    made.write_pictures(tmp_path / "images")
    monkeypatch.setitem(sys.modules, "pycolmap", None)
    with pytest.raises(InputError, match=r"pip install 'nerf\[sfm\]'"):
        load_scene(SceneFolder("bare", tmp_path, ""), ("train",), SceneSettings())


@pytest.mark.skipif(not hasattr(os, "fork"), reason="Windows ends processes without a word")
def test_a_search_for_poses_that_is_ended_leaves_nothing_behind(tmp_path):
    pytest.importorskip("pycolmap")
    for view in range(3):
        Image.new("RGB", (64, 48), (view, 9, 9)).save(tmp_path / f"{view}.png")
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, "-c", ENDED]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, timeout=100)
    assert (done.returncode, done.stderr) == (143, b"")
    assert list(tmp_path.rglob(".*")) == []
