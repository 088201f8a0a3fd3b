"""What is known of a coefficient before it is decoded: magnitudes around it, as whole numbers.

Bands are coded channel by channel, coarse to fine, each in four passes: of the 2 x 2 neighbours first one, then the
one across the diagonal, then the two others. A pass sees its whole band's earlier passes, the band of the same
direction one level coarser, earlier bands of its level and the same band of the two channels before.
"""

from __future__ import annotations

import numpy

PASSES = ((0, 0), (1, 1), (0, 1), (1, 0))  # rows, columns modulo 2
FEATURES = 13
UNIT = 8  # of a feature: 1 / 8 of a doubling


def log_table(size: int = 4096) -> numpy.ndarray:
    """Returns round(8 log2(1 + n)) of n below `size`, float64 whole numbers."""
    return numpy.round(UNIT * numpy.log2(1 + numpy.arange(size)))


LOG = log_table()


def _log(total: numpy.ndarray) -> numpy.ndarray:
    return LOG[numpy.minimum(total, len(LOG) - 1)]


def _padded(magnitude: numpy.ndarray) -> numpy.ndarray:
    return numpy.pad(magnitude, 1)


def _around(magnitude: numpy.ndarray) -> numpy.ndarray:
    """Returns the sums over the eight neighbours."""
    padded = _padded(magnitude)
    rows = padded[:-2] + padded[1:-1] + padded[2:]
    return rows[:, :-2] + rows[:, 1:-1] + rows[:, 2:] - magnitude


def _resampled(values: numpy.ndarray, shape: tuple[int, int]) -> numpy.ndarray:
    """Returns a coarser band's values at the positions of a band of twice its size, edges repeated."""
    row = numpy.minimum(numpy.arange(shape[0]) // 2, values.shape[0] - 1)
    column = numpy.minimum(numpy.arange(shape[1]) // 2, values.shape[1] - 1)
    return values[row][:, column]


def _fitted(values: numpy.ndarray, shape: tuple[int, int]) -> numpy.ndarray:
    """Returns a band of the same level cut or padded by one row or column to a shape."""
    out = numpy.zeros(shape, values.dtype)
    rows = min(shape[0], values.shape[0])
    columns = min(shape[1], values.shape[1])
    out[:rows, :columns] = values[:rows, :columns]
    return out


def outer_features(
    decoded: list[list[numpy.ndarray]], channel: int, band: int, shape: tuple[int, int]
) -> numpy.ndarray:
    """Returns the features (10, H, W) that come from other bands. decoded: magnitudes by channel and band so far."""
    # Two features of each band that is known: its magnitude here, and those around. (slot, here, around)
    sources = []
    if band > 3:
        parent = decoded[channel][band - 3]
        sources.append((0, _resampled(parent, shape), _resampled(_around(parent), shape)))
    for slot, sibling in enumerate(range(band - (band - 1) % 3, band) if band else ()):
        fitted = _fitted(decoded[channel][sibling], shape)
        sources.append((2 + 2 * slot, fitted, _around(fitted)))
    for slot, other in enumerate(range(channel - 1, max(channel - 3, -1), -1)):
        sources.append((6 + 2 * slot, decoded[other][band], _around(decoded[other][band])))

    out = numpy.zeros((10, *shape))
    for slot, here, around in sources:
        out[slot] = _log(here)
        out[slot + 1] = _log(around)
    return out


def pass_features(magnitude: numpy.ndarray, outer: numpy.ndarray, number: int) -> numpy.ndarray:
    """Returns the features (N, 13) of a pass, row by row. magnitude: the band, 0 where not yet decoded."""
    row, column = PASSES[number]
    padded = _padded(magnitude)
    rows, columns = magnitude.shape

    def shifted(y: int, x: int) -> numpy.ndarray:
        return padded[1 + y : 1 + y + rows, 1 + x : 1 + x + columns][row::2, column::2]

    inner = [
        shifted(0, -1) + shifted(0, 1),
        shifted(-1, 0) + shifted(1, 0),
        shifted(-1, -1) + shifted(-1, 1) + shifted(1, -1) + shifted(1, 1),
    ]
    parts = [_log(part).ravel() for part in inner] + [part[row::2, column::2].ravel() for part in outer]
    return numpy.stack(parts, axis=1)


def earlier(magnitude: numpy.ndarray, number: int) -> numpy.ndarray:
    """Returns a whole band's magnitudes as a pass sees them: 0 where a later pass decodes."""
    known = numpy.zeros_like(magnitude)
    for row, column in PASSES[:number]:
        known[row::2, column::2] = magnitude[row::2, column::2]
    return known
