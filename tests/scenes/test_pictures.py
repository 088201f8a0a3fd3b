"""The one gate for picture files: which decoders there are, limits before work, turns, depth of colour."""

import re
import struct
import sys
import warnings
import zlib
from pathlib import Path

import numpy
import pytest
import torch
from PIL import Image, features

from nerf.errors import InputError
from nerf.scenes.pictures import (
    doubtful_turn,
    open_picture,
    orientation,
    picture_size,
    read_picture,
    read_pictures,
    read_whole_picture,
    upright,
)

RGB = numpy.random.default_rng(0).integers(0, 256, (20, 30, 3), dtype=numpy.uint8)


def png_chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def write_png(file: Path, pixels: numpy.ndarray, *, before: bytes = b"", after: bytes = b"") -> Path:
    """Writes pixels (H, W, C) uint8 or uint16 as PNG, with chunks before and after them."""
    height, width, channels = pixels.shape
    bits = 8 * pixels.itemsize
    lines = b"".join(b"\0" + line.astype(f">u{pixels.itemsize}").tobytes() for line in pixels)
    head = struct.pack(">IIBBBBB", width, height, bits, {1: 0, 2: 4, 3: 2, 4: 6}[channels], 0, 0, 0)
    parts = (png_chunk(b"IHDR", head), before, png_chunk(b"IDAT", zlib.compress(lines)), after, png_chunk(b"IEND", b""))
    file.write_bytes(b"\x89PNG\r\n\x1a\n" + b"".join(parts))
    return file


def exif(turn: int) -> Image.Exif:
    tags = Image.Exif()
    tags[0x0112] = turn
    return tags


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".webp", ".tif", ".bmp", ".avif", ".gif", ".ppm"])
def test_a_picture_is_known_by_its_content_not_by_its_name(tmp_path, suffix):
    if suffix == ".avif" and not features.check("avif"):
        pytest.skip("this Pillow has no AVIF")
    Image.fromarray(RGB).save(tmp_path / f"a{suffix}")
    (tmp_path / f"a{suffix}").rename(tmp_path / "a.xyz")
    assert picture_size(tmp_path / "a.xyz") == (30, 20, 3)
    assert read_picture(tmp_path / "a.xyz").shape == (20, 30, 3)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 100 100\n%%EndComments\n", "none of JPEG, PNG"),
        (b"\xd7\xcd\xc6\x9a" + bytes(40), "none of JPEG, PNG"),
        (b"\x89HDF\r\n\x1a\n" + bytes(40), "none of JPEG, PNG"),
        (b"\x76\x2f\x31\x01" + bytes(40), "an EXR holds linear light; convert"),
        (b"", "empty"),
        (b"\xff\xd8\xff\xe0", "not a readable picture"),
    ],
    ids=["EPS", "WMF", "HDF5", "EXR", "empty", "cut off"],
)
def test_no_other_decoder_sees_a_file(tmp_path, monkeypatch, content, message):
    from PIL import EpsImagePlugin

    monkeypatch.setattr(EpsImagePlugin, "Ghostscript", lambda *_: pytest.fail("Ghostscript was called"))
    (tmp_path / "a.png").write_bytes(content)
    with pytest.raises(InputError, match=f"a.png: .*{message}"):
        read_picture(tmp_path / "a.png")


def test_a_file_that_is_not_there_is_named(tmp_path):
    with pytest.raises(InputError, match=r"a.png: not a readable picture \(.*No such file"):
        picture_size(tmp_path / "a.png")


@pytest.mark.parametrize("suffix", [".gif", ".tif", ".png"])
def test_of_several_pictures_in_a_file_the_first_is_taken_and_that_is_said(tmp_path, capsys, suffix):
    first = Image.fromarray(RGB).convert("P", palette=Image.Palette.WEB)
    first.save(tmp_path / f"one{suffix}")
    whole = read_whole_picture(tmp_path / f"one{suffix}")
    assert capsys.readouterr().out == ""
    others = [Image.fromarray(255 - RGB).convert("P", palette=Image.Palette.WEB)] * 3
    first.save(tmp_path / f"many{suffix}", save_all=True, append_images=others)
    assert numpy.array_equal(read_whole_picture(tmp_path / f"many{suffix}"), whole)
    assert f"many{suffix}: of several pictures in it the first is taken" in capsys.readouterr().out


def test_a_bomb_is_refused_by_its_header_and_a_large_picture_is_not(tmp_path):
    (tmp_path / "a.png").write_bytes(
        b"\x89PNG\r\n\x1a\n" + png_chunk(b"IHDR", struct.pack(">IIBBBBB", 30000, 30000, 8, 2, 0, 0, 0))
        + png_chunk(b"IDAT", zlib.compress(bytes(1000))) + png_chunk(b"IEND", b"")
    )  # fmt: skip
    for read in (read_picture, picture_size, read_whole_picture):
        with pytest.raises(InputError, match="claims 30000 x 30000 pixels; at most"):
            read(tmp_path / "a.png")
    Image.new("1", (20000, 10000)).save(tmp_path / "b.png")  # more than Pillow's own limit
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert picture_size(tmp_path / "b.png") == (20000, 10000, 3)
    assert Image.MAX_IMAGE_PIXELS is not None and Image.MAX_IMAGE_PIXELS < 10**9


def test_the_size_of_a_png_is_read_without_its_pixels(tmp_path, monkeypatch):
    Image.fromarray(RGB).save(tmp_path / "a.png", exif=exif(6))
    monkeypatch.setattr("PIL.ImageFile.ImageFile.load", lambda *_: pytest.fail("the pixels were decoded"))
    assert picture_size(tmp_path / "a.png", 20 / 30) == (20, 30, 3)


@pytest.mark.parametrize("turn", range(1, 9))
def test_every_turn_of_exif_is_taken_back(tmp_path, turn):
    from PIL import ImageOps

    Image.fromarray(RGB).save(tmp_path / "a.png", exif=exif(turn))
    with Image.open(tmp_path / "a.png") as image:
        expected = numpy.asarray(ImageOps.exif_transpose(image))
    assert (upright(RGB, turn) == expected).all()
    assert (read_whole_picture(tmp_path / "a.png") == expected).all()


@pytest.mark.parametrize("turn", range(1, 9))
def test_a_turn_is_in_doubt_where_the_picture_keeps_its_shape(tmp_path, turn):
    square = RGB[:20, :19]
    for name, pixels in (("a.png", RGB), ("b.png", square)):
        Image.fromarray(pixels).save(tmp_path / name, exif=exif(turn))
    sideways = turn in (5, 6, 7, 8)
    assert doubtful_turn(tmp_path / "a.png") == (1 if sideways else turn)
    assert doubtful_turn(tmp_path / "a.png", shape_told=False) == doubtful_turn(tmp_path / "b.png") == turn

    assert (read_picture(tmp_path / "b.png", 20 / 19) == square).all()
    assert (read_picture(tmp_path / "b.png", 20 / 19, turned=True) == upright(square, turn)).all()
    assert (read_picture(tmp_path / "a.png", 30 / 20, turned=True) == upright(RGB, 1 if sideways else turn)).all()


def test_a_turn_that_a_png_tells_behind_its_pixels_counts(tmp_path):
    write_png(tmp_path / "a.png", RGB, after=png_chunk(b"eXIf", exif(6).tobytes().removeprefix(b"Exif\0\0")))
    assert picture_size(tmp_path / "a.png", 20 / 30) == (20, 30, 3)
    assert (read_picture(tmp_path / "a.png", 20 / 30) == upright(RGB, 6)).all()
    assert (read_whole_picture(tmp_path / "a.png") == upright(RGB, 6)).all()


def test_raw_files_are_not_taken_for_their_thumbnails(tmp_path):
    Image.fromarray(RGB).save(tmp_path / "a.tif")
    (tmp_path / "a.tif").rename(tmp_path / "a.DNG")
    with pytest.raises(InputError, match="a.DNG: a raw picture; develop it"):
        picture_size(tmp_path / "a.DNG")


def test_damaged_exif_says_nothing(tmp_path):
    write_png(tmp_path / "a.png", RGB, before=png_chunk(b"eXIf", b"no tags"))
    with open_picture(tmp_path / "a.png") as image:
        assert orientation(image) == 1
    assert (read_picture(tmp_path / "a.png") == RGB).all()


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
@pytest.mark.parametrize("suffix", [".png", ".tif"])
def test_sixteen_bits_a_channel_are_read_whole(tmp_path, channels, suffix):
    pixels = numpy.random.default_rng(1).integers(0, 65536, (20, 30, channels), dtype=numpy.uint16)
    if suffix == ".png":
        write_png(tmp_path / "a.png", pixels)
    elif channels == 2:
        pytest.skip("Pillow knows no such TIFF")
    else:
        tifffile = pytest.importorskip("tifffile")
        kind = {"photometric": "rgb", "extrasamples": ["unassalpha"] if channels == 4 else None}
        tifffile.imwrite(tmp_path / "a.tif", pixels.squeeze(), **(kind if channels > 2 else {}))
    found = read_whole_picture(tmp_path / f"a{suffix}")
    assert found.dtype == numpy.uint16 and (found == pixels).all()


def test_damaged_pictures_of_sixteen_bits_are_refused_not_filled_up(tmp_path):
    whole = write_png(tmp_path / "a.png", RGB.astype(numpy.uint16) * 257).read_bytes()
    for data in (whole[: len(whole) // 2], whole.replace(b"\0\0\0\x1e", b"\0\0\0\x1f", 1)):
        (tmp_path / "a.png").write_bytes(data)
        with pytest.raises(InputError, match="a.png: not a readable picture"):
            read_whole_picture(tmp_path / "a.png")


@pytest.mark.parametrize(("kind", "word"), [(numpy.float32, "floating point"), (numpy.int32, "32 bits")])
def test_pixels_of_more_than_sixteen_bits_are_refused(tmp_path, kind, word):
    Image.fromarray(numpy.full((20, 30), 1, kind)).save(tmp_path / "a.tif")
    for read in (read_picture, read_whole_picture):
        with pytest.raises(InputError, match=f"a.tif: pixels of {word}; expected 8 or 16 bits"):
            read(tmp_path / "a.tif")


def test_heic_is_read_with_its_extra(tmp_path):
    pillow_heif = pytest.importorskip("pillow_heif", reason="pillow-heif is not installed: the extra nerf[heic]")
    pillow_heif.from_pillow(Image.new("RGB", (64, 48), (200, 100, 50))).save(tmp_path / "a.HEIC", quality=95)
    assert picture_size(tmp_path / "a.HEIC") == (64, 48, 3)
    assert numpy.abs(read_picture(tmp_path / "a.HEIC").astype(int) - [200, 100, 50]).max() < 8


def test_without_the_extra_heic_names_the_mend(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    for brand in (b"heic", b"mif1"):
        (tmp_path / "a.HEIC").write_bytes(b"\0\0\0\x18ftyp" + brand + b"\0\0\0\0mif1heic" + bytes(40))
        with pytest.raises(
            InputError, match=re.escape("a.HEIC: HEIC and HEIF need pillow-heif: pip install 'nerf[heic]'")
        ):
            picture_size(tmp_path / "a.HEIC")


def stack(folder, pictures, downscale=1):
    """Returns what is read of pictures given as arrays."""
    paths = [write_png(folder / f"{index}.png", picture) for index, picture in enumerate(pictures)]
    return read_pictures(paths, [picture_size(path) for path in paths], downscale)


def with_alpha(alpha: int) -> numpy.ndarray:
    return numpy.dstack([RGB, numpy.full((20, 30), alpha, numpy.uint8)])


def test_alpha_that_is_opaque_everywhere_is_no_silhouette(tmp_path):
    found = stack(tmp_path, [with_alpha(255), RGB, with_alpha(255)])
    assert (found.images.numpy() == RGB).all() and found.images.shape[3] == 3
    assert found.images.is_contiguous() and not found.holes
    assert found.notes == ["alpha: opaque everywhere, so it shows no silhouette"]


def test_alpha_of_a_few_pictures_are_holes_and_of_most_silhouettes(tmp_path):
    cut = with_alpha(255)
    cut[:, :10, 3] = 0
    few = stack(tmp_path, [RGB, cut, with_alpha(255), RGB], downscale=2)
    assert few.images.shape[3] == 3 and list(few.holes) == [1]
    assert (few.holes[1].numpy() == (numpy.arange(15) >= 5)).all()
    assert few.notes == ["alpha: 1 of 4 pictures are transparent in places, which are left out"]
    most = stack(tmp_path, [cut, cut, with_alpha(255)])
    assert most.images.shape[3] == 4 and not most.holes and not most.notes
    assert (most.images[2, ..., 3] == 255).all() and (most.images[0, :, :10, 3] == 0).all()


def test_box_averages_are_the_same_in_stripes_of_any_height(tmp_path, monkeypatch):
    pictures = [RGB, RGB[::-1]]
    whole = stack(tmp_path, pictures, downscale=4)
    monkeypatch.setattr("nerf.scenes.scene.SUMMED_AT_ONCE", 1)
    monkeypatch.setattr("nerf.scenes.pictures.DECODED_AT_ONCE", 1)
    assert whole.white == 255 * 16 and torch.equal(stack(tmp_path, pictures, downscale=4).images, whole.images)
    assert (whole.images[0, 0, 0].numpy() == RGB[:4, :4].astype(int).sum((0, 1))).all()


def test_sixteen_bits_of_a_capture_are_said_to_be_eight(tmp_path):
    deep = stack(tmp_path, [RGB.astype(numpy.uint16) * 257, RGB])
    assert (deep.images.numpy() == RGB).all()
    assert deep.notes == ["colours: 1 of 2 pictures have 16 bits a channel, of which 8 are used"]
