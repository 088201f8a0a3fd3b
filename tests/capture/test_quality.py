"""The check of a capture before training: what it names, what it stays silent about, and the page it writes."""

import dataclasses
import math

import pytest
import torch
from PIL import Image

from nerf.capture.quality import check_capture, detail
from nerf.cli.main import main
from nerf.geometry.cameras import Cameras, look_at
from nerf.scenes import Views
from nerf.scenes.scene import Scene
from tests.conftest import SMALL, write_ball_scene
from tests.scenes import photo_folder as made


def textured(n: int = 24, turn: float = 360.0) -> Views:
    """Returns pictures of fine texture, taken from `turn` degrees of a ring around the origin."""
    poses = []
    for view in range(n):
        angle = math.radians(turn * view / n)
        eye = torch.tensor([3 * math.cos(angle), 3 * math.sin(angle), 1.0])
        poses.append(look_at(eye, torch.zeros(3), torch.tensor([0.0, 0.0, 1.0])))

    focal = torch.full((n, 2), 70.0)
    center = torch.full((n, 2), 32.0)
    images = (torch.rand(n, 64, 64, 3, generator=torch.Generator().manual_seed(1)) * 255).to(torch.uint8)
    names = tuple(f"p_{view:02d}" for view in range(n))
    return Views(names, images, 255, Cameras(torch.stack(poses), focal, center, 64, 64), unbounded=True)


def blurred(images: torch.Tensor) -> torch.Tensor:
    wide = torch.nn.functional.pad(images.permute(0, 3, 1, 2).float(), (2, 2, 2, 2), "reflect")
    return torch.nn.functional.avg_pool2d(wide, 5, 1).permute(0, 2, 3, 1).round().to(torch.uint8)


def checked(views: Views, **about: object):
    return check_capture(Scene("colmap", {"train": views}, **about), "none", 2**30)


def test_blur_lowers_detail_and_contrast_does_not():
    picture = textured(1).images
    sharp, soft = detail(picture[0]), detail(blurred(picture)[0])
    assert soft < 0.3 * sharp
    assert detail(picture[0].float() * 0.3) == pytest.approx(sharp, rel=0.05)
    assert detail(torch.full((8, 8, 3), 90)) == 0 and detail(torch.zeros(1, 1, 3)) == 0


def test_a_good_capture_gets_no_warning():
    assert checked(textured()).warnings == []


def test_blurred_photos_are_ranked_first_and_named_with_the_mend():
    views = textured()
    images = views.images.clone()
    images[[3, 17]] = blurred(images[[3, 17]])
    check = checked(dataclasses.replace(views, images=images))
    assert {facts.name for facts in check.pictures[:2]} == {"p_03", "p_17"}
    assert check.warnings[0].startswith("2 of 24 photos are blurred: remove p_")
    assert "p_03" in check.warnings[0] and "p_17" in check.warnings[0]


def test_pictures_of_one_colour_are_not_called_blurred():
    views = textured()
    images = torch.full_like(views.images, 255)
    images[3] = views.images[3]
    (warning,) = checked(dataclasses.replace(views, images=images)).warnings
    assert warning.startswith("most photos are of one colour")


def test_a_side_that_no_camera_sees_is_named_by_its_direction():
    (warning,) = checked(textured(turn=180)).warnings
    assert warning.startswith("no camera in 18") and "take pictures from there" in warning
    x, y, z = (float(word) for word in warning.partition("(")[2].partition(")")[0].split(","))
    assert abs(x) < 0.3 and y < -0.9 and z == 0  # they stand where y is positive


def test_few_pictures_far_apart_are_too_few():
    assert any("8 pictures, 4" in warning for warning in checked(textured(8)).warnings)


def test_uneven_brightness_names_the_setting_that_learns_it():
    views = textured()
    images = views.images.clone()
    images[::2] = images[::2] // 3
    (warning,) = checked(dataclasses.replace(views, images=images)).warnings
    assert "capture.exposure=learn" in warning


def test_poses_of_few_points_or_large_errors_are_doubted():
    tracked = torch.tensor([[100.0, 0.5]]).repeat(24, 1)
    tracked[5, 0] = 3
    tracked[9, 1] = 4.0

    check = checked(dataclasses.replace(textured(), tracked=tracked), points=torch.rand(50, 3))
    assert any("p_05" in warning and "capture.poses=refine" in warning for warning in check.warnings)
    assert any("p_09" in warning and "1.5 pixels off in 1 of 24" in warning for warning in check.warnings)
    assert "reprojection  0.6" in "\n".join(check.lines()) and "3 to 100 points" in "\n".join(check.lines())


def test_the_command_prints_the_page_and_writes_it_whole(tmp_path, capsys):
    made.write_pictures(tmp_path / "scene" / "images")
    made.write_binary(tmp_path / "scene" / "sparse" / "0")
    file = tmp_path / "check.html"
    assert main(["check", str(tmp_path / "scene"), "--out", str(file)]) == 0

    said = capsys.readouterr().out
    assert "pictures      10 train, 2 test; 32 x 24 pixels" in said
    assert "reprojection  0.50 pixels in the mean" in said and "20 that can be trusted" in said
    assert "contracted about" in said and "the defaults for photographs" in said

    page = file.read_text()
    assert page.count("<svg") == 2 and page.count("class=learned") == 20 and page.count("class=held") == 4
    assert "sub_p_01" in page and "few for a scene seen all round" in page


def test_the_command_takes_the_settings_of_a_training(tmp_path, capsys):
    made.write_pictures(tmp_path / "scene" / "images")
    made.write_binary(tmp_path / "scene" / "sparse" / "0")
    (tmp_path / "own.yaml").write_text("scene:\n  holdout: 0\n")
    words = ["check", str(tmp_path / "scene"), "--config", str(tmp_path / "own.yaml"), "scene.bounds=2"]
    assert main([*words, "--downscale", "2", "--out", str(tmp_path / "check.html")]) == 0
    said = capsys.readouterr().out
    assert "pictures      12 train; 16 x 12 pixels" in said and "cube of side 4.000" in said
    assert "the defaults for photographs" in said
    assert main([*words, "scene.orientatoin=upright"]) == 2
    assert "orientation" in capsys.readouterr().err


def test_names_of_pictures_cannot_become_markup(tmp_path):
    made.write_pictures(tmp_path / "images")
    made.write_transforms(tmp_path)
    bad = "images/<b>&.png"
    Image.open(tmp_path / "images" / made.name(3)).save(tmp_path / bad)
    file = tmp_path / "transforms.json"
    file.write_text(file.read_text().replace(f"images/{made.name(3)}", bad))

    assert main(["check", str(tmp_path), "--out", str(tmp_path / "check.html")]) == 0
    page = (tmp_path / "check.html").read_text()
    assert "&lt;b&gt;&amp;" in page and "<b>" not in page


def test_training_leaves_the_page_in_the_run_folder(tmp_path, capsys):
    scene = write_ball_scene(tmp_path / "ball", views=6)
    words = ["train", "--scene", str(scene), "--out", str(tmp_path / "run"), "--steps", "2", *SMALL]
    assert main([*words, "output.video=", "output.mesh="]) == 0
    assert "warning: 6 pictures, " in capsys.readouterr().out
    assert "Capture check: ball" in (tmp_path / "run" / "check.html").read_text()


@pytest.mark.parametrize("words", [["check", "nowhere"], ["check"], ["check", "a", "b"]])
def test_a_scene_that_is_not_there_ends_in_one_line(words, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    try:
        status = main(words)
    except SystemExit as end:
        status = end.code
    assert status == 2 and len(capsys.readouterr().err.strip().splitlines()) == 1
