"""Which picture of an LLFF capture gets which pose."""

import pytest

from nerf.config import SceneSettings
from nerf.scenes import SceneFolder, load_scene
from tests.scenes import photo_folder as made


@pytest.mark.parametrize("form", ["p_{}.png", "p_{:02d}.png"])
def test_the_order_is_said_where_names_without_leading_zeros_leave_a_doubt(tmp_path, form):
    made.write_pictures(tmp_path / "all")
    (tmp_path / "images").mkdir()
    for view in range(made.N):
        (tmp_path / "all" / made.name(view)).rename(tmp_path / "images" / form.format(view))
    (tmp_path / "images" / "._p_0.png").write_bytes(b"not a picture")
    made.write_llff(tmp_path)
    scene = load_scene(SceneFolder("made", tmp_path, ""), ("train",), SceneSettings(downscale=2))
    assert any("order of their letters" in note for note in scene.notes) == (form == "p_{}.png")
