"""COLMAP's text models as other programs and people write them."""

from pathlib import Path

import pytest

from nerf.errors import InputError
from nerf.scenes.colmap_model import read_model

CAMERA = "1 PINHOLE 8 6 7 7 4 3\n"


def model(folder: Path, images: str | bytes, cameras: str = CAMERA) -> Path:
    (folder / "cameras.txt").write_text(cameras, encoding="utf-8")
    (folder / "images.txt").write_bytes(images if isinstance(images, bytes) else images.encode())
    return folder


def picture(number: int, name: str) -> str:
    return f"{number} 1 0 0 0 0.5 0.25 {number} 1 {name}"


def names(folder: Path) -> list[str]:
    return [image.name for image in read_model(folder)[1].values()]


@pytest.mark.parametrize("points", [[], [""], ["1.5 2.5 -1"], ["1.5 2.5 7 " * 4]])
def test_pictures_are_read_with_and_without_their_line_of_points(tmp_path: Path, points: list[str]) -> None:
    wanted = ["a.jpg", "my photo 2.jpg", "0003", "#d.jpg"]
    lines = [line for number, name in enumerate(wanted, 1) for line in (picture(number, name), *points)]
    assert names(model(tmp_path, "\n".join(lines))) == wanted


@pytest.mark.parametrize("line", ["2 1 0 0 0 0.5 0.25 2.5 1", "2 1 0 0", "2 1 0.5 0 0 0.5 0.25 2.5 1"])
def test_a_line_that_is_neither_points_nor_a_picture_is_refused_by_its_number(tmp_path: Path, line: str) -> None:
    with pytest.raises(InputError, match="line 2"):
        names(model(tmp_path, f"{picture(1, 'a.jpg')}\n{line}\n"))


def test_a_picture_number_that_comes_twice_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="line 3: picture number 1 is there twice"):
        names(model(tmp_path, f"{picture(1, 'a.jpg')}\n\n{picture(1, 'b.jpg')}\n"))


def test_a_byte_order_mark_is_no_part_of_a_text_model(tmp_path: Path) -> None:
    text = "\ufeff# pictures\r\n" + picture(1, "a.jpg") + "\r\n\r\n"
    assert names(model(tmp_path, text, "\ufeff" + CAMERA)) == ["a.jpg"]


def test_a_windows_code_page_is_said_to_be_no_utf8(tmp_path: Path) -> None:
    text = "# pictures\n" + picture(1, "caf\u00e9.jpg")
    with pytest.raises(InputError, match="line 2: not UTF-8; save the file as UTF-8"):
        names(model(tmp_path, text.encode("cp1252")))


def test_a_lens_model_that_is_not_read_brings_no_hint_of_another(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="not supported") as caught:
        names(model(tmp_path, picture(1, "a.jpg"), "1 RAD_TAN_THIN_PRISM_FISHEYE 8 6 7 7 4 3\n"))
    assert "did you mean" not in str(caught.value)
