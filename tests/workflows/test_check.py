"""What is said of a capture before training."""

import pytest
import torch

from nerf.config import Settings
from nerf.geometry.contraction import Contraction
from nerf.geometry.scene_box import SceneBox
from nerf.scenes.blender import load_blender
from nerf.workflows.check import bounds_text


@pytest.mark.parametrize(("size", "said"), [(4.0, "4.000"), (400.0, "400.000"), (4e-4, "0.0004000")])
def test_bounds_are_said_in_the_decimals_that_the_scene_needs(ball_scene, size, said):
    views = load_blender(ball_scene, "train")
    center = torch.full((3,), size)
    text = bounds_text(SceneBox(center - size / 2, size), Settings(), views)
    assert f"cube of side {said} around ({said}, {said}, {said})" in text
    contracted = SceneBox(center - size, 2 * size, Contraction(center, size, size / 8))
    text = bounds_text(contracted, Settings(), views)
    assert f"about ({said}, {said}, {said}), radius {said}, near {size / 8:.{len(said.split('.')[1])}f}" in text
