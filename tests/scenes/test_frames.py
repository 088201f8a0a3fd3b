"""What stands in transforms*.json beside poses: read, refused or named; and what is behind the thing in pictures."""

import json
import math

import numpy
import pytest
from PIL import Image

from nerf.config import PLACE, SceneSettings
from nerf.errors import InputError
from nerf.geometry.lenses import TERMS
from nerf.scenes import SceneFolder, ground_of, load_scene
from tests.scenes import photo_folder as made


def load(folder, **settings):
    return load_scene(SceneFolder("made", folder, ""), ("train", "val", "test"), SceneSettings(**settings))


def edit(file, change):
    tree = json.loads(file.read_text())
    change(tree)
    file.write_text(json.dumps(tree))


def repaint(folder, paint):
    """Changes the pixels of all pictures: paint takes RGBA (H, W, 4) uint8."""
    for file in folder.rglob("*.png"):
        Image.fromarray(paint(numpy.array(Image.open(file).convert("RGBA")))).save(file)


def over(value):
    def paint(pixels):
        alpha = pixels[..., 3:] / 255
        return (pixels[..., :3] * alpha + value * (1 - alpha)).astype(numpy.uint8)

    return paint


@pytest.fixture
def photos(tmp_path):
    made.write_pictures(tmp_path / "images")
    made.write_transforms(tmp_path)
    return tmp_path


@pytest.fixture
def split_photos(photos):
    """The same photographs in files of splits, with lenses, as JNeRF and BlenderNeRF write them."""
    tree = json.loads((photos / "transforms.json").read_text())
    for split, frames in (("train", tree["frames"][:9]), ("test", tree["frames"][9:])):
        (photos / f"transforms_{split}.json").write_text(json.dumps({**tree, "frames": frames}))
    (photos / "transforms.json").rename(photos / "whole.json")
    return photos


def test_alpha_says_what_is_behind_the_thing_and_other_renders_say_it_by_their_borders(ball_scene):
    assert ground_of(ball_scene) == ""
    repaint(ball_scene, over(255))
    assert ground_of(ball_scene) == "white"
    scene = load(ball_scene)
    assert scene.ground == "white" and not scene.splits["train"].unbounded
    assert any(note.startswith("background: white") for note in scene.notes)


def test_black_behind_the_thing_is_seen_through_compression(ball_scene):
    generator = numpy.random.default_rng(0)
    repaint(ball_scene, lambda pixels: over(0)(pixels) | generator.integers(0, 4, (*pixels.shape[:2], 3), numpy.uint8))
    assert ground_of(ball_scene) == "black"


def test_alpha_that_is_opaque_everywhere_says_nothing(ball_scene):
    def opaque(pixels):
        return numpy.concatenate([over(255)(pixels), numpy.full_like(pixels[..., :1], 255)], axis=2)

    repaint(ball_scene, opaque)
    assert ground_of(ball_scene) == "white"


def test_renders_of_a_whole_place_are_photographs(ball_scene):
    row = numpy.arange(256, dtype=numpy.uint8)
    repaint(
        ball_scene,
        lambda pixels: over(numpy.broadcast_to(row[: pixels.shape[1], None], (*pixels.shape[:2], 3)))(pixels),
    )
    scene = load(ball_scene)
    assert scene.ground == PLACE and scene.splits["train"].unbounded
    assert len(scene.splits["test"]) > 0 and any("whole place" in note for note in scene.notes)


def test_intrinsics_in_files_of_splits_are_read_as_in_one_file(split_photos):
    by_split = load(split_photos).splits["train"]
    for split in ("train", "test"):
        (split_photos / f"transforms_{split}.json").unlink()
    (split_photos / "whole.json").rename(split_photos / "transforms.json")
    whole = load(split_photos, holdout=0).splits["train"]
    assert by_split.cameras.lens.any() and by_split.unbounded
    for name in ("focal", "center", "lens", "world_from_camera"):
        assert (getattr(by_split.cameras, name) == getattr(whole.cameras, name)[:9]).all()


def test_an_angle_in_a_frame_wins_and_alpha_stays_what_it_is(ball_scene):
    file = ball_scene / "transforms_train.json"
    edit(file, lambda tree: tree["frames"][1].update(camera_angle_x=0.4))
    views = load(ball_scene).splits["train"]
    width = views.cameras.width
    assert views.cameras.focal[1, 0].item() == pytest.approx(0.5 * width / math.tan(0.2), rel=1e-5)
    assert views.cameras.focal[0, 0] < views.cameras.focal[1, 0]
    assert views.has_alpha and not views.unbounded


def test_k4_is_the_factor_of_r8_unless_opencvs_other_terms_stand_beside_it(photos):
    edit(photos / "transforms.json", lambda tree: tree.update(k4=0.2))
    assert load(photos).splits["train"].cameras.lens[0, TERMS.index("k4")].item() == pytest.approx(0.2)
    edit(photos / "transforms.json", lambda tree: tree.update(k5=0.0))
    lens = load(photos).splits["train"].cameras.lens[0]
    assert lens[TERMS.index("d1")].item() == pytest.approx(0.2) and lens[TERMS.index("k4")] == 0


@pytest.mark.parametrize("key", ["latlong", "equirectangular", "orthographic", "ftheta_p1"])
def test_lenses_that_are_not_read_are_refused_by_their_key(photos, key):
    edit(photos / "transforms.json", lambda tree: tree.update({key: 0.5}))
    with pytest.raises(InputError, match=f"transforms.json: {key}: such cameras are not read"):
        load(photos)


def test_motion_is_warned_of_and_unknown_keys_are_named_once(photos):
    def change(tree):
        tree.update(aabb_scale=4, fl_z=3, rolling_shutter=[0, 0, 1, 0])
        for frame in tree["frames"]:
            frame.update(sharpness=3.0, weather="rain")

    edit(photos / "transforms.json", change)
    notes = load(photos).notes
    assert any(note.startswith("warning:") and "rolling_shutter" in note for note in notes)
    named = [note for note in notes if "not read" in note]
    assert len(named) == 1 and "fl_z" in named[0] and "weather" in named[0] and "aabb" not in named[0]


def test_lists_of_splits_are_named_where_the_files_themselves_are_the_splits(split_photos):
    lists = {"train_filenames": [f"images/{made.name(3)}"], "test_filenames": [f"images/{made.name(4)}"]}
    edit(split_photos / "transforms_train.json", lambda tree: tree.update(lists))
    notes = load(split_photos).notes
    assert "transforms_train.json: keys that are not read: 'test_filenames', 'train_filenames'" in notes

    for file in split_photos.glob("transforms_*.json"):
        file.unlink()
    made.write_transforms(split_photos, **lists)
    assert not any("not read" in note for note in load(split_photos).notes)


def test_a_still_shutter_is_no_motion(photos):
    edit(photos / "transforms.json", lambda tree: tree.update(rolling_shutter=[0, 0, 0, 0], time=0))
    assert not any("rolling_shutter" in note for note in load(photos).notes)


def test_words_of_lens_models_may_be_in_small_letters_and_have_no_nearest_word(photos):
    edit(photos / "transforms.json", lambda tree: tree.update(camera_model="opencv"))
    assert load(photos).splits["train"].cameras.lens.any()
    edit(photos / "transforms.json", lambda tree: tree.update(camera_model="FISHEYE624"))
    with pytest.raises(InputError, match="FISHEYE624.* is not supported; undistort the pictures$"):
        load(photos)
