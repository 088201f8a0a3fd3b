"""Exported cameras, put back beside the pictures that they were read from."""

import shutil
from types import SimpleNamespace

import pytest
import torch

from nerf.config import SceneSettings
from nerf.errors import InputError
from nerf.exporters.cameras import write
from nerf.geometry.similarity import placement
from nerf.scenes import SceneFolder, load_scene
from nerf.scenes.picture_names import within
from tests.scenes import photo_folder as made


def load(folder):
    return load_scene(SceneFolder("made", folder, ""), ("train",), SceneSettings(holdout=0)).splits["train"]


def export(views, files, path):
    cameras = views.cameras
    place = placement("", torch.tensor([0.0, 0.0, 1.0]), 1.0, "", cameras.origin)
    write(SimpleNamespace(cameras=cameras, files=files, placement=place), path)


@pytest.mark.parametrize("part", ["transforms.json", "sparse"])
def test_exported_cameras_find_their_pictures_again(tmp_path, part):
    scene = tmp_path / "scene"
    made.write_pictures(scene / "images")
    made.write_text(scene / "sparse" / "0")
    views = load(scene)
    export(views, [within(scene, file) for file in views.files], tmp_path / "out")
    shutil.rmtree(scene / "sparse")
    shutil.move(tmp_path / "out" / part, scene / part)
    again = load(scene)
    assert again.files == views.files
    assert torch.allclose(again.cameras.world_from_camera, views.cameras.world_from_camera, atol=1e-5)


def test_names_that_colmaps_text_cannot_hold_are_refused(tmp_path):
    made.write_pictures(tmp_path / "images")
    made.write_text(tmp_path / "sparse" / "0")
    views = load(tmp_path)
    with pytest.raises(InputError, match="line breaks"):
        export(views, ["a\nb.png"] * len(views), tmp_path / "out")
