"""Where COLMAP's models lie, which of several is read, and what is said of the rest."""

from pathlib import Path

import pytest

from nerf.config import SceneSettings
from nerf.errors import InputError
from nerf.scenes import find_scene, load_scene
from nerf.scenes.scene import Scene
from tests.scenes import photo_folder as made


def load(folder: Path) -> Scene:
    return load_scene(find_scene(str(folder)), ("train", "test"), SceneSettings())


def count(scene: Scene) -> int:
    return sum(len(views) for views in scene.splits.values())


def write_few(folder: Path) -> None:
    """Writes the model with its first four pictures alone."""
    made.write_text(folder)
    lines = (folder / "images.txt").read_text().splitlines()
    (folder / "images.txt").write_text("\n".join(lines[:9]) + "\n")


def test_of_several_models_the_one_with_most_pictures_is_read_and_the_others_are_named(tmp_path: Path) -> None:
    made.write_pictures(tmp_path / "images")
    write_few(tmp_path / "sparse" / "0")
    made.write_binary(tmp_path / "sparse" / "1")
    scene = load(tmp_path)
    assert count(scene) == made.N
    assert any("sparse/0 has 4" in note for note in scene.notes)


def test_pictures_without_a_pose_are_counted(tmp_path: Path) -> None:
    made.write_pictures(tmp_path / "images")
    write_few(tmp_path / "sparse" / "0")
    scene = load(tmp_path)
    assert count(scene) == 4 and any("8 of 12 pictures in images have no pose" in note for note in scene.notes)


PLACES = ("sparse/1", "my_sparse/0", "my_sparse", "colmap_text", "distorted/sparse/0")


def test_a_link_to_itself_among_the_pictures_is_one_without_a_pose(tmp_path: Path) -> None:
    made.write_pictures(tmp_path / "images")
    made.write_text(tmp_path / "sparse" / "0")
    (tmp_path / "images" / "loop.png").symlink_to("loop.png")
    assert count(load(tmp_path)) == made.N


@pytest.mark.parametrize("place", PLACES)
def test_models_are_found_where_tools_leave_them(tmp_path: Path, place: str) -> None:
    made.write_pictures(tmp_path / "images")
    made.write_text(tmp_path / place)
    scene = load(tmp_path)
    assert count(scene) == made.N and any(place in note for note in scene.notes)


def test_undistorted_pictures_beside_their_model_are_read(tmp_path: Path) -> None:
    made.write_pictures(tmp_path / "dense" / "0" / "images")
    made.write_text(tmp_path / "dense" / "0" / "sparse")
    assert count(load(tmp_path)) == made.N


@pytest.mark.parametrize("write", [made.write_transforms, lambda folder: made.write_text(folder / "sparse" / "0")])
def test_the_folder_of_the_pictures_stands_for_the_scene_above_it(tmp_path: Path, write) -> None:
    made.write_pictures(tmp_path / "images")
    write(tmp_path)
    assert "above the pictures" in find_scene(str(tmp_path / "images")).why
    assert count(load(tmp_path / "images")) == made.N


@pytest.mark.parametrize("file", ["cameras", "images", "points3D"])
def test_whole_numbers_beyond_64_bits_are_refused_by_their_line(tmp_path: Path, file: str) -> None:
    made.write_pictures(tmp_path / "images")
    made.write_text(tmp_path / "sparse" / "0")
    text = tmp_path / "sparse" / "0" / f"{file}.txt"
    comment, first, *rest = text.read_text().splitlines()
    text.write_text("\n".join([comment, " ".join(["10000000000000000000", *first.split()[1:]]), *rest, ""]))
    with pytest.raises(InputError, match=rf"{file}\.txt: line 2: .* has a word that is not a number"):
        load(tmp_path)
