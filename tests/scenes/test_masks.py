"""Masks of photographs: where they are found, what their values mean, and what is said of them."""

import json

import numpy
import pytest
from PIL import Image

from nerf.errors import InputError
from tests.scenes import photo_folder as made
from tests.scenes.test_captures import load

GREY = numpy.where(numpy.arange(made.WIDTH) >= 8, 255, 0).astype(numpy.uint8)[None].repeat(made.HEIGHT, 0)
WHITE = numpy.full_like(GREY, 255)


@pytest.fixture(params=["colmap", "transforms", "llff"])
def photos(tmp_path, request):
    """A folder of photographs without sub-folders, in each of the formats."""
    made.write_pictures(tmp_path / "all")
    (tmp_path / "all" / "sub").rename(tmp_path / "images")
    (tmp_path / "all").rmdir()
    if request.param == "colmap":
        made.write_text(tmp_path / "sparse" / "0")
        file = tmp_path / "sparse" / "0" / "images.txt"
        file.write_text(file.read_text().replace("sub/", ""))
    elif request.param == "transforms":
        made.write_transforms(tmp_path)
        file = tmp_path / "transforms.json"
        file.write_text(file.read_text().replace("sub/", ""))
    else:
        made.write_llff(tmp_path)
    return tmp_path


def write_masks(photos, pattern, mask=GREY):
    """Writes a mask for every picture but the last."""
    for view in range(made.N - 1):
        file = photos / pattern.format(stem=f"p_{view:02d}", name=f"p_{view:02d}.png")
        file.parent.mkdir(exist_ok=True)
        Image.fromarray(mask).save(file)


@pytest.mark.parametrize(
    "pattern",
    ["masks/{name}.png", "masks/{stem}.png", "masks/{stem}.jpg", "mask/{name}.png", "Masks/{stem}.PNG"],
)
def test_masks_are_found_by_every_usual_name(photos, pattern):
    write_masks(photos, pattern)
    scene = load(photos)
    used = scene.splits["train"].used
    assert (used[:-1].numpy() == (GREY > 0)).all() and used[-1].all()
    assert "masks: 9 of 10 pictures, 25.0% left out" in scene.notes
    assert "test split: masks: 2 of 2 pictures, 25.0% left out" in scene.notes


def test_masks_of_instant_ngp_beside_the_pictures_are_white_where_they_hide(photos):
    write_masks(photos, "images/dynamic_mask_{stem}.png", 255 - GREY)
    scene = load(photos)
    assert len(scene.splits["train"]) == 10
    assert (scene.splits["train"].used[:-1].numpy() == (GREY > 0)).all()


def test_masks_that_fit_to_no_picture_are_named(photos):
    write_masks(photos, "masks/m_{stem}.png")
    scene = load(photos)
    assert scene.splits["train"].used is None
    (note,) = [note for note in scene.notes if "masks" in note]
    assert note.startswith("warning: masks: 11 files fit to no picture") and "masks/m_p_00.png" in note


def test_two_masks_of_one_picture_are_refused(photos):
    write_masks(photos, "masks/{stem}.png")
    write_masks(photos, "masks/{stem}.jpg")
    with pytest.raises(InputError, match="p_00.jpg: p_00.png beside it is a mask of the same picture"):
        load(photos)


def test_a_mask_that_fits_to_two_pictures_is_refused(tmp_path):
    made.write_pictures(tmp_path / "images")
    (tmp_path / "images" / made.name(1)).rename(tmp_path / "images" / "p_00.png")
    made.write_transforms(tmp_path)
    file = tmp_path / "transforms.json"
    file.write_text(file.read_text().replace(made.name(1), "p_00.png"))
    (tmp_path / "masks").mkdir()
    Image.fromarray(GREY).save(tmp_path / "masks" / "p_00.png")
    with pytest.raises(InputError, match='masks/p_00.png: fits to both "images/sub/p_00.png" and "images/p_00.png"'):
        load(tmp_path)


MASKS = {
    "grey": GREY,
    "RGBA": numpy.dstack([GREY, GREY, GREY, WHITE]),
    "alpha": numpy.dstack([WHITE, WHITE, WHITE, GREY]),
    "RGB and alpha": numpy.dstack([GREY, GREY, GREY, GREY]),
    "grey and alpha": numpy.dstack([WHITE, GREY]),
    "0 and 1": GREY // 255,
    "0 and 3": GREY // 85,
    "16 bits": GREY.astype(numpy.uint16) * 257,
    "0 and 1 of 16 bits": GREY.astype(numpy.uint16) // 255,
    "1 bit": GREY > 0,
    "dark red": numpy.dstack([GREY // 2 + 1 - (GREY == 0), 0 * GREY, 0 * GREY]),
    "twice the size": GREY.repeat(2, 0).repeat(2, 1),
}


@pytest.mark.parametrize("mask", MASKS.values(), ids=MASKS.keys())
def test_masks_mean_the_same_in_every_kind_of_picture(tmp_path, mask):
    made.write_pictures(tmp_path / "images")
    Image.fromarray(mask).save(tmp_path / "mask.png")
    made.write_transforms(tmp_path, mask_path="mask.png")
    assert (load(tmp_path).splits["train"].used.numpy() == (GREY > 0)).all()


def test_masks_that_leave_nothing_are_named_with_their_values(tmp_path):
    made.write_pictures(tmp_path / "images")
    Image.fromarray(GREY * 0).save(tmp_path / "mask.png")
    made.write_transforms(tmp_path)
    file = tmp_path / "transforms.json"
    tree = json.loads(file.read_text())
    tree["frames"][1]["mask_path"] = "mask.png"
    file.write_text(json.dumps(tree))
    (note,) = [note for note in load(tmp_path).notes if "leave no pixel" in note]
    assert "warning: masks leave no pixel of 1 pictures" in note and "mask.png (greatest value 0)" in note
    made.write_transforms(tmp_path, mask_path="mask.png")
    with pytest.raises(InputError, match=r"mask.png \(greatest value 0\): masks leave no pixel of any picture"):
        load(tmp_path)


def test_a_mask_of_another_shape_is_refused(tmp_path):
    made.write_pictures(tmp_path / "images")
    Image.fromarray(GREY[:10]).save(tmp_path / "mask.png")
    made.write_transforms(tmp_path, mask_path="mask.png")
    with pytest.raises(InputError, match="mask.png: 32 x 10 pixels, but p_01.png has 32 x 24"):
        load(tmp_path)


def test_dark_masks_of_lossy_formats_stay_black(tmp_path):
    # JPEG's black is not exactly 0.
    made.write_pictures(tmp_path / "images")
    dark = numpy.random.default_rng(0).integers(0, 9, GREY.shape, dtype=numpy.uint8)
    Image.fromarray(dark).save(tmp_path / "mask.jpg")
    made.write_transforms(tmp_path, mask_path="mask.jpg")
    with pytest.raises(InputError, match="masks leave no pixel"):
        load(tmp_path)


def test_a_picture_is_never_taken_for_a_missing_mask(tmp_path):
    made.write_pictures(tmp_path / "images")
    made.write_transforms(tmp_path, mask_path=f"masks/{made.name(1)}")
    with pytest.raises(InputError, match='mask "masks/sub/p_01.png" not found'):
        load(tmp_path)
