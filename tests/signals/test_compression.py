"""Compressed pictures: the transform, the contexts, the coder, the file."""

import hashlib
import random
import shutil
import struct
import subprocess
import sys

import numpy
import pytest
import torch
from PIL import Image

from nerf.cli.main import main
from nerf.errors import InputError
from nerf.seeding import generator
from nerf.signals.compression.coding import Reader, Writer, code
from nerf.signals.compression.container import decompressed
from nerf.signals.compression.contexts import earlier, outer_features, pass_features
from nerf.signals.compression.encoding import Contexts, Encoder, Forecast, code_length
from nerf.signals.compression.network import PROBABILITY, Network
from nerf.signals.compression.wavelet import analysis, band_shapes, deepest, synthesis


def scene(height=70, width=91, channels=3):
    """Returns a picture of ramps, edges and a little noise."""
    y, x = numpy.mgrid[0:height, 0:width]
    noise = numpy.random.default_rng(0).normal(0, 3, (height, width, channels))
    layers = [2 * x, 255 * ((x - 40) ** 2 + (y - 30) ** 2 < 400), y + x][:channels]
    return numpy.clip(numpy.stack(layers, -1) + noise, 0, 255).astype(numpy.uint8)


@pytest.fixture(scope="module")
def once(tmp_path_factory):
    folder = tmp_path_factory.mktemp("compressed")
    Image.fromarray(scene()).save(folder / "a.png")
    assert main(["compress", str(folder / "a.png"), "--bpp", "1.2"]) == 0
    return folder


@pytest.fixture
def compressed(once, tmp_path):
    shutil.copytree(once, tmp_path, dirs_exist_ok=True)
    return tmp_path / "a.nrfp"


@pytest.mark.parametrize("shape", [(1, 1), (2, 3), (5, 1), (37, 53), (64, 64)])
def test_the_wavelet_is_undone_by_its_inverse(shape):
    picture = numpy.random.default_rng(1).random(shape)
    bands = analysis(picture, 4)
    assert [band.shape for band in bands] == band_shapes(*shape, 4)
    assert numpy.allclose(synthesis(bands), picture, atol=1e-12)


def test_the_wavelet_is_nearly_orthonormal_and_sees_no_detail_in_a_plane():
    mean, *details = analysis(numpy.full((64, 64), 3.0), 2)
    assert numpy.allclose(mean, 12) and all(abs(detail).max() < 1e-10 for detail in details)
    noise = numpy.random.default_rng(2).normal(size=(128, 128))
    for band in analysis(noise, 2):
        assert band.std() == pytest.approx(1, abs=0.15)  # the 9/7 pair departs so much from orthonormal


def test_a_pass_knows_nothing_of_what_is_decoded_later():
    bands = [[numpy.random.default_rng(3).integers(0, 9, shape) for shape in band_shapes(16, 16, 2)]]
    for number in range(4):
        known = earlier(bands[0][6], number)
        changed = numpy.where(known == bands[0][6], known, 7)  # what is later takes other values
        outer = outer_features(bands, 0, 6, known.shape)
        assert numpy.array_equal(
            pass_features(earlier(changed, number), outer, number), pass_features(known, outer, number)
        )


def test_what_the_coder_writes_it_reads():
    random_numbers = numpy.random.default_rng(4)
    shapes = band_shapes(40, 30, 3)
    bands = [[random_numbers.integers(-6, 7, shape).astype(numpy.int32) for shape in shapes] for _ in range(2)]
    bands[0][0][0, 0] = -1500
    weights = [random_numbers.integers(-40, 40, shape).astype(float) for shape in Network.shapes(2 * len(shapes))]
    network = Network(*weights)
    writer = Writer()
    code(writer, network, shapes, bands)
    again = code(Reader(writer.coder.get_compressed()), network, shapes)
    assert all(numpy.array_equal(a, b) for one, other in zip(bands, again) for a, b in zip(one, other))


def test_the_length_that_training_minimises_is_that_of_the_file():
    encoder = Encoder(scene())
    words, _ = encoder.coded(0.1, lambda: None)
    contexts = Contexts.of(encoder.quantised(0.1))
    with torch.no_grad():
        logit = encoder.forecast(contexts.features, contexts.number, contexts.band)
    bits = code_length(logit, contexts.magnitude).sum().item()
    # Tables of quarter logits, their floor of 4 / 65536 and the last word cost about 1 %.
    assert 32 * len(words) == pytest.approx(bits, rel=0.02)


def test_the_integer_network_is_the_trained_one():
    forecast = Forecast(3, generator(0, "test"))
    features = torch.randint(0, 60, (50, 13), generator=generator(0, "features")).float()
    with torch.no_grad():
        logit = forecast(features, torch.full((50,), 2), torch.full((50,), 1))
    found = forecast.network().probabilities(features.double().numpy(), 2, 1)
    for column in range(2):
        index = torch.floor(logit[:, column] * 4 + 0.5).long() + 64
        assert numpy.array_equal(found[column], PROBABILITY[index.numpy(),])


def test_a_file_is_decoded_by_another_process_to_the_same_pixels_without_torch(compressed, tmp_path):
    script = (
        "import sys; from nerf.cli.main import main; "
        f"status = main(['decode', {str(compressed)!r}, '--out', {str(tmp_path / 'b.png')!r}]); "
        "sys.exit(status or 'torch' in sys.modules)"
    )
    subprocess.run([sys.executable, "-c", script], check=True)
    assert numpy.array_equal(numpy.asarray(Image.open(tmp_path / "b.png")), decompressed(compressed))


def test_rate_and_quality_are_met(compressed, tmp_path, capsys):
    bits = 8 * compressed.stat().st_size / (70 * 91)
    assert 1.1 < bits <= 1.21
    assert main(["compress", str(tmp_path / "a.png"), "--psnr", "33", "--out", str(tmp_path / "c.nrfp")]) == 0
    error = decompressed(tmp_path / "c.nrfp").astype(float) - scene()
    assert 10 * numpy.log10(255**2 / (error**2).mean()) == pytest.approx(33, abs=0.1)


@pytest.mark.parametrize("channels", [1, 4])
def test_grey_pictures_and_alpha_are_kept(tmp_path, channels):
    picture = scene(channels=1)[..., 0] if channels == 1 else numpy.dstack([scene(), scene()[..., 1]])
    Image.fromarray(picture).save(tmp_path / "a.png")
    assert main(["compress", str(tmp_path / "a.png"), "--psnr", "35"]) == 0
    assert decompressed(tmp_path / "a.nrfp").shape == (70, 91, channels)


@pytest.mark.parametrize("shape", [(1, 1), (2, 3), (1, 40), (32, 32), (31, 80)])
def test_pictures_with_a_short_side_are_kept(tmp_path, monkeypatch, capsys, shape):
    monkeypatch.setattr("nerf.signals.compression.encoding.FIRST_STEPS", 20)
    monkeypatch.setattr("nerf.signals.compression.encoding.NEXT_STEPS", 5)
    picture = scene(*shape)
    Image.fromarray(picture).save(tmp_path / "a.png")
    assert main(["compress", str(tmp_path / "a.png"), "--psnr", "40"]) == 0
    assert main(["decode", str(tmp_path / "a.nrfp"), "--out", str(tmp_path / "b.png")]) == 0
    error = numpy.asarray(Image.open(tmp_path / "b.png")).astype(float) - picture
    assert 10 * numpy.log10(255**2 / max((error**2).mean(), 1e-9)) > 39.9

    # A rate that the header alone exceeds would leave grey: it is refused.
    capsys.readouterr()
    before = (tmp_path / "a.nrfp").read_bytes()
    assert main(["compress", str(tmp_path / "a.png"), "--bpp", "0.5"]) == 2
    assert "too few for --bpp 0.5" in capsys.readouterr().err and (tmp_path / "a.nrfp").read_bytes() == before


def test_a_file_cannot_claim_more_pixels_than_its_bytes_pay_for(tmp_path, compressed):
    body = bytearray(compressed.read_bytes()[:-16])
    body[7:15] = struct.pack("<II", 16384, 16384)
    (tmp_path / "bomb.nrfp").write_bytes(body + hashlib.sha256(body).digest()[:16])
    with pytest.raises(InputError, match="claims 16384 x 16384 pixels, which it is too short for"):
        decompressed(tmp_path / "bomb.nrfp")

    # A picture without detail costs least: its file is long enough all the same.
    Image.new("RGB", (700, 500), (9, 99, 9)).save(tmp_path / "plain.png")
    assert main(["compress", str(tmp_path / "plain.png"), "--psnr", "30"]) == 0
    assert decompressed(tmp_path / "plain.nrfp").shape == (500, 700, 3)


def test_pictures_larger_than_the_memory_are_refused_before_work(tmp_path, compressed, monkeypatch, capsys):
    for module in ("compression.encoding", "compression.container", "files.budget"):
        monkeypatch.setattr(f"nerf.signals.{module}.machine_memory", lambda: 70 * 91 * 3 * 5)
    picture = str(tmp_path / "a.png")
    for words in (
        ["compress", picture, "--out", str(tmp_path / "b.nrfp")],
        ["decode", str(compressed), "--out", str(tmp_path / "b.png")],
        ["fit", "image", picture, "--out", str(tmp_path / "run")],
    ):
        capsys.readouterr()
        assert main(words) == 2
        lines = capsys.readouterr().err.strip().splitlines()
        assert "GiB of memory, the machine has" in lines[-1]  # after a progress bar that stayed at 0
    assert {path.name for path in tmp_path.iterdir()} == {"a.png", "a.nrfp"}


def test_levels_that_a_picture_is_too_small_for_are_refused(compressed):
    assert [deepest(side, 99) for side in (1, 2, 3, 32, 33, 64, 65)] == [0, 1, 2, 5, 6, 6, 7]
    body = bytearray(compressed.read_bytes()[:-16])
    assert body[6] == 6  # levels of 70 x 91
    body[7:15] = struct.pack("<II", 32, 70 * 91 // 32)
    compressed.write_bytes(body + hashlib.sha256(body).digest()[:16])
    with pytest.raises(InputError, match="impossible sizes"):
        decompressed(compressed)


def test_every_changed_byte_is_noticed(compressed, tmp_path, capsys):
    data = compressed.read_bytes()
    draw = random.Random(0)
    for place in draw.sample(range(len(data)), 50):
        changed = bytearray(data)
        changed[place] ^= draw.randrange(1, 256)
        (tmp_path / "bad.nrfp").write_bytes(changed)
        capsys.readouterr()
        assert main(["decode", str(tmp_path / "bad.nrfp"), "--out", str(tmp_path / "bad.png")]) == 2
        assert len(capsys.readouterr().err.strip().splitlines()) == 1
    for cut in (0, 3, 20, len(data) // 2, len(data) - 1):
        (tmp_path / "bad.nrfp").write_bytes(data[:cut])
        assert main(["decode", str(tmp_path / "bad.nrfp"), "--out", str(tmp_path / "bad.png")]) == 2
    assert not (tmp_path / "bad.png").exists()
