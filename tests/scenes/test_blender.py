"""The Blender loader: what it reads, and one clear line for everything it cannot."""

import json
import math

import numpy
import pytest
import torch
from PIL import Image

from nerf.config import SceneSettings
from nerf.errors import InputError
from nerf.scenes import SceneFolder, find_scene, load_scene
from nerf.scenes.blender import load_blender
from tests.conftest import ANGLE, DISTANCE, RADIUS, ball_color


def edit(folder, change, split="train"):
    """Changes the parsed transforms file of a split; a list that `change` returns takes its place."""
    file = folder / f"transforms_{split}.json"
    tree = json.loads(file.read_text())
    changed = change(tree)
    file.write_text(json.dumps(changed if changed == [1, 2] else tree))


def test_cameras_look_at_the_ball_and_pixels_show_it(ball_scene):
    views = load_blender(ball_scene, "train")
    assert views.images.shape == (12, 48, 48, 4) and views.images.dtype == torch.uint8 and views.white == 255
    assert views.names[:2] == ("r_0", "r_1")
    pose = views.cameras.world_from_camera
    assert torch.allclose(pose[:, :, 3].norm(dim=1), torch.full((12,), DISTANCE), atol=1e-5)
    # z forward: from the eye along the axis one comes to the origin.
    assert torch.allclose(pose[:, :, 3] + DISTANCE * pose[:, :, 2], torch.zeros(12, 3), atol=1e-5)
    assert views.cameras.focal[0, 0] == pytest.approx(24 / math.tan(ANGLE / 2))
    ray = views.cameras.rays(torch.tensor([0]), torch.tensor([30]), torch.tensor([20]))
    along = -(ray.origin * ray.direction).sum()
    normal = (ray.origin + (along - (along**2 - DISTANCE**2 + RADIUS**2).sqrt()) * ray.direction)[0] / RADIUS
    pixel = views.pixels(0, 20, 30)
    assert torch.allclose(pixel[:3], torch.from_numpy(ball_color(normal.numpy())), atol=0.05) and pixel[3] == 1


def test_some_training_pictures_are_chosen_evenly(ball_scene):
    scene = load_scene(SceneFolder("ball", ball_scene, ""), ("train", "test"), SceneSettings(pictures=3))
    assert scene.splits["train"].names == ("r_2", "r_6", "r_10")
    whole = load_blender(ball_scene, "train").cameras.world_from_camera
    assert torch.equal(scene.splits["train"].cameras.world_from_camera, whole[[2, 6, 10]])
    assert len(scene.splits["test"]) == len(load_blender(ball_scene, "test"))


def test_downscaling_is_the_exact_box_average(ball_scene):
    whole, half = load_blender(ball_scene, "train"), load_blender(ball_scene, "train", 2)
    average = whole.pixels(3, slice(None), slice(None)).double().view(24, 2, 24, 2, 4).mean((1, 3))
    assert torch.allclose(half.pixels(3, slice(None), slice(None)).double(), average, atol=1e-7)
    assert (half.cameras.width, half.cameras.height) == (24, 24)
    assert torch.allclose(half.cameras.focal * 2, whole.cameras.focal)


def test_pictures_without_alpha_and_grey_pictures_become_rgb(ball_scene):
    for picture in (ball_scene / "train").iterdir():
        Image.open(picture).convert("L").save(picture)
    views = load_blender(ball_scene, "train")
    assert views.images.shape[-1] == 3 and not views.has_alpha


def test_masks_that_frames_name_are_read(ball_scene):
    (ball_scene / "hide").mkdir()
    mask = numpy.full((48, 48), 255, numpy.uint8)
    mask[:, :12] = 0
    for split in ("train", "test"):
        tree = json.loads((ball_scene / f"transforms_{split}.json").read_text())
        for index, frame in enumerate(tree["frames"]):
            name = f"hide/{split}_{index}.png"
            Image.fromarray(mask).save(ball_scene / name)
            frame["mask_path"] = name
        (ball_scene / f"transforms_{split}.json").write_text(json.dumps(tree))
    scene = load_scene(SceneFolder("ball", ball_scene, ""), ("train", "test"), SceneSettings())
    plain = load_blender(ball_scene, "train")
    views = scene.splits["train"]
    by_name = sorted(range(len(plain)), key=lambda frame: plain.names[frame])
    assert views.has_alpha and not views.unbounded and torch.equal(views.images, plain.images[by_name])
    assert torch.allclose(views.cameras.focal, plain.cameras.focal)
    assert (views.used.numpy() == (mask > 0)).all()
    assert (scene.splits["test"].used.numpy() == (mask > 0)).all()


def test_a_folder_of_masks_that_no_frame_names_is_warned_of(ball_scene):
    (ball_scene / "masks").mkdir()
    notes = load_scene(SceneFolder("ball", ball_scene, ""), ("train",), SceneSettings()).notes
    assert any(note.startswith("warning: masks: not used") for note in notes)


def test_intrinsics_that_the_file_of_another_split_has_are_read(ball_scene):
    edit(ball_scene, lambda tree: tree.update(fl_x=70.0, camera_angle_x=2 * math.atan(24 / 70)), "test")
    scene = load_scene(SceneFolder("ball", ball_scene, ""), ("train", "test"), SceneSettings())
    assert scene.splits["test"].cameras.focal[0, 0] == 70
    assert scene.splits["train"].cameras.focal[0, 0] == pytest.approx(24 / math.tan(ANGLE / 2))


def test_pictures_with_the_same_name_in_two_folders_are_told_apart(ball_scene):
    (ball_scene / "more").mkdir()
    (ball_scene / "train" / "r_1.png").rename(ball_scene / "more" / "r_0.png")
    edit(ball_scene, lambda tree: tree["frames"][1].update(file_path="./more/r_0"))
    assert load_blender(ball_scene, "train").names[:2] == ("train_r_0", "more_r_0")


def damaged_pose(value):
    def change(tree):
        tree["frames"][3]["transform_matrix"][1][2] = value

    return change


def transposed(tree):
    matrix = tree["frames"][3]["transform_matrix"]
    tree["frames"][3]["transform_matrix"] = [list(row) for row in zip(*matrix)]


def far_away(tree):
    tree["frames"][3]["transform_matrix"][0][3] = 1e39


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda tree: tree.pop("frames"), 'no "frames"'),
        (lambda tree: tree.update(frames=[]), 'no "frames"'),
        (lambda tree: [1, 2], 'no "frames"'),
        (lambda tree: tree.pop("camera_angle_x"), '"camera_angle_x" is None'),
        (lambda tree: tree.update(camera_angle_x=math.nan), '"camera_angle_x" is nan'),
        (damaged_pose(math.nan), "frame 3.*not finite"),
        (damaged_pose("a"), "frame 3.*not a 4 x 4 matrix"),
        (damaged_pose(5.0), "frame 3.*not hold a rotation"),
        (transposed, "frame 3.*last row.*is the matrix transposed"),
        (far_away, "frame 3.*not finite"),
        (lambda tree: tree["frames"][2].pop("transform_matrix"), "frame 2.*not a 4 x 4 matrix"),
        (lambda tree: tree["frames"][2].pop("file_path"), 'frame 2: no "file_path"'),
        (lambda tree: tree["frames"][2].update(file_path="./train/none"), 'frame 2: file "./train/none" not found'),
        (lambda tree: tree["frames"][2].update(file_path="../../secret"), "frame 2.*leads out of the scene folder"),
        (lambda tree: tree["frames"][2].update(file_path="./train/r_1"), "listed twice"),
        (lambda tree: tree["frames"].__setitem__(0, "r_0"), 'frame 0: no "file_path"'),
    ],
)
def test_a_damaged_json_is_named_with_its_frame_and_value(ball_scene, change, message):
    edit(ball_scene, change)
    with pytest.raises(InputError, match=f"transforms_train.json: .*{message}|transforms_train.json: {message}"):
        load_blender(ball_scene, "train")


def replaced_picture(size=(48, 48), mode="RGBA"):
    def damage(file):
        Image.new(mode, size).save(file)

    return damage


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda file: file.unlink(), "not found"),
        (lambda file: file.write_bytes(b""), "not a readable picture"),
        (lambda file: file.write_bytes(file.read_bytes()[:200]), "not a readable picture"),
        (lambda file: file.write_text("hello"), "not a readable picture"),
        (replaced_picture((48, 24)), "48 x 24 pixels"),
        (replaced_picture(mode="RGB"), "with 3 channels"),
        (lambda file: Image.fromarray(numpy.zeros((48, 48), "uint16")).save(file), "with 3 channels"),
    ],
)
def test_a_damaged_picture_is_named(ball_scene, damage, message):
    damage(ball_scene / "train" / "r_5.png")
    with pytest.raises(InputError, match=f"r_5.*{message}"):
        load_blender(ball_scene, "train")


def test_a_header_that_claims_a_huge_picture_is_refused_before_it_is_decoded(ball_scene):
    file = ball_scene / "train" / "r_0.png"
    data = bytearray(file.read_bytes())
    data[16:24] = (60000).to_bytes(4, "big") * 2
    import zlib

    data[29:33] = zlib.crc32(data[12:29]).to_bytes(4, "big")
    file.write_bytes(data)
    with pytest.raises(InputError, match="r_0.png: "):
        load_blender(ball_scene, "train")


def test_a_factor_that_does_not_divide_the_size_is_refused(ball_scene):
    with pytest.raises(InputError, match="48 x 48 pixels cannot be divided by --downscale 5"):
        load_blender(ball_scene, "train", 5)


def test_text_that_is_not_json_and_missing_splits_are_named(ball_scene):
    (ball_scene / "transforms_train.json").write_text("{")
    with pytest.raises(InputError, match="transforms_train.json: damaged, not valid JSON"):
        load_blender(ball_scene, "train")
    (ball_scene / "transforms_train.json").unlink()
    with pytest.raises(InputError, match="transforms_train.json: not found; the folder has transforms_val.json"):
        load_blender(ball_scene, "train")


def test_names_are_resolved_path_first_then_data_then_nerf_synthetic(ball_scene, tmp_path):
    data = tmp_path / "data"
    (data / "nerf_synthetic" / "lego").mkdir(parents=True)
    assert find_scene(str(ball_scene), data).folder == ball_scene
    assert find_scene("lego", data).folder == data / "nerf_synthetic" / "lego"
    (data / "lego").mkdir()
    assert find_scene("lego", data).folder == data / "lego"


def test_a_download_is_taken_before_the_built_in_scene_written_earlier(tmp_path):
    (tmp_path / "lego" / "ground_truth").mkdir(parents=True)
    (tmp_path / "lego" / "README.txt").touch()
    assert find_scene("lego", tmp_path).folder == tmp_path / "lego"
    (tmp_path / "nerf_synthetic" / "lego").mkdir(parents=True)
    assert find_scene("lego", tmp_path).folder == tmp_path / "nerf_synthetic" / "lego"


def test_unknown_scenes_and_folders_of_no_known_format_are_refused(tmp_path):
    with pytest.raises(InputError, match='"legoo".*did you mean "lego"'):
        find_scene("legoo", tmp_path)
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="empty: nothing to learn from"):
        load_scene(SceneFolder("empty", tmp_path / "empty", ""), ("train",), SceneSettings())
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="a file; give --scene the folder"):
        find_scene(str(tmp_path / "file"), tmp_path)
