"""Marching cubes (Lorensen and Cline 1987) through a volume, block by block: the same mesh as in one piece.

Blocks of planes overlap in one plane; vertices on it are found by both blocks from the same numbers, and joined.
"""

from __future__ import annotations

import numpy

from nerf.errors import InputError
from nerf.geometry.scene_box import CropBox
from nerf.meshing.volume import EMPTY, Volume

# Of a volume's values, which are about 1: at a lattice point of value 0 several vertices would fall on one place, and
# nothing would tell them apart when blocks are joined.
LEAST_VALUE = numpy.float32(1e-3)
BLOCK_VALUES = 2**25  # lattice values of a block, 128 MiB


def block_planes(resolution: int) -> int:
    """Returns how many cells deep a block is."""
    return max(1, min(resolution, BLOCK_VALUES // (resolution + 1) ** 2))


def extract(volume: Volume, crop: CropBox | None, depth: int) -> tuple[numpy.ndarray, numpy.ndarray]:
    """Returns vertices (V, 3) float32, world, and faces (T, 3) int32, counter-clockwise from outside.

    Args:
        volume: what is above 0 inside of things; its border counts as outside, so that the surface is closed.
        box: what lies outside of it is empty.
        depth: cells of a block along x.

    Raises:
        InputError: nothing is inside.
    """
    from skimage.measure import marching_cubes
    from tqdm import tqdm

    vertices, faces, joined, count = [], [], numpy.empty((0, 3)), 0
    seam = numpy.empty(0, numpy.int64)
    for first in tqdm(range(0, volume.resolution, depth), desc="marching cubes", unit="block"):
        last = min(first + depth, volume.resolution)
        values = _closed(volume, crop, first, last)
        if values.max() <= 0 or values.min() > 0:
            joined, seam = numpy.empty((0, 3)), numpy.empty(0, numpy.int64)
            continue
        places, triangles, _, _ = marching_cubes(values, 0.0, gradient_direction="ascent")
        places = places.astype(numpy.float64)
        on_first, on_last = places[:, 0] == 0, places[:, 0] == last - first
        places[:, 0] += first
        number = numpy.full(len(places), -1, numpy.int64)
        if len(joined):
            known = {place.tobytes(): index for place, index in zip(joined, seam)}
            for index in numpy.flatnonzero(on_first):
                number[index] = known.get(places[index].tobytes(), -1)
        new = number < 0
        number[new] = count + numpy.arange(new.sum())
        count += int(new.sum())
        vertices.append(places[new].astype(numpy.float32))
        faces.append(number[triangles].astype(numpy.int32))
        joined, seam = places[on_last], number[on_last]
    if not vertices:
        raise InputError(EMPTY)
    places = numpy.concatenate(vertices) * numpy.float32(volume.box.side / volume.resolution)
    return places + volume.box.corner.numpy(), numpy.concatenate(faces)


def _closed(volume: Volume, crop: CropBox | None, first: int, last: int) -> numpy.ndarray:
    """Returns planes of the volume with the border of the cube outside, and all outside the box."""
    values = volume.planes(first, last).numpy()
    cell, corner, size = volume.box.side / volume.resolution, volume.box.corner.tolist(), volume.resolution
    index = [numpy.arange(first, last + 1), numpy.arange(size + 1), numpy.arange(size + 1)]
    if crop is not None:
        # Cells within the box, negative outside. In its outermost cell, whatever is inside of things takes that number:
        # the surface crosses zero just where the box's faces are.
        within = [
            numpy.minimum(place - crop.low[axis].item(), crop.high[axis].item() - place).astype(numpy.float32) / cell
            for axis, place in enumerate(corner[axis] + index[axis] * cell for axis in range(3))
        ]
        depth = numpy.minimum(within[0][:, None, None], numpy.minimum(within[1][:, None], within[2]))
        rim = (depth < 1) & ((values > 0) | (depth < 0))
        values[rim] = depth[rim]
    for axis in range(3):
        numpy.moveaxis(values, axis, 0)[(index[axis] == 0) | (index[axis] == size)] = -1.0
    return numpy.where(numpy.abs(values) < LEAST_VALUE, numpy.copysign(LEAST_VALUE, values), values)
