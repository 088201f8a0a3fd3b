"""Marching cubes (Lorensen and Cline 1987) through a volume, block by block: the same mesh as in one piece.

Blocks of planes overlap in one plane; vertices on it are found by both blocks from the same numbers, and joined.
"""

from __future__ import annotations

import numpy

from nerf.errors import InputError
from nerf.geometry.scene_box import CropBox
from nerf.meshing.volume import Volume
from nerf.rendering.depth_views import EMPTY
from nerf.report import progress

# Of a volume's values, which are about 1: at a lattice point of value 0 several vertices would fall together, and
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
        crop: what lies outside of it is empty.
        depth: cells of a block along x.

    Raises:
        InputError: nothing is inside.
    """
    from skimage.measure import marching_cubes

    vertices: list[numpy.ndarray] = []
    faces: list[numpy.ndarray] = []
    count = 0
    seam: dict[bytes, int] = {}  # vertices of the plane that the next block shares: position -> number
    for first in progress(range(0, volume.resolution, depth), title="marching cubes", unit="block"):
        last = min(first + depth, volume.resolution)
        values = _closed(volume, crop, first, last)
        if values.max() <= 0 or values.min() > 0:
            seam = {}
            continue

        # Positions in cells, as float64 that tells the vertices of a seam apart.
        position, triangles, _, _ = marching_cubes(values, 0.0, gradient_direction="ascent")
        position = position.astype(numpy.float64)
        on_first = position[:, 0] == 0
        on_last = position[:, 0] == last - first
        position[:, 0] += first

        # Vertices of the block before keep their numbers, the others are numbered on.
        number = numpy.full(len(position), -1, numpy.int64)
        if seam:
            for index in numpy.flatnonzero(on_first):
                number[index] = seam.get(position[index].tobytes(), -1)
        new = number < 0
        number[new] = count + numpy.arange(new.sum())
        count += int(new.sum())

        vertices.append(position[new].astype(numpy.float32))
        faces.append(number[triangles].astype(numpy.int32))
        seam = {position[index].tobytes(): int(number[index]) for index in numpy.flatnonzero(on_last)}

    if not vertices:
        raise InputError(EMPTY)
    scaled = numpy.concatenate(vertices) * numpy.float32(volume.box.side / volume.resolution)
    return scaled + volume.box.corner.numpy(), numpy.concatenate(faces)


def _closed(volume: Volume, crop: CropBox | None, first: int, last: int) -> numpy.ndarray:
    """Returns planes of the volume in which the border of its cube counts as outside, and all outside the crop box."""
    values = volume.planes(first, last).numpy()
    size = volume.resolution
    cell = volume.box.side / size
    corner = volume.box.corner.tolist()
    index = [numpy.arange(first, last + 1), numpy.arange(size + 1), numpy.arange(size + 1)]

    if crop is not None:
        # Cells within the crop box, negative outside. In its outermost cell, whatever is inside of things takes that
        # number: the surface crosses zero just where the box's faces are.
        within = []
        for axis in range(3):
            position = corner[axis] + index[axis] * cell
            inside = numpy.minimum(position - crop.low[axis].item(), crop.high[axis].item() - position)
            within.append(inside.astype(numpy.float32) / cell)
        depth = numpy.minimum(within[0][:, None, None], numpy.minimum(within[1][:, None], within[2]))
        rim = (depth < 1) & ((values > 0) | (depth < 0))
        values[rim] = depth[rim]

    for axis in range(3):
        numpy.moveaxis(values, axis, 0)[(index[axis] == 0) | (index[axis] == size)] = -1.0
    return numpy.where(numpy.abs(values) < LEAST_VALUE, numpy.copysign(LEAST_VALUE, values), values)
