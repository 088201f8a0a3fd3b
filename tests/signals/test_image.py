"""Pictures: fitted, resumed, decoded at any size and region, with masks and without peak."""

import json
import struct
from dataclasses import replace

import numpy
import pytest
import torch
from PIL import Image as Pillow
from safetensors.torch import load_file

from nerf.cli.main import main
from nerf.signals.compression.encoding import read_8_bit_picture
from nerf.signals.files.pictures import read_float_picture, write_float_picture
from nerf.signals.image import Image
from nerf.signals.settings import FitSettings
from tests.scenes.test_pictures import write_png

SMALL = [
    "field.levels=4",
    "field.log2_table_size=10",
    "field.finest_resolution=32",
    "field.width=16",
    "train.samples=1024",
]


def picture(file, size=(24, 16), channels=3):
    """Writes a smooth picture with an edge."""
    x, y = numpy.meshgrid(numpy.linspace(0, 1, size[0]), numpy.linspace(0, 1, size[1]))
    layers = [x, y, (x + y > 1) * 0.8, 0.5 + x * 0.5][:channels]
    values = (numpy.stack(layers, -1) * 255).astype(numpy.uint8)
    Pillow.fromarray(values[..., 0] if channels == 1 else values).save(file)
    return file


def fit(file, out, *words):
    return main(["fit", "image", str(file), "--out", str(out), *words, *SMALL])


@pytest.mark.parametrize("channels", [1, 3, 4])
def test_a_picture_is_learned_and_written_back(tmp_path, channels):
    file = picture(tmp_path / "a.png", channels=channels)
    assert fit(file, tmp_path / "run", "--steps", "200") == 0
    metrics = json.loads((tmp_path / "run" / "metrics.json").read_text())
    decoded = Pillow.open(tmp_path / "run" / "decoded.png")
    error = (numpy.asarray(decoded).astype(float) - numpy.asarray(Pillow.open(file)).astype(float)) / 255
    assert metrics["psnr"] > 30
    assert 10 ** (-metrics["psnr"] / 10) == pytest.approx((error**2).mean(), rel=1e-3, abs=1e-9)


def test_a_fit_goes_on_for_more_steps_than_were_asked_for_at_first(tmp_path):
    file = picture(tmp_path / "a.png")
    run = tmp_path / "run"
    assert fit(file, run, "--steps", "20") == 0 and fit(file, run, "--steps", "30", "--resume") == 0
    assert json.loads((run / "metrics.json").read_text())["steps"] == 30


def test_the_same_seed_gives_the_same_bits_and_a_resumed_fit_too(tmp_path):
    file = picture(tmp_path / "a.png")
    words = ("optimizer.horizon=40", "--backend", "native")
    for name in ("one", "two"):
        assert fit(file, tmp_path / name, "train.steps=40", *words) == 0
    assert fit(file, tmp_path / "cut", "train.steps=15", *words) == 0
    assert fit(file, tmp_path / "cut", "train.steps=40", *words, "--resume") == 0
    one, two, cut = (load_file(tmp_path / name / "checkpoint.safetensors") for name in ("one", "two", "cut"))
    assert all(torch.equal(one[name], two[name]) and torch.equal(one[name], cut[name]) for name in one)


def test_a_region_is_the_part_of_the_whole(tmp_path):
    file = picture(tmp_path / "a.png")
    assert fit(file, tmp_path / "run", "--steps", "5") == 0
    decode = ["decode", str(tmp_path / "run"), "--out"]
    assert main([*decode, str(tmp_path / "whole.png"), "--size", "48x32"]) == 0
    region = ["--region", "0.5", "0.25", "1", "0.75"]
    assert main([*decode, str(tmp_path / "part.png"), "--size", "24x16", *region]) == 0
    whole, part = (numpy.asarray(Pillow.open(tmp_path / name)) for name in ("whole.png", "part.png"))
    assert whole.shape == (32, 48, 3) and numpy.array_equal(whole[8:24, 24:], part)


def test_masked_pixels_are_never_seen(tmp_path):
    one = picture(tmp_path / "one.png")
    other = tmp_path / "other.png"
    mask = tmp_path / "mask.png"
    values = numpy.array(Pillow.open(one))
    known = numpy.full((16, 24), 255, numpy.uint8)
    known[4:8, 6:12] = 0
    values[4:8, 6:12] = 77
    Pillow.fromarray(values).save(other)
    Pillow.fromarray(known).save(mask)
    for file in (one, other):
        assert fit(file, tmp_path / file.stem, "--steps", "20", f"image.mask={mask}") == 0
    a, b = (load_file(tmp_path / name / "checkpoint.safetensors") for name in ("one", "other"))
    assert all(torch.equal(a[name], b[name]) for name in a)
    metrics = [json.loads((tmp_path / name / "metrics.json").read_text()) for name in ("one", "other")]
    assert metrics[0]["psnr"] == metrics[1]["psnr"] and metrics[0]["psnr_unknown"] != metrics[1]["psnr_unknown"]


def test_area_fitting_sees_means_over_pixels(tmp_path):
    file = picture(tmp_path / "a.png")
    assert fit(file, tmp_path / "run", "--steps", "100", "image.area=2", "image.downscale=2") == 0
    assert json.loads((tmp_path / "run" / "signal.json").read_text())["signal"]["width"] == 12
    assert json.loads((tmp_path / "run" / "metrics.json").read_text())["psnr"] > 20


def test_light_without_a_peak_is_fitted_relatively(tmp_path):
    x = torch.linspace(0, 1, 20)
    light = (torch.outer(torch.ones(12), 0.05 * 2000**x)[..., None] * torch.tensor([1.0, 0.7, 0.4])).contiguous()
    write_float_picture(tmp_path / "a.exr", light, hdr=True)
    again, hdr = read_float_picture(tmp_path / "a.exr")
    assert hdr and torch.allclose(again, light, rtol=1e-3)  # half floats have 11 bits
    assert fit(tmp_path / "a.exr", tmp_path / "run", "--steps", "300") == 0
    decoded, _ = read_float_picture(tmp_path / "run" / "decoded.exr")
    assert ((decoded - again).abs() / again).mean() < 0.1
    assert main(["decode", str(tmp_path / "run"), "--out", str(tmp_path / "a.png")]) == 2


def test_what_exif_turns_is_fitted_and_compressed_upright(tmp_path):
    file = picture(tmp_path / "a.png")
    tags = Pillow.Exif()
    tags[0x0112] = 6  # to be shown, turn it by 90 degrees clockwise
    Pillow.open(file).transpose(Pillow.Transpose.ROTATE_90).save(tmp_path / "b.png", exif=tags)
    upright, _ = read_float_picture(file)
    turned, _ = read_float_picture(tmp_path / "b.png")
    assert turned.is_contiguous() and torch.equal(turned, upright)
    assert (read_8_bit_picture(tmp_path / "b.png") == read_8_bit_picture(file)).all()


def test_sixteen_bits_are_fitted_as_they_are_and_compressed_as_eight(tmp_path):
    values = numpy.arange(16 * 24 * 3, dtype=numpy.uint16).reshape(16, 24, 3) * 50
    write_png(tmp_path / "a.png", values)
    found, hdr = read_float_picture(tmp_path / "a.png")
    assert not hdr and torch.equal(found, torch.from_numpy(values.astype(numpy.float32) / 65535))
    assert (read_8_bit_picture(tmp_path / "a.png") == (values / 257).round()).all()


@pytest.mark.parametrize("kind", [numpy.float32, numpy.int32])
def test_pixels_of_32_bits_are_refused_not_clipped(tmp_path, capsys, kind):
    Pillow.fromarray(numpy.full((16, 24), 300, kind)).save(tmp_path / "a.tif")
    for words in (["fit", "image"], ["compress"]):
        assert main([*words, str(tmp_path / "a.tif"), "--out", str(tmp_path / "out")]) == 2
        assert "a.tif: pixels of" in capsys.readouterr().err


def test_a_bomb_is_refused_before_it_is_unpacked(tmp_path, capsys):
    Pillow.new("1", (20000, 20000)).save(tmp_path / "a.png")
    for words in (["compress"], ["fit", "image"]):
        assert main([*words, str(tmp_path / "a.png"), "--out", str(tmp_path / "out")]) == 2
        assert "a.png: claims 20000 x 20000 pixels; at most" in capsys.readouterr().err


@pytest.mark.parametrize("last, error", [((99999, 99999), "claims 100000 x 100000"), ((9999, 9999), "GiB of memory")])
def test_an_exr_that_claims_more_than_is_bearable_is_refused_by_its_header(tmp_path, capsys, monkeypatch, last, error):
    pytest.importorskip("OpenEXR")
    file = tmp_path / "a.exr"
    write_float_picture(file, torch.ones(12, 20, 3), hdr=True)
    data = bytearray(file.read_bytes())
    word = b"dataWindow\0box2i\0"
    at = data.index(word) + len(word) + 4
    data[at : at + 16] = struct.pack("<4i", 0, 0, *last)
    file.write_bytes(data)
    monkeypatch.setattr("nerf.signals.files.budget.machine_memory", lambda: 2**30)
    assert main(["fit", "image", str(file), "--out", str(tmp_path / "run")]) == 2
    assert error in capsys.readouterr().err


@pytest.mark.parametrize("kind", ["grey", "RGBA", "0 and 1", "alpha alone"])
def test_masks_of_every_kind_tell_the_same_pixels(tmp_path, kind):
    file = picture(tmp_path / "a.png")
    grey = numpy.where(numpy.arange(24) < 12, 255, 0).astype(numpy.uint8)[None].repeat(16, 0)
    white = numpy.full_like(grey, 255)
    mask = {
        "grey": grey,
        "RGBA": numpy.dstack([grey, grey, grey, white]),
        "0 and 1": grey // 255,
        "alpha alone": numpy.dstack([white, white, white, grey]),
    }[kind]
    Pillow.fromarray(mask).save(tmp_path / "mask.png")
    settings = FitSettings()
    settings = replace(settings, image=replace(settings.image, mask=str(tmp_path / "mask.png")))
    assert torch.equal(Image.read(file, settings).known, torch.from_numpy(grey.flatten() > 0).nonzero().squeeze(1))


def test_bad_pictures_and_requests_end_in_one_line(tmp_path, capsys):
    file = picture(tmp_path / "a.png", size=(64, 64))
    broken = tmp_path / "broken.png"
    broken.write_bytes(file.read_bytes()[:-200])
    (tmp_path / "text.png").write_text("no picture")
    assert fit(file, tmp_path / "run", "--steps", "2") == 0

    decode = ["decode", str(tmp_path / "run"), "--out", str(tmp_path / "b.png")]
    words = [
        ["fit", "image", str(broken)],
        ["fit", "image", str(tmp_path / "text.png")],
        ["fit", "image", "nowhere.png"],
        [*decode, "--region", "0.5", "0", "0.2", "1"],
        [*decode, "--rate", "8000"],
        ["decode", str(tmp_path), "--out", "a.png"],
    ]

    for line in words:
        capsys.readouterr()
        out = ["--out", str(tmp_path / "bad")] if line[0] == "fit" else []
        assert main([*line, *out]) == 2
        assert len(capsys.readouterr().err.strip().splitlines()) == 1


def test_a_field_is_chosen_with_its_own_defaults(tmp_path):
    file = picture(tmp_path / "a.png")
    words = ["fit", "image", str(file), "--out", str(tmp_path / "run"), "--field", "siren", "--steps", "2"]
    assert main([*words, "field.width=8"]) == 0
    text = (tmp_path / "run" / "settings.yaml").read_text()
    assert "kind: siren" in text and "learning_rate: 0.001" in text and "width: 8" in text
