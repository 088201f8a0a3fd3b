"""Pictures that EXIF asks to turn, on a small textured room: the poses tell whether they are meant for them turned."""

import json
import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from PIL import Image

import nerf
from nerf.capture.orientation import oriented_scene
from nerf.config import SceneSettings
from nerf.errors import InputError
from nerf.runs import RunFolder
from nerf.scenes import Scene, SceneFolder
from tests.capture.test_camera_check import SIDE, inward

EXIF_ORIENTATION = 0x0112
BACK = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_90,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_270,
}  # how a picture was turned that EXIF's orientation turns back


@pytest.fixture(scope="module")
def room():
    return inward(12)


def write(folder: Path, room, turn: int, turned: range, *, as_stored: bool = False, flat: bool = False) -> SceneFolder:
    """Writes the room with EXIF's `turn` in some pictures; they lie so unless the poses are of them as stored."""
    frames = []
    (folder / "images").mkdir()
    for frame in range(len(room)):
        image = Image.fromarray(room.images[frame].numpy() // (255 if flat else 1))
        exif = Image.Exif()
        if frame in turned:
            exif[EXIF_ORIENTATION] = turn
            image = image if as_stored else image.transpose(BACK[turn])
        image.save(folder / "images" / f"{frame:02d}.png", exif=exif)
        pose = room.cameras.world_from_camera[frame] * torch.tensor([1.0, -1, -1, 1])
        frames.append({"file_path": f"images/{frame:02d}.png", "transform_matrix": pose.tolist()})
    focal = room.cameras.focal[0, 0].item()
    tree = {"w": SIDE, "h": SIDE, "fl_x": focal, "fl_y": focal, "frames": frames}
    (folder / "transforms.json").write_text(json.dumps(tree))
    return SceneFolder("room", folder, "")


def as_blender(folder: SceneFolder) -> SceneFolder:
    """Writes the frames of transforms.json in Blender's format beside it, which is taken first."""
    tree = json.loads((folder.folder / "transforms.json").read_text())
    plain = {"camera_angle_x": 2 * math.atan(SIDE / 2 / tree["fl_x"]), "frames": tree["frames"]}
    (folder.folder / "transforms_train.json").write_text(json.dumps(plain))
    return folder


def read(folder: SceneFolder, **settings) -> tuple[Scene, SceneSettings, list[str]]:
    scene, chosen = oriented_scene(folder, ("train",), SceneSettings(holdout=0, **settings))
    return scene, chosen, [note for note in scene.notes if "EXIF" in note]


@pytest.mark.parametrize("turn", sorted(BACK))
def test_pictures_are_turned_where_the_poses_are_meant_for_them_turned(tmp_path, room, turn):
    scene, chosen, (note,) = read(write(tmp_path, room, turn, range(12)))
    assert torch.equal(scene.splits["train"].images, room.images)
    assert chosen.orientation == "upright" and note.startswith("orientation: EXIF asks to turn 12 of 12 pictures")


@pytest.mark.parametrize("turn", sorted(BACK))
def test_pictures_stay_where_the_poses_are_meant_for_them_as_stored(tmp_path, room, turn):
    scene, chosen, (note,) = read(write(tmp_path, room, turn, range(12), as_stored=True))
    assert torch.equal(scene.splits["train"].images, room.images)
    assert chosen.orientation == "stored" and "which is not done" in note


def test_a_few_turned_pictures_among_many_are_found(tmp_path, room):
    scene, chosen, (note,) = read(write(tmp_path, room, 3, range(4, 6)))
    assert torch.equal(scene.splits["train"].images, room.images)
    assert chosen.orientation == "upright" and "2 of 12 pictures" in note


def test_where_nothing_tells_pictures_stay_and_a_warning_says_so(tmp_path, room):
    folder = write(tmp_path, room, 3, range(12), flat=True)
    _, chosen, (note,) = read(folder)
    assert chosen.orientation == "auto" and note.startswith("warning: EXIF") and "scene.orientation=upright" in note
    assert read(folder, orientation="stored")[2] == []


def test_a_square_camera_without_a_size_is_asked_of_the_pictures(tmp_path, room):
    folder = write(tmp_path, room, 6, range(12))
    tree = json.loads((tmp_path / "transforms.json").read_text())
    (tmp_path / "transforms.json").write_text(json.dumps({key: tree[key] for key in ("fl_x", "frames")}))
    assert torch.equal(read(folder)[0].splits["train"].images, room.images)


def test_a_camera_without_a_size_can_be_given_pictures_that_lie_on_their_side(tmp_path, room):
    folder = write(tmp_path, room, 6, range(12))
    for file in (tmp_path / "images").iterdir():
        with Image.open(file) as image:
            image.crop((0, 0, SIDE, SIDE - 20)).save(file, exif=image.getexif())
    tree = json.loads((tmp_path / "transforms.json").read_text())
    (tmp_path / "transforms.json").write_text(json.dumps({key: tree[key] for key in ("fl_x", "frames")}))
    scene, _, (note,) = read(folder)
    assert note.startswith("warning: EXIF") and scene.splits["train"].images.shape[1:3] == (SIDE - 20, SIDE)
    turned = read(folder, orientation="upright")[0].splits["train"]
    assert torch.equal(turned.images, room.images[:, :, 20:]) and turned.cameras.center[0, 0] == (SIDE - 20) / 2


def test_pictures_of_blender_format_are_turned_likewise(tmp_path, room):
    scene, chosen, _ = read(as_blender(write(tmp_path, room, 3, range(12))))
    assert scene.kind == "blender" and chosen.orientation == "upright"
    assert torch.equal(scene.splits["train"].images, room.images)


def test_renders_on_white_are_turned_likewise(tmp_path, room):
    white = room.images.clone()
    white[:, :3] = white[:, -3:] = white[:, :, :3] = white[:, :, -3:] = 255
    scene, _, _ = read(as_blender(write(tmp_path, replace(room, images=white), 3, range(12))))
    assert scene.ground == "white" and not scene.splits["train"].unbounded
    assert torch.equal(scene.splits["train"].images, white)


def test_a_run_keeps_what_was_chosen(tmp_path, room):
    folder = write(tmp_path, room, 3, range(12))
    settings = {"train.steps": 1, "field.levels": 2, "output.video": "", "output.mesh": "", "capture.stereo": "never"}
    with nerf.silence():
        nerf.train(folder.folder, tmp_path / "run", settings=settings)
    assert RunFolder(tmp_path / "run").load_settings().scene.orientation == "upright"


def test_a_word_that_is_no_orientation_is_refused(tmp_path, room):
    with pytest.raises(InputError, match="scene.orientation"), nerf.silence():
        nerf.load_scene(write(tmp_path, room, 3, range(1)).folder, settings={"scene.orientation": "turned"})
