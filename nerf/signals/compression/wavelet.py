"""The 9/7 wavelet of Cohen, Daubechies and Feauveau, by lifting (Daubechies and Sweldens 1998, section 7.6).

Nearly orthonormal: one quantiser step for all bands is then close to the best for the squared error. Borders are
mirrored. Elementwise float64 only: the same bits on every machine with IEEE arithmetic.
"""

from __future__ import annotations

import numpy

LIFTS = (-1.586134342059924, -0.052980118572961, 0.882911075530934, 0.443506852043971)
SCALE = 1.149604398860241


def _lift(even: numpy.ndarray, odd: numpy.ndarray, sign: int) -> None:
    """Adds (sign 1) or, in reverse order, takes away (-1) the four steps, in place, along axis 0."""
    steps = list(enumerate(LIFTS))
    for index, factor in steps if sign > 0 else reversed(steps):
        if index % 2 == 0:  # odd ones from the even ones on both sides
            after = numpy.concatenate([even[1:], even[-1:]]) if len(odd) == len(even) else even[1:]
            odd += sign * factor * (even[: len(odd)] + after)
        elif len(odd):
            before = numpy.concatenate([odd[:1], odd])[: len(even)]
            after = numpy.concatenate([odd, odd[-1:]])[: len(even)]
            even += sign * factor * (before + after)


def _split(values: numpy.ndarray) -> tuple[numpy.ndarray, numpy.ndarray]:
    """Returns the low and the high band along axis 0."""
    even = values[0::2].copy()
    odd = values[1::2].copy()
    _lift(even, odd, 1)
    return even * SCALE, odd / SCALE


def _join(low: numpy.ndarray, high: numpy.ndarray) -> numpy.ndarray:
    """Returns the values (N, ...) of the low and the high band along axis 0."""
    even = low / SCALE
    odd = high * SCALE
    _lift(even, odd, -1)
    values = numpy.empty((len(even) + len(odd), *even.shape[1:]))
    values[0::2] = even
    values[1::2] = odd
    return values


def analysis(picture: numpy.ndarray, levels: int) -> list[numpy.ndarray]:
    """Returns the bands of (H, W): the coarsest mean, then (across, down, both) details from coarse to fine."""
    details = []
    for _ in range(levels):
        low, high = _split(picture)
        mean, down = _split(low.T)
        across, both = _split(high.T)
        details = [down.T, across.T, both.T, *details]
        picture = mean.T
    return [picture, *details]


def synthesis(bands: list[numpy.ndarray]) -> numpy.ndarray:
    """Returns the picture of bands that `analysis` returned."""
    mean, *details = bands
    for index in range(0, len(details), 3):
        down, across, both = details[index : index + 3]
        mean = _join(_join(mean.T, down.T).T, _join(across.T, both.T).T)
    return mean


def deepest(height: int, width: int) -> int:
    """Returns the number of levels up to which no band is empty; a side of 1 cannot be split."""
    return (min(height, width) - 1).bit_length()


def band_shapes(height: int, width: int, levels: int) -> list[tuple[int, int]]:
    """Returns the shapes of the bands that `analysis` returns."""
    details: list[tuple[int, int]] = []
    for _ in range(levels):
        rows = (height + 1) // 2
        columns = (width + 1) // 2
        details = [(rows, width // 2), (height // 2, columns), (height // 2, width // 2), *details]
        height = rows
        width = columns
    return [(height, width), *details]
