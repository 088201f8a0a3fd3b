"""Photo formats: what they read alike, and one clear line for everything they cannot."""

import json
import math
import struct
from io import BytesIO

import numpy
import pytest
import torch
from PIL import Image

from nerf.config import SceneSettings
from nerf.errors import InputError
from nerf.scenes import SceneFolder, load_scene
from nerf.scenes.formats import found_formats
from tests.scenes import photo_folder as made


def load(folder, splits=("train", "test"), **settings):
    return load_scene(SceneFolder("made", folder, ""), splits, SceneSettings(**settings))


@pytest.fixture
def photos(tmp_path):
    made.write_pictures(tmp_path / "images")
    return tmp_path


def write_sparse(folder):
    made.write_binary(folder / "sparse" / "0")


WRITERS = {
    "binary in sparse/0": write_sparse,
    "binary in sparse": lambda folder: made.write_binary(folder / "sparse"),
    "text in colmap/sparse/0": lambda folder: made.write_text(folder / "colmap" / "sparse" / "0"),
    "text with CRLF": lambda folder: made.write_text(folder / "sparse" / "0", end="\r\n"),
    "transforms.json": made.write_transforms,
}


@pytest.mark.parametrize("write", WRITERS.values(), ids=WRITERS.keys())
def test_every_format_gives_the_same_cameras_and_pictures(photos, write):
    write(photos)
    scene = load(photos)
    train, test = scene.splits["train"], scene.splits["test"]
    assert test.names == tuple(train.names[0].replace("01", word) for word in ("00", "08"))
    assert len(train) == 10 and train.unbounded and train.used is None
    assert train.cameras.world_from_camera.is_contiguous()  # the engine reads it as it lies in memory
    kept = [view for view in range(made.N) if view % 8]
    assert numpy.abs(train.cameras.world_from_camera.numpy() - made.poses()[kept]).max() < 1e-5
    assert torch.allclose(train.cameras.focal, torch.tensor([30.0, 31.0]))
    assert torch.allclose(train.cameras.center, torch.tensor([15.5, 12.5]))
    assert train.cameras.lens[0, [1, 2, 8, 9]].tolist() == pytest.approx([0.05, -0.02, 0.001, -0.002])
    assert (test.images[1].numpy() == made.picture(8)).all()


def test_llff_poses_and_depths_scale_with_the_pictures(photos):
    (photos / "images" / "sub").rename(photos / "images_2")
    (photos / "images").rmdir()
    made.write_llff(photos)
    train = load(photos).splits["train"]
    assert numpy.abs(train.cameras.world_from_camera[0].numpy() - made.poses()[1]).max() < 1e-5
    assert torch.allclose(train.cameras.focal, torch.tensor(made.FOCAL))
    assert train.cameras.center[0].tolist() == [made.WIDTH / 2, made.HEIGHT / 2]
    assert train.depths[0].tolist() == [2.0, 9.0]


def test_colmap_points_give_depths_and_are_kept(photos):
    write_sparse(photos)
    scene = load(photos)
    assert numpy.abs(scene.points.numpy() - made.points()).max() < 1e-6
    pose = made.poses()[1]
    depth = (made.points() - pose[:, 3]) @ pose[:, 2]
    near, far = scene.splits["train"].depths[0].tolist()
    assert depth.min() <= near < numpy.median(depth) < far <= depth.max()


def test_a_model_folder_given_directly_finds_its_pictures(photos):
    write_sparse(photos)
    assert len(load(photos / "sparse" / "0").splits["train"]) == 10


def test_the_first_of_several_formats_is_taken_and_the_others_are_named(photos):
    write_sparse(photos)
    made.write_transforms(photos)
    assert [row.name for row in found_formats(photos)] == ["transforms", "colmap"]
    scene = load(photos)
    assert scene.kind == "transforms" and any("also has colmap" in note for note in scene.notes)
    assert load(photos, format="colmap").kind == "colmap"
    with pytest.raises(InputError, match="has transforms, colmap, not llff"):
        load(photos, format="llff")


def test_missing_pictures_are_skipped_and_named_in_one_line(photos):
    write_sparse(photos)
    for view in (3, 5):
        (photos / "images" / made.name(view)).unlink()
    scene = load(photos)
    assert len(scene.splits["train"]) + len(scene.splits["test"]) == 10
    warnings = [note for note in scene.notes if "missing" in note]
    assert len(warnings) == 1 and "2 of 12" in warnings[0] and "p_03.png, sub/p_05.png" in warnings[0]
    for file in (photos / "images" / "sub").iterdir():
        file.unlink()
    with pytest.raises(InputError, match="none of its 12 pictures was found"):
        load(photos)


def test_shrunk_folders_serve_downscale_and_scale_the_camera(photos):
    write_sparse(photos)
    (photos / "images_2" / "sub").mkdir(parents=True)
    for view in range(made.N):
        small = made.picture(view, made.WIDTH // 2, made.HEIGHT // 2)
        Image.fromarray(small).save(photos / "images_2" / made.name(view))
    views = load(photos, downscale=2).splits["train"]
    assert views.images.shape[1:3] == (12, 16) and views.white == 255
    assert torch.allclose(views.cameras.focal[0], torch.tensor([15.0, 15.5]))
    boxed = load(photos, downscale=4).splits["train"]
    assert boxed.images.shape[1:3] == (6, 8) and boxed.white == 255 * 16
    assert torch.allclose(boxed.cameras.center[0], torch.tensor([15.5 / 4, 12.5 / 4]))


def test_a_factor_that_does_not_divide_cuts_the_rest_and_keeps_the_scale(photos):
    write_sparse(photos)
    views = load(photos, downscale=5).splits["train"]
    assert views.images.shape[1:3] == (4, 6)
    assert torch.allclose(views.cameras.focal[0], torch.tensor([6.0, 6.2]))


def test_cameras_and_sizes_may_differ_from_picture_to_picture(photos):
    made.write_transforms(photos)
    file = photos / "transforms.json"
    tree = json.loads(file.read_text())
    tree["frames"][1] |= {"w": made.HEIGHT, "h": made.WIDTH, "fl_x": 50.0, "camera_model": "OPENCV_FISHEYE", "k3": 0.01}
    file.write_text(json.dumps(tree))
    upright = made.picture(1, made.HEIGHT, made.WIDTH)
    Image.fromarray(upright).save(photos / "images" / made.name(1))
    views = load(photos).splits["train"]
    assert views.images.shape[1:3] == (made.WIDTH, made.WIDTH)
    assert views.cameras.size[:2].tolist() == [[made.HEIGHT, made.WIDTH], [made.WIDTH, made.HEIGHT]]
    assert views.cameras.focal[0, 0] == 50 and views.cameras.lens[:2, 0].tolist() == [1, 0]
    assert (views.picture(0, "white") * 255).round().byte().numpy().tolist() == upright.tolist()
    assert views.used.sum(dim=(1, 2)).tolist() == [made.WIDTH * made.HEIGHT] * 10


def test_pictures_of_another_shape_than_their_cameras_are_said_to_be_taken_as_stretched(photos):
    made.write_transforms(photos, w=4 * made.WIDTH + 3, h=4 * made.HEIGHT)  # as whole pixels round it
    assert not any("another shape" in note for note in load(photos).notes)
    made.write_transforms(photos, w=4 * made.WIDTH + 8, h=4 * made.HEIGHT)
    (note,) = (note for note in load(photos, ("train",)).notes if "another shape" in note)
    assert note.startswith("warning: 10 of 10 pictures") and "p_01.png has 32 x 24 pixels, its camera 136 x 96" in note


def test_masks_are_read_by_both_formats(photos):
    mask = numpy.zeros((made.HEIGHT, made.WIDTH), numpy.uint8)
    mask[:, 5:] = 255
    (photos / "masks" / "sub").mkdir(parents=True)
    Image.fromarray(mask).save(photos / "masks" / f"{made.name(2)}.png")
    write_sparse(photos)
    used = load(photos).splits["train"].used
    assert used[1].float().mean() == 27 / 32 and used[0].all()
    made.write_transforms(photos, mask_path=f"masks/{made.name(2)}.png")
    assert (load(photos).splits["train"].used.numpy() == (mask > 0)).all()


def turned(file):
    """Lays a picture on its side, as phones do, and says so in EXIF."""
    image = Image.open(file)
    exif = image.getexif()
    exif[0x0112] = 6  # to be shown, turn it by 90 degrees clockwise
    image.transpose(Image.Transpose.ROTATE_90).save(file, exif=exif)


def as_mode(mode):
    return lambda file: Image.open(file).convert(mode).save(file)


def as_grey16(file):
    grey = numpy.asarray(Image.open(file).convert("L")).astype(numpy.uint16) * 257
    Image.fromarray(grey).save(file)


def as_rgb16(file):
    import zlib

    rgb = numpy.asarray(Image.open(file)).astype(">u2") * 257
    lines = b"".join(b"\0" + line.tobytes() for line in rgb)

    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = struct.pack(">IIBBBBB", rgb.shape[1], rgb.shape[0], 16, 2, 0, 0, 0)
    parts = (chunk(b"IHDR", head), chunk(b"IDAT", zlib.compress(lines)), chunk(b"IEND", b""))
    file.write_bytes(b"\x89PNG\r\n\x1a\n" + b"".join(parts))


@pytest.mark.parametrize(
    ("change", "tolerance"),
    [(turned, 0), (lambda file: Image.open(file).quantize(256).save(file), 24), (as_rgb16, 0), (as_mode("RGBA"), 0)],
    ids=["turned by EXIF", "palette", "16 bits a channel", "with alpha"],
)
def test_unusual_pictures_are_read_right(photos, change, tolerance):
    write_sparse(photos)
    change(photos / "images" / made.name(1))
    shown = load(photos).splits["train"].picture(0, "white")
    assert shown.shape == (made.HEIGHT, made.WIDTH, 3)
    assert (shown * 255 - torch.from_numpy(made.picture(1))).abs().max() <= tolerance


def test_holes_of_a_few_photographs_are_left_out_and_make_no_silhouettes(photos):
    write_sparse(photos)
    rgba = numpy.dstack([made.picture(1), numpy.full((made.HEIGHT, made.WIDTH), 255, numpy.uint8)])
    rgba[:, :8, 3] = 0
    Image.fromarray(rgba).save(photos / "images" / made.name(1))
    scene = load(photos)
    views = scene.splits["train"]
    assert not views.has_alpha and (views.images[0].numpy() == made.picture(1)).all()
    assert views.used[1:].all() and (views.used[0].numpy() == (numpy.arange(made.WIDTH) >= 8)).all()
    assert "alpha: 1 of 10 pictures are transparent in places, which are left out" in scene.notes


def test_grey_pictures_of_16_bits_keep_their_greys(photos):
    write_sparse(photos)
    as_grey16(photos / "images" / made.name(1))
    grey = numpy.asarray(Image.fromarray(made.picture(1)).convert("L"))
    assert (load(photos).splits["train"].images[0, :, :, 1].numpy() == grey).all()


def test_cmyk_jpegs_are_read_right(photos):
    flat = Image.new("RGB", (made.WIDTH, made.HEIGHT), (200, 100, 50))
    write_sparse(photos)
    flat.convert("CMYK").save(photos / "images" / "sub" / "p_01.jpg")
    (photos / "images" / made.name(1)).unlink()
    image = load(photos).splits["train"].images[0].float()
    assert (image - torch.tensor([200.0, 100.0, 50.0])).abs().max() < 12  # JPEG


def test_truncated_models_end_in_one_line_wherever_they_are_cut(photos):
    generator = numpy.random.default_rng(3)
    for word in ("cameras", "images", "points3D"):
        write_sparse(photos)
        file = photos / "sparse" / "0" / f"{word}.bin"
        whole = file.read_bytes()
        for cut in generator.integers(0, len(whole), 20).tolist():
            file.write_bytes(whole[:cut])
            with pytest.raises(InputError, match=f"{word}.bin: (cut off|claims|a picture's name does not end)"):
                load(photos)


@pytest.mark.parametrize("word", ["cameras", "images", "points3D"])
def test_absurd_counts_are_refused_before_anything_is_allocated(photos, word):
    write_sparse(photos)
    file = photos / "sparse" / "0" / f"{word}.bin"
    file.write_bytes(struct.pack("<Q", 2**60) + file.read_bytes()[8:])
    with pytest.raises(InputError, match=f"{word}.bin: claims {2**60}"):
        load(photos)


def test_poses_that_are_not_numbers_are_named(photos):
    write_sparse(photos)
    file = photos / "sparse" / "0" / "images.bin"
    data = bytearray(file.read_bytes())
    struct.pack_into("<d", data, 8 + 4, float("nan"))
    file.write_bytes(data)
    with pytest.raises(InputError, match='images.bin: picture "sub/p_00.png": its pose is not finite'):
        load(photos)


def test_files_of_different_models_are_told_apart(photos):
    write_sparse(photos)
    file = photos / "sparse" / "0" / "cameras.bin"
    data = bytearray(file.read_bytes())
    struct.pack_into("<i", data, 8, 99)
    file.write_bytes(data)
    with pytest.raises(InputError, match="has camera 7, which the cameras file lacks"):
        load(photos)
    made.write_binary(photos / "sparse" / "0", "SIMPLE_PINHOLE", (30.0, 16.0, 12.0))
    Image.fromarray(made.picture(4, 40, 20)).save(photos / "images" / made.name(4))
    with pytest.raises(InputError, match="p_04.png: 40 x 20 pixels, but its camera has 32 x 24"):
        load(photos)


def test_unknown_camera_models_and_wrong_parameters_are_refused(photos):
    write_sparse(photos)
    file = photos / "sparse" / "0" / "cameras.bin"
    data = bytearray(file.read_bytes())
    struct.pack_into("<i", data, 12, 77)
    file.write_bytes(data)
    with pytest.raises(InputError, match="camera model number 77 is not supported"):
        load(photos)
    for end in ("cameras.bin", "images.bin", "points3D.bin"):
        (photos / "sparse" / "0" / end).unlink()
    made.write_text(photos / "sparse" / "0", "PINHOLE", (30.0, 30.0, 16.0))
    with pytest.raises(InputError, match="PINHOLE has 4 parameters, found 3"):
        load(photos)


def test_names_cannot_wander_out_of_the_folder(photos):
    made.write_text(photos / "sparse" / "0")
    file = photos / "sparse" / "0" / "images.txt"
    file.write_text(file.read_text().replace(made.name(3), "../../secret.png"))
    with pytest.raises(InputError, match="leads out of the scene folder"):
        load(photos)


def test_a_focal_length_that_contradicts_the_angle_beside_it_is_refused(photos):
    angle = 2 * math.atan(made.WIDTH / 2 / made.FOCAL)
    made.write_transforms(photos, camera_angle_x=1.05 * angle)
    load(photos)

    made.write_transforms(photos, camera_angle_x=angle, fl_x=8 * made.FOCAL)
    with pytest.raises(InputError, match='"fl_x" is 240 pixels, but "camera_angle_x" over 32 pixels means 30'):
        load(photos)

    # What a frame says of itself is not contradicted by the angle of another camera.
    file = photos / "transforms.json"
    tree = json.loads(file.read_text())
    del tree["fl_x"]
    for frame in tree["frames"]:
        frame["fl_x"] = 8 * made.FOCAL
    file.write_text(json.dumps(tree))
    load(photos)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda tree: tree.pop("fl_x"), '"camera_angle_x" is None'),
        (lambda tree: tree.update(camera_model="EQUIRECTANGULAR"), "EQUIRECTANGULAR.* is not supported"),
        (lambda tree: tree.update(k5=0.1), "lens terms k5 are not supported"),
        (lambda tree: tree["frames"][2].update(transform_matrix=[[1]]), 'frame 2 .*"transform_matrix" is not a 4 x 4'),
        (lambda tree: tree["frames"][2]["transform_matrix"][0].__setitem__(3, float("nan")), "not finite"),
        (lambda tree: tree["frames"][2]["transform_matrix"][0].__setitem__(0, 5.0), "is not a rotation"),
        (lambda tree: tree["frames"][2].update(file_path=7), 'frame 2: no "file_path"'),
        (lambda tree: tree["frames"].append(tree["frames"][0]), "the same picture is listed twice"),
        (lambda tree: tree.update(frames=[]), 'no "frames"'),
        (lambda tree: tree.update(w=0), "must be positive"),
    ],
)
def test_damaged_transforms_are_named(photos, change, message):
    made.write_transforms(photos)
    file = photos / "transforms.json"
    tree = json.loads(file.read_text())
    change(tree)
    file.write_text(json.dumps(tree))
    with pytest.raises(InputError, match=f"transforms.json.*{message}"):
        load(photos)


def test_a_damaged_poses_bounds_is_named(photos):
    (photos / "images" / "sub").rename(photos / "images_4")
    (photos / "images").rmdir()
    made.write_llff(photos)
    file = photos / "poses_bounds.npy"
    whole = file.read_bytes()
    for cut in (0, 5, 60, 130, len(whole) - 1):
        file.write_bytes(whole[:cut])
        with pytest.raises(InputError, match="poses_bounds.npy: not a readable array"):
            load(photos)
    for shape in (b"[[(12, 17)", b"(12, ,17)", b"(999999999999, 17)"):
        longer = whole.replace(b"(12, 17)", shape, 1)
        file.write_bytes(longer.replace(b" " * (len(longer) - len(whole)) + b"\n", b"\n", 1))
        with pytest.raises(InputError, match="poses_bounds.npy: not a readable array"):
            load(photos)
    numpy.save(file, numpy.load(BytesIO(whole))[:5])
    with pytest.raises(InputError, match="5 poses, but .* has 12 pictures"):
        load(photos)


def test_splits_that_nerfstudio_names_are_kept(photos):
    named = {"train_filenames": [3, 4, 5], "val_filenames": [6], "test_filenames": [7, 8]}
    made.write_transforms(photos, **{key: [f"./images/{made.name(v)}" for v in which] for key, which in named.items()})
    scene = load(photos, ("train", "val", "test"))
    assert [len(scene.splits[split]) for split in ("train", "val", "test")] == [3, 1, 2]
    assert scene.splits["val"].names == ("images_sub_p_06",)
    assert "splits as the file names them: 3 train, 1 val, 2 test; 6 in none, left out" in scene.notes
    made.write_transforms(photos, train_filenames=[f"images/{made.name(3)}"], val_filenames=[f"images/{made.name(4)}"])
    assert load(photos).splits["test"].names == ("images_sub_p_04",)


@pytest.mark.parametrize(
    ("names", "message"),
    [("a.png", "is not a list"), ([7], "is not a list"), (["b.png"], "none of the pictures found")],
)
def test_split_lists_that_name_nothing_are_refused(photos, names, message):
    made.write_transforms(photos, train_filenames=names)
    with pytest.raises(InputError, match=message):
        load(photos)


def test_an_empty_picture_is_named(photos):
    write_sparse(photos)
    (photos / "images" / made.name(2)).write_bytes(b"")
    with pytest.raises(InputError, match="p_02.png: not a readable picture"):
        load(photos)
