"""Coefficients <-> bytes: the same walk through bands and passes, with an encoder or a decoder in hand."""

from __future__ import annotations

from typing import Any

import numpy

from nerf.errors import InputError
from nerf.signals.compression.contexts import PASSES, outer_features, pass_features
from nerf.signals.compression.network import ONE, Network

LARGEST = 4000  # magnitude of a coefficient; a damaged file cannot make the decoder count for ever


def constriction() -> Any:
    """Returns the entropy coder's library.

    Raises:
        InputError: it is not installed.
    """
    try:
        import constriction as library
    except ImportError:
        raise InputError("compressed pictures need constriction; pip install 'nerf[compress]'") from None
    return library


class Writer:
    """Writes flags with given probabilities."""

    def __init__(self) -> None:
        library = constriction()
        self.coder = library.stream.queue.RangeEncoder()
        self.model = library.stream.model.Bernoulli(perfect=False)

    def flags(self, probability: numpy.ndarray, values: numpy.ndarray) -> numpy.ndarray:
        """Returns the flags (N,) bool that it wrote, with their probabilities (N,), counts of 1 / ONE."""
        if len(values):
            self.coder.encode(values.astype(numpy.int32), self.model, probability / ONE)
        return values


class Reader:
    """Reads the flags that a `Writer` wrote; what is passed as their values is not looked at."""

    def __init__(self, words: numpy.ndarray) -> None:
        library = constriction()
        self.coder = library.stream.queue.RangeDecoder(words)
        self.model = library.stream.model.Bernoulli(perfect=False)

    def flags(self, probability: numpy.ndarray, values: numpy.ndarray) -> numpy.ndarray:
        """Returns the flags (N,) bool that it read, with their probabilities (N,), counts of 1 / ONE."""
        if not len(probability):
            return numpy.zeros(0, bool)
        return self.coder.decode(self.model, probability / ONE).astype(bool)


def code(
    coder: Writer | Reader,
    network: Network,
    shapes: list[tuple[int, int]],
    bands: list[list[numpy.ndarray]] | None = None,
) -> list[list[numpy.ndarray]]:
    """Returns the coefficients by channel and band, int32, having written them, or as they are read.

    shapes: of the bands of one channel. bands: what a `Writer` writes.
    """
    channels = len(network.bands) // len(shapes)
    out: list[list[numpy.ndarray]] = []
    decoded: list[list[numpy.ndarray]] = []  # magnitudes so far
    for channel in range(channels):
        out.append([])
        decoded.append([])
        for band, shape in enumerate(shapes):
            outer = outer_features(decoded, channel, band, shape)
            magnitude = numpy.zeros(shape, numpy.int64)
            values = numpy.zeros(shape, numpy.int32)

            for number, (row, column) in enumerate(PASSES):
                features = pass_features(magnitude, outer, number)
                probability = network.probabilities(features, number, channel * len(shapes) + band)
                given = bands[channel][band][row::2, column::2] if bands is not None else values[row::2, column::2]
                found = _pass(coder, probability, given)
                values[row::2, column::2] = found.reshape(given.shape)
                magnitude[row::2, column::2] = numpy.abs(found).reshape(given.shape)

            out[-1].append(values)
            decoded[-1].append(magnitude)
    return out


def _pass(
    coder: Writer | Reader, probability: tuple[numpy.ndarray, numpy.ndarray], given: numpy.ndarray
) -> numpy.ndarray:
    """Codes the values of a pass: which are not 0, then by how much larger than 1, then their signs."""
    given = given.ravel()
    wanted = numpy.abs(given)

    found = coder.flags(probability[0], wanted > 0).astype(numpy.int32)
    nonzero = found.nonzero()[0]

    growing = nonzero
    for size in range(1, LARGEST):
        if not len(growing):
            break
        larger = coder.flags(probability[1][growing], wanted[growing] > size)
        growing = growing[larger]
        found[growing] += 1

    negative = coder.flags(numpy.full(len(nonzero), ONE / 2), given[nonzero] < 0)
    found[nonzero[negative]] *= -1
    return found
