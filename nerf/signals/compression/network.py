"""The network that foretells coefficients: features -> two probabilities, in whole numbers.

One hidden layer of ReLUs. Weights are int8 counts of 1 / 32. Products and sums are whole numbers below 2^53 held in
float64, where every order of summation is exact: no machine can find other probabilities than the encoder.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy

from nerf.signals.compression.contexts import FEATURES, PASSES, UNIT

HIDDEN = 12
WEIGHT_UNIT = 32
OUTPUTS = 2  # logit of "not 0", logit of "larger by one more"
STEPS_A_LOGIT = 4  # of the table of probabilities
LARGEST_INDEX = 64  # of the table on either side of 0: logits -16 to 16
ONE = 1 << 16  # a probability of 1


@dataclass
class Network:
    """Weights, whole numbers from -127 to 127."""

    into: numpy.ndarray  # (HIDDEN, FEATURES)
    passes: numpy.ndarray  # (4, HIDDEN), added to the hidden layer by pass
    out: numpy.ndarray  # (2, HIDDEN)
    bands: numpy.ndarray  # (channels * bands, 2), added to the output by band

    @staticmethod
    def shapes(n_bands: int) -> tuple[tuple[int, int], ...]:
        """Returns the shapes of the weights, of so many bands over all channels."""
        return (HIDDEN, FEATURES), (len(PASSES), HIDDEN), (OUTPUTS, HIDDEN), (n_bands, OUTPUTS)

    def to_bytes(self) -> bytes:
        """Returns the weights as bytes, one each."""
        return b"".join(part.astype(numpy.int8).tobytes() for part in (self.into, self.passes, self.out, self.bands))

    @staticmethod
    def size(n_bands: int) -> int:
        """Returns the number of bytes of the weights."""
        return sum(rows * columns for rows, columns in Network.shapes(n_bands))

    @staticmethod
    def from_bytes(data: bytes, n_bands: int) -> Network:
        """Returns the network that `to_bytes` wrote."""
        parts = []
        start = 0
        for rows, columns in Network.shapes(n_bands):
            part = numpy.frombuffer(data, numpy.int8, rows * columns, start).reshape(rows, columns)
            parts.append(part.astype(numpy.float64))
            start += rows * columns
        return Network(*parts)

    def probabilities(self, features: numpy.ndarray, number: int, band: int) -> tuple[numpy.ndarray, numpy.ndarray]:
        """Returns the probabilities (N,), counts of 1 / 65536 as float64, of "not 0" and of "larger" by features."""
        hidden = numpy.maximum(features @ self.into.T + UNIT * self.passes[number], 0)  # units of 1 / 256
        logit = hidden @ self.out.T + UNIT * WEIGHT_UNIT * self.bands[band]  # units of 1 / 8192
        unit = UNIT * WEIGHT_UNIT**2 // STEPS_A_LOGIT
        index = numpy.clip(numpy.floor((logit + unit // 2) / unit), -LARGEST_INDEX, LARGEST_INDEX)
        chosen = PROBABILITY[(index + LARGEST_INDEX).astype(numpy.int64)]
        return chosen[:, 0], chosen[:, 1]


def probability_table() -> numpy.ndarray:
    """Returns the probabilities of logits -16 to 16, counts of 1 / 65536, never certain."""
    logit = numpy.arange(-LARGEST_INDEX, LARGEST_INDEX + 1) / STEPS_A_LOGIT
    return numpy.clip(numpy.round(ONE / (1 + numpy.exp(-logit))), 4, ONE - 4)


PROBABILITY = probability_table()
