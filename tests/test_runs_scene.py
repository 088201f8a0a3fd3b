"""scene.json: cameras that somebody has changed are refused in one line, whatever they have become."""

import json
import math

import pytest

from nerf.errors import InputError
from nerf.runs import RunFolder
from tests.ball import cameras_round

RECORD = {"name": "ball", "folder": "ball", "backend": "reference", "threads": 1, "views": ["a", "b", "c"]}


def test_cameras_come_back_with_their_origin(tmp_path):
    from dataclasses import replace

    cameras = replace(cameras_round(3), origin=(448262.25, 5411932.0, 1e-9))
    RunFolder(tmp_path).save_scene(RECORD, cameras)
    found = RunFolder(tmp_path).load_scene()[1]
    assert found.origin == cameras.origin and found.world_from_camera.equal(cameras.world_from_camera)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("focal", [[50.0]] * 3),
        ("focal", [[50.0, math.nan]] * 3),
        ("focal", [[50, 50]] * 3),
        ("center", [[1e300, 0.0]] * 3),
        ("width", "wide"),
        ("width", 2**40),
        ("height", 0),
        ("size", [[1, 2]]),
        ("world_from_camera", [[[0.0] * 4] * 3] * 3),
        ("world_from_camera", 3),
        ("origin", [0, 0]),
        ("origin", [0, 0, math.inf]),
        ("origin", "far"),
    ],
)
def test_cameras_that_are_none_are_refused(tmp_path, name, value):
    run = RunFolder(tmp_path)
    run.save_scene(RECORD, cameras_round(3))
    tree = json.loads((tmp_path / "scene.json").read_text())
    tree["cameras"][name] = value
    (tmp_path / "scene.json").write_text(json.dumps(tree))
    with pytest.raises(InputError, match="scene.json: damaged") as error:
        run.load_scene()
    assert "\n" not in str(error.value)
