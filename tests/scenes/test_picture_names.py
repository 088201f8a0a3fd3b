"""Names of pictures: which file a name means, what is refused, and which words may name files."""

import unicodedata

import pytest

from nerf.errors import InputError
from nerf.scenes.picture_names import file_names, find_pictures, picture_files, unique_words, unread_note


@pytest.fixture
def shelf(tmp_path):
    """Writes empty files under a folder and tells where names are found, relative to it."""

    def find(files, *names):
        for file in files:
            (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / file).write_bytes(b"")
        return [path.relative_to(tmp_path).as_posix() for path in find_pictures(tmp_path, names, "a.json")]

    return find


@pytest.mark.parametrize(
    ("file", "name"),
    [
        ("images/a.png", "images/a.png"),
        ("images/a.png", ".\\images\\a.png"),
        ("images/a.png", "./images/../images/a.png"),
        ("images/a.png", "\ufeffimages/a.png"),
        ("images/DSC01.JPG", "images/dsc01.jpg"),
        ("Images/a.png", "images/a.png"),
        ("images/a.PNG", "images/a"),
        ("images/a.jpg", "images/a.png"),
        ("images/a.avif", "images/a.JPG"),
        ("images/t_12.5.jpg", "images/t_12.5"),
        (unicodedata.normalize("NFD", "images/Grün.png"), unicodedata.normalize("NFC", "images/Grün.png")),
        (unicodedata.normalize("NFC", "images/Grün.png"), unicodedata.normalize("NFD", "images/grün.PNG")),
        ("images/a.png", "C:\\Users\\me\\Desktop\\images\\a.png"),
        ("images/a.png", "frames/a.png"),
        ("a.png", "camera/a.png"),
        ("images/camera/a.png", "a.png"),
        ("images/camera/a.png", "camera/a.jpg"),
    ],
)
def test_a_name_means_the_one_file_that_fits(shelf, file, name):
    assert shelf([file, "images/other.png", "images_2/a.png", "masks/a.png"], name) == [file]


def test_the_exact_name_goes_before_all_others(shelf):
    files = ["a.png", "A.png", "a.jpg", "a"]
    assert shelf(files, *files) == files


@pytest.mark.parametrize(
    ("files", "name"),
    [(["A.png", "a.PNG"], "a.png"), (["a.png", "a.jpg"], "a"), (["x/b/a.png", "y/b/a.png"], "b/a.png")],
)
def test_two_files_that_fit_alike_are_both_named(shelf, files, name):
    with pytest.raises(InputError, match=f'a.json: "{name}" fits to both .*[aA].* and .*a'):
        shelf(files, name)


def test_one_file_is_not_taken_for_two_names(shelf):
    with pytest.raises(InputError, match='"one/a.jpg" and "two/a.jpg" both fit only to'):
        shelf(["a.png"], "one/a.jpg", "two/a.jpg")


def test_a_missing_picture_is_not_looked_for_in_folders_of_other_pictures(shelf):
    # Another camera's or split's picture of the same name, or a small copy, is not the one that is meant.
    files = ["train/a.png", "train/b.png", "test/a.png", "backup/test/b.png"]
    assert shelf(files, "test/a.png", "test/b.png") == ["test/a.png", "test/b.png"]
    assert shelf([], "val/a.png") == ["val/a.png"]


@pytest.mark.parametrize("name", ["../secret.png", "images/../../secret.png", "..\\secret.png", "/etc/secret.png", "."])
def test_names_that_lead_out_are_refused(shelf, name):
    with pytest.raises(InputError, match="leads out of the scene folder"):
        shelf(["images/a.png"], name)


@pytest.mark.parametrize("name", ["a\0.png", "a\ud800.png"])
def test_names_that_no_file_has_are_refused(shelf, name):
    with pytest.raises(InputError, match="a.json: a picture's name has"):
        shelf([], name)


def test_absolute_names_inside_the_folder_are_taken(tmp_path, shelf):
    assert shelf(["images/a.png"], f"{tmp_path}/images/a.png") == ["images/a.png"]


def test_links_count_by_their_names(tmp_path, shelf):
    (tmp_path / "disk").mkdir()
    (tmp_path / "disk" / "a.png").write_bytes(b"")
    scene = tmp_path / "scene"
    scene.mkdir()
    (scene / "images").symlink_to(tmp_path / "disk")
    (scene / "b.png").symlink_to(tmp_path / "disk" / "a.png")
    names = ["images/a.png", "b.png"]
    assert find_pictures(scene, names, "a.json") == [scene / name for name in names]
    assert find_pictures(scene, ["images/A"], "a.json") == [scene / "images" / "a.png"]
    (scene / "loop").symlink_to(scene)
    assert picture_files(scene, deep=True) == ["b.png", "images/a.png"]


def test_files_of_the_system_and_masks_are_no_photographs(tmp_path):
    for name in ("b.JPG", "a.heic", "._a.jpg", "dynamic_mask_b.png", "notes.txt", "c.CR2", "sub/d.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"")
    assert picture_files(tmp_path) == ["a.heic", "b.JPG"]
    assert picture_files(tmp_path, deep=True) == ["a.heic", "b.JPG", "sub/d.png"]
    (note,) = unread_note(tmp_path)
    assert "not read (1): c.CR2; convert them" in note


@pytest.mark.parametrize(
    ("names", "words"),
    [
        (["images/a.png", "images/b.png"], ("images_a", "images_b")),
        (["shot.0001.png", "shot.0002.png"], ("shot.0001", "shot.0002")),
        (["shot.0001", "shot.0002"], ("shot.0001", "shot.0002")),
        (["a.jpg", "a.png"], ("a.jpg", "a.png")),
        (["a.jpg", "A.png"], ("a.jpg", "A.png")),
        (["a/b.png", "a_b.png"], ("a_b.png", "a_b.png-2")),
        (["R.png", "r.png"], ("R.png", "r.png-2")),
        (["x.png", "x_depth.png"], ("x", "x_depth-2")),
        (["x_depth.png", "x.png"], ("x_depth", "x-2")),
        (["a.png", "./a.jpg", "a.jpg"], ("a.png", "a.jpg", "a.jpg-2")),
    ],
)
def test_words_that_name_files_are_unique_and_ordinary_ones_stay(names, words):
    assert file_names(names) == words
    assert unique_words(words) == words
