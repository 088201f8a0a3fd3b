"""The encoder: a quantiser step is sought that meets the rate or the quality; the network learns what to expect.

The network is trained on the very coefficients that it will code, its loss being their size in bits: the mean code
length. Rounding its weights to int8 is part of the training (straight-through gradients; Bengio et al. 2013).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy
import torch
from torch import Tensor, nn

from nerf.config import OptimizerSettings
from nerf.errors import InputError
from nerf.memory import machine_memory
from nerf.scenes.pictures import read_whole_picture
from nerf.seeding import generator
from nerf.signals.compression.coding import Writer, code
from nerf.signals.compression.container import CENTRE_UNIT, CHECK, Header, restored, write_compressed
from nerf.signals.compression.contexts import PASSES, UNIT, earlier, outer_features, pass_features
from nerf.signals.compression.network import LARGEST_INDEX, STEPS_A_LOGIT, WEIGHT_UNIT, Network
from nerf.signals.compression.wavelet import analysis, deepest
from nerf.training.adam import Adam

LEVELS = 6  # of the wavelet; fewer for pictures with a side of at most 32
DEAD_ZONE = 0.16  # what is this much nearer to the larger magnitude still takes the smaller one: bits weigh too
BATCH = 2**15  # coefficients that a training step draws
FIRST_STEPS = 500  # of training with the first quantiser step
NEXT_STEPS = 150  # of training with every later one
TRIALS = 9  # quantiser steps that are tried
BYTES_A_VALUE = 160  # of memory, at the peak: contexts of 13 float32, and what they are made of
LARGEST_STEP = 1e30  # all coefficients have long been 0
NEAR = 0.005  # relative error of the rate, or dB of the quality, that ends the search


@dataclass(frozen=True)
class Target:
    """What is asked for: a rate or a quality; the other is 0."""

    bits_per_pixel: float = 0.0
    psnr: float = 0.0  # dB


class Forecast(nn.Module):
    """The network as it is trained: float weights, rounded to what the file holds when they are used."""

    def __init__(self, n_bands: int, random: torch.Generator) -> None:
        super().__init__()
        into, passes, out, bands = Network.shapes(n_bands)
        self.into = nn.Parameter(torch.empty(into).uniform_(-0.3, 0.3, generator=random))
        self.passes = nn.Parameter(torch.zeros(passes))
        self.out = nn.Parameter(torch.empty(out).uniform_(-0.3, 0.3, generator=random))
        self.bands = nn.Parameter(torch.full(bands, -1.0))

    def forward(self, features: Tensor, number: Tensor, band: Tensor) -> Tensor:
        """Returns the two logits (N, 2) of features (N, 13), pass numbers and bands (N,)."""
        into, passes, out, bands = (_rounded(part) for part in (self.into, self.passes, self.out, self.bands))
        hidden = torch.relu(features / UNIT @ into.T + passes[number])
        bound = LARGEST_INDEX / STEPS_A_LOGIT
        return (hidden @ out.T + bands[band]).clamp(-bound, bound)

    def network(self) -> Network:
        """Returns the network of the file."""
        parts = [self.into, self.passes, self.out, self.bands]
        return Network(*((_rounded(part.detach()) * WEIGHT_UNIT).double().numpy() for part in parts))


def _rounded(weight: Tensor) -> Tensor:
    """Returns weights as the file holds them; gradients pass as if they were not rounded."""
    whole = (weight * WEIGHT_UNIT).round().clamp(-127, 127) / WEIGHT_UNIT
    return weight + (whole - weight).detach()


def code_length(logit: Tensor, magnitude: Tensor) -> Tensor:
    """Returns the bits (N,) of coefficients with magnitudes (N,), given logits (N, 2); a sign is one bit."""
    nothing = magnitude == 0
    first = torch.nn.functional.softplus(torch.where(nothing, logit[:, 0], -logit[:, 0]))
    growth = logit[:, 1]
    later = (magnitude - 1) * torch.nn.functional.softplus(-growth) + torch.nn.functional.softplus(growth)
    return torch.where(nothing, first, first + later + math.log(2)) / math.log(2)


@dataclass
class Contexts:
    """All coefficients, with what is known before each."""

    features: Tensor  # (N, 13)
    number: Tensor  # (N,), of the pass
    band: Tensor  # (N,)
    magnitude: Tensor  # (N,)

    @staticmethod
    def of(coefficients: list[list[numpy.ndarray]]) -> Contexts:
        """Returns the contexts of coefficients by channel and band, in the order in which they are coded."""
        magnitudes = [[numpy.abs(band) for band in bands] for bands in coefficients]
        columns: list[list[numpy.ndarray]] = [[], [], [], []]
        for channel, bands in enumerate(magnitudes):
            for band, magnitude in enumerate(bands):
                outer = outer_features(magnitudes, channel, band, magnitude.shape)
                for number, (row, column) in enumerate(PASSES):
                    features = pass_features(earlier(magnitude, number), outer, number)
                    columns[0].append(features.astype(numpy.float32))
                    columns[1].append(numpy.full(len(features), number))
                    columns[2].append(numpy.full(len(features), channel * len(bands) + band))
                    columns[3].append(magnitude[row::2, column::2].ravel().astype(numpy.float32))
        return Contexts(*(torch.from_numpy(numpy.concatenate(parts)) for parts in columns))

    def train(self, forecast: Forecast, steps: int, seed: int, busy: Callable[[], object]) -> None:
        """Trains a forecast on random coefficients. busy: called after every step."""
        settings = OptimizerSettings(learning_rate=2e-2, final_factor=0.05, epsilon=1e-8)
        adam = Adam(dict(forecast.named_parameters()), settings)
        for step in range(steps):
            chosen = torch.randint(len(self.magnitude), (BATCH,), generator=generator(seed, "coefficients", step))
            logit = forecast(self.features[chosen], self.number[chosen], self.band[chosen])
            adam.descend(code_length(logit, self.magnitude[chosen]).mean(), step / steps)
            busy()


class Encoder:
    """A picture's coefficients, coded with one quantiser step or another. picture: (H, W, C) uint8."""

    def __init__(self, picture: numpy.ndarray, seed: int = 0) -> None:
        self.picture = picture
        self.seed = seed
        height, width, channels = picture.shape

        # The principal axes of the colours, as the file holds them: float32.
        colours = picture.reshape(-1, channels).astype(numpy.float64) / 255
        mean = colours.mean(axis=0).astype(numpy.float32).astype(numpy.float64)
        basis = numpy.linalg.eigh((colours - mean).T @ (colours - mean))[1].T[::-1].astype(numpy.float32)
        levels = min(LEVELS, deepest(height, width))
        self.header = Header(width, height, levels, 1.0, (0, 0), mean, basis.astype(numpy.float64))

        planes = ((colours - mean) @ self.header.basis.T).T.reshape(channels, height, width)
        self.bands = [analysis(plane, levels) for plane in planes]

        self.forecast = Forecast(channels * len(self.bands[0]), generator(seed, "parameters"))
        self.steps = FIRST_STEPS

    @property
    def fixed_bytes(self) -> int:
        """Bytes of a file beside its words: header, network and checksum."""
        return len(self.header.to_bytes()) + Network.size(len(self.forecast.bands)) + CHECK

    def quantised(self, step: float) -> list[list[numpy.ndarray]]:
        """Returns whole coefficients by channel and band, and notes in the header how to restore them."""
        self.header.step = float(numpy.float32(step))
        out = []
        below_one = []  # how far coefficients lie below the magnitude 1 that they take
        below_larger = []  # the same of larger magnitudes
        for bands in self.bands:
            out.append([])
            for band in bands:
                size = numpy.abs(band) / self.header.step
                whole = numpy.floor(size + 0.5 - DEAD_ZONE)
                below_one.append((whole - size)[whole == 1])
                below_larger.append((whole - size)[whole > 1])
                out[-1].append((numpy.sign(band) * whole).astype(numpy.int32))
        self.header.centre = (_mean_count(below_one), _mean_count(below_larger))
        return out

    def coded(self, step: float, busy: Callable[[], object]) -> tuple[numpy.ndarray, int]:
        """Returns the words that the coder wrote with a quantiser step, and the bytes of the whole file."""
        coefficients = self.quantised(step)
        Contexts.of(coefficients).train(self.forecast, self.steps, self.seed, busy)
        self.steps = NEXT_STEPS

        writer = Writer()
        code(writer, self.forecast.network(), self.header.shapes, coefficients)
        words = writer.coder.get_compressed()
        return words, self.fixed_bytes + 4 * len(words)

    def psnr(self, step: float) -> float:
        """Returns the decibels of the picture that a quantiser step leaves."""
        error = restored(self.header, self.quantised(step)).astype(numpy.float64) - self.picture
        return 10 * math.log10(255**2 / max((error**2).mean(), 1e-9))


def _mean_count(below: list[numpy.ndarray]) -> int:
    """Returns the mean of parts of a quantiser step, 0 if there are none, as `Header.centre` counts it."""
    parts = numpy.concatenate(below)
    return int(numpy.clip(round(parts.mean() * CENTRE_UNIT) if len(parts) else 0, 0, 255))


def read_8_bit_picture(file: Path) -> numpy.ndarray:
    """Returns the picture (H, W, C) uint8 in a file.

    Raises:
        InputError: the file is not a picture, is HDR, or has too many pixels.
    """
    values = read_whole_picture(file)
    return (values / 257).round().astype(numpy.uint8) if values.dtype == numpy.uint16 else values


def compress(
    picture: numpy.ndarray, out: Path, target: Target, seed: int, busy: Callable[[], object]
) -> dict[str, float]:
    """Writes a picture (H, W, C) uint8 as a file of a rate or a quality; returns bits per pixel, psnr and the step.

    busy: called after every training step.

    Raises:
        InputError: the entropy coder is missing, the file cannot be written, no file of the rate can hold the picture,
            or the memory cannot.
    """
    pixels = picture.shape[0] * picture.shape[1]
    needed = picture.size * BYTES_A_VALUE
    if needed > machine_memory():
        raise InputError(
            f"{out}: {picture.shape[1]} x {picture.shape[0]} pixels take about {needed / 2**30:.1f} GiB of memory, the "
            f"machine has {machine_memory() / 2**30:.1f}; shrink or cut the picture"
        )

    encoder = Encoder(picture, seed)
    if target.psnr == 0 and 8 * encoder.fixed_bytes > target.bits_per_pixel * pixels:
        raise InputError(
            f"{out}: {picture.shape[1]} x {picture.shape[0]} pixels are too few for --bpp {target.bits_per_pixel:g}, "
            f"as {encoder.fixed_bytes} bytes are the same for any picture; ask for --psnr, or keep the picture as .png"
        )
    words = search(encoder, target, busy)
    write_compressed(out, encoder.header, encoder.forecast.network(), words)

    return {
        "bits_per_pixel": 8 * out.stat().st_size / pixels,
        "bytes": float(out.stat().st_size),
        "psnr": encoder.psnr(encoder.header.step),
        "step": encoder.header.step,
    }


def search(encoder: Encoder, target: Target, busy: Callable[[], object]) -> numpy.ndarray:
    """Returns the words that the coder wrote with the quantiser step that meets the target most nearly.

    A rate is never exceeded unless no step reaches it: the last trials make room.
    """
    if target.psnr > 0:
        return _search_quality(encoder, target.psnr, busy)
    return _search_rate(encoder, target.bits_per_pixel, busy)


def _search_quality(encoder: Encoder, decibels: float, busy: Callable[[], object]) -> numpy.ndarray:
    """Returns the words by the largest step of that quality: by bisection, as the quality falls with the step."""
    low = math.log(1e-4)
    high = math.log(4.0)
    for _ in range(20):
        middle = (low + high) / 2
        if encoder.psnr(math.exp(middle)) > decibels:
            low = middle
        else:
            high = middle

    encoder.coded(math.exp(low), busy)  # the second time, the network has been trained for longer
    words, _ = encoder.coded(math.exp(low), busy)
    return words


def _search_rate(encoder: Encoder, bits_per_pixel: float, busy: Callable[[], object]) -> numpy.ndarray:
    """Returns the words by a step of that rate: by the secant method, as log rate is about linear in log step."""
    pixels = encoder.picture.shape[0] * encoder.picture.shape[1]
    step = 0.1
    slope = -1.0
    before: tuple[float, float] | None = None
    trial = 0
    while True:
        words, size = encoder.coded(step, busy)
        excess = math.log(8 * size / pixels / bits_per_pixel)
        trial += 1
        if -NEAR < excess <= 0 or trial == TRIALS:
            return words

        if before is not None and abs(math.log(step) - before[0]) > 1e-4:
            slope = min(-0.3, max(-3.0, (excess - before[1]) / (math.log(step) - before[0])))
        before = (math.log(step), excess)
        # Where no step reaches the rate, since the header alone is too large, it stays finite in the header's float32.
        step = min(math.exp(math.log(step) - (excess + NEAR / 2) / slope), LARGEST_STEP)
