"""Pictures that tests of what is learned of pictures learn from."""

from __future__ import annotations

import pytest

from nerf.config import SceneSettings
from nerf.scenes import SceneFolder, Views, load_scene
from tests.conftest import write_ball_scene


@pytest.fixture(scope="session")
def ball(tmp_path_factory) -> Views:
    """24 pictures of the ball, of 64 x 64 pixels; whoever changes them takes a copy."""
    folder = write_ball_scene(tmp_path_factory.mktemp("ball") / "ball", size=64, views=24, splits=("train",))
    return load_scene(SceneFolder("ball", folder, ""), ("train",), SceneSettings()).splits["train"]
