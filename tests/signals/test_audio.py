"""Sounds: fitted, scored, written back at any rate; files of every width, and bad ones."""

import json
from wave import open as open_wave

import numpy
import pytest
import torch
from scipy.io import wavfile

from nerf.cli.main import main
from nerf.signals.files.sounds import read_sound

SMALL = [
    "field.levels=6",
    "field.log2_table_size=10",
    "field.base_resolution=16",
    "field.finest_resolution=512",
    "field.width=16",
]


def tone(file, dtype=numpy.float32, channels=1):
    """Writes 0.1 s of a low tone at 8 kHz, amplitude 1 / 2."""
    time = numpy.arange(800) / 8000
    wave = 0.5 * numpy.sin(2 * numpy.pi * 50 * time)
    wave = numpy.stack([wave] * channels, axis=1) if channels > 1 else wave
    scale = {"f": 1, "u": 127, "i": 2.0 ** (8 * numpy.dtype(dtype).itemsize - 1) - 1}[numpy.dtype(dtype).kind]
    wavfile.write(file, 8000, (wave * scale + (128 if dtype == numpy.uint8 else 0)).astype(dtype))
    return file


@pytest.mark.parametrize("dtype", [numpy.uint8, numpy.int16, numpy.int32, numpy.float32, numpy.float64])
def test_samples_of_every_width_are_read_to_the_same_scale(tmp_path, dtype):
    sound, rate = read_sound(tone(tmp_path / "a.wav", dtype))
    assert rate == 8000 and sound.shape == (800, 1)
    assert sound.max().item() == pytest.approx(0.5, abs=0.01)


def test_samples_of_24_bits_are_read_to_the_same_scale(tmp_path):
    sound, rate = read_sound(tone(tmp_path / "a.wav", numpy.int32, channels=2))
    with open_wave(str(tmp_path / "b.wav"), "wb") as file:
        file.setparams((2, 3, rate, len(sound), "NONE", ""))
        whole = (sound.numpy() * 2**23).astype("<i4")
        file.writeframes(whole.reshape(-1, 1).view(numpy.uint8)[:, :3].tobytes())
    again, rate = read_sound(tmp_path / "b.wav")
    assert rate == 8000 and torch.allclose(again, sound, atol=1e-6)  # 24 bits


def test_a_sound_is_learned_and_written_back_at_any_rate(tmp_path):
    file = tone(tmp_path / "a.wav", channels=2)
    run = tmp_path / "run"
    assert main(["fit", "audio", str(file), "--out", str(run), "--field", "hash", "--steps", "300", *SMALL]) == 0
    metrics = json.loads((run / "metrics.json").read_text())
    truth = wavfile.read(file)[1]
    decoded = wavfile.read(run / "decoded.wav")[1]
    assert decoded.dtype == numpy.float32
    part = ((truth - decoded) ** 2).mean() / (truth**2).mean()
    assert metrics["snr"] > 25 and metrics["snr"] == pytest.approx(-10 * numpy.log10(part), abs=0.01)
    assert main(["decode", str(run), "--out", str(tmp_path / "b.wav"), "--rate", "16000"]) == 0
    rate, finer = wavfile.read(tmp_path / "b.wav")
    assert rate == 16000 and finer.shape == (1600, 2)
    # Twice the rate: pairs average to about the coarser samples.
    assert abs(finer.reshape(800, 2, 2).mean(1) - decoded).max() < 0.1


def test_bad_sounds_end_in_one_line(tmp_path, capsys):
    good = tone(tmp_path / "a.wav").read_bytes()
    bad = {"cut": good[:700], "header": good[:30], "text": b"no sound", "none": b""}
    for name, data in bad.items():
        (tmp_path / f"{name}.wav").write_bytes(data)
    wavfile.write(tmp_path / "empty.wav", 8000, numpy.zeros(0, numpy.int16))
    wavfile.write(tmp_path / "silent.wav", 8000, numpy.zeros(10, numpy.int16))
    wavfile.write(tmp_path / "nan.wav", 8000, numpy.full(10, numpy.nan, numpy.float32))
    for name in [*bad, "empty", "silent", "nan"]:
        capsys.readouterr()
        assert main(["fit", "audio", str(tmp_path / f"{name}.wav"), "--out", str(tmp_path / "run")]) == 2, name
        assert len(capsys.readouterr().err.strip().splitlines()) == 1


def test_a_sound_whose_length_was_not_known_when_it_was_written_is_read(tmp_path):
    whole = tone(tmp_path / "a.wav", numpy.int16, channels=2)
    data = bytearray(whole.read_bytes())
    place = data.index(b"data")
    for length in (0xFFFFFFFF, 0x7FFFF000, 0xFFFFFFFF - 36):
        data[4:8] = (0xFFFFFFFF).to_bytes(4, "little")
        data[place + 4 : place + 8] = length.to_bytes(4, "little")
        (tmp_path / "piped.wav").write_bytes(data + b"\0")  # a part of a sample is left out
        sound, rate = read_sound(tmp_path / "piped.wav")
        assert rate == 8000 and torch.equal(sound, read_sound(whole)[0])


def test_sounds_of_another_format_are_told_how_to_become_wav(tmp_path, capsys):
    for name in ("a.mp3", "b.wav"):
        (tmp_path / name).write_bytes(b"ID3\x04" + bytes(200))
        assert main(["fit", "audio", str(tmp_path / name), "--out", str(tmp_path / "run")]) == 2
        assert "not .wav inside; convert it first: ffmpeg -i" in capsys.readouterr().err


def test_coded_samples_are_told_how_to_become_plain_ones(tmp_path, capsys):
    data = bytearray(tone(tmp_path / "a.wav", numpy.int16).read_bytes())
    data[20:22] = (7).to_bytes(2, "little")  # mu-law
    (tmp_path / "b.wav").write_bytes(data)
    assert main(["fit", "audio", str(tmp_path / "b.wav"), "--out", str(tmp_path / "run")]) == 2
    assert "coded as MULAW; convert it first: ffmpeg -i b.wav -c:a pcm_s16le" in capsys.readouterr().err
