"""Triangle meshes: what is done to them between the volume and the file."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, cast

import numpy

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix

SMALLEST_PIECE = 0.01  # of the largest piece's triangles: smaller ones float and are dropped
# Taubin 1995: a shrinking and a growing step, which together smooth what is finer than about ten edges and keep volume.
SHRINK = 0.5
GROW = -0.53
LARGEST_HOLE = 0.05  # of the diagonal: the radius of holes that are filled


@dataclass(frozen=True)
class Mesh:
    """A triangle mesh."""

    vertices: numpy.ndarray  # (V, 3) float32, scene units
    faces: numpy.ndarray  # (T, 3) int32, counter-clockwise from outside
    normals: numpy.ndarray | None = None  # (V, 3) float32, unit, outwards
    rgb: numpy.ndarray | None = None  # (V, 3) uint8, sRGB
    uv: numpy.ndarray | None = None  # (V, 2) float32, v upwards
    texture: numpy.ndarray | None = None  # (H, W, 3) uint8, sRGB, the row of v = 1 first

    @property
    def extent(self) -> numpy.ndarray:
        """Lengths (3,) of the bounding box."""
        return self.vertices.max(0) - self.vertices.min(0)


def present(part: numpy.ndarray | None) -> numpy.ndarray:
    """Returns a part of a mesh that must be there by now, such as its normals.

    Raises:
        ValueError: it is not.
    """
    if part is None:
        raise ValueError("the mesh lacks normals, colours or a texture that is asked of it")
    return part


def _adjacency(mesh: Mesh) -> csr_matrix:
    """Returns the adjacency matrix (V, V) of vertices, 1 where an edge joins two."""
    from scipy.sparse import coo_matrix

    a = mesh.faces[:, [0, 1, 2]].ravel()
    b = mesh.faces[:, [1, 2, 0]].ravel()
    ends = (numpy.concatenate([a, b]), numpy.concatenate([b, a]))
    joined = coo_matrix((numpy.ones(len(ends[0]), numpy.float32), ends), shape=(len(mesh.vertices),) * 2)
    matrix = cast("csr_matrix", joined.tocsr())  # the stubs take matrices for arrays
    matrix.data[:] = 1
    return matrix


def pieces(mesh: Mesh) -> numpy.ndarray:
    """Returns the number (T,) of the connected piece that each triangle belongs to."""
    from scipy.sparse.csgraph import connected_components

    return connected_components(_adjacency(mesh), directed=False)[1][mesh.faces[:, 0]]


def without_small_pieces(mesh: Mesh, share: float = SMALLEST_PIECE) -> Mesh:
    """Returns the mesh without pieces of less than a share of the largest's triangles, and without unused vertices."""
    piece = pieces(mesh)
    size = numpy.bincount(piece)
    faces = mesh.faces[size[piece] >= share * size.max()]
    kept, faces = numpy.unique(faces, return_inverse=True)
    return Mesh(mesh.vertices[kept], faces.reshape(-1, 3).astype(numpy.int32))


def smoothed(mesh: Mesh, rounds: int, most: float) -> Mesh:
    """Returns the mesh after rounds of Taubin smoothing; no vertex moves farther than `most` along an axis."""
    adjacency = _adjacency(mesh)
    count = numpy.maximum(numpy.asarray(adjacency.sum(1)), 1).astype(numpy.float32)

    position = mesh.vertices
    for _ in range(rounds):
        for part in (SHRINK, GROW):
            position = position + numpy.float32(part) * (adjacency @ position / count - position)

    moved = numpy.clip(position - mesh.vertices, -most, most)
    return replace(mesh, vertices=(mesh.vertices + moved).astype(numpy.float32))


def decimated(mesh: Mesh, triangles: int) -> Mesh:
    """Returns the mesh with at most about so many triangles, by quadric error (Garland and Heckbert 1997); 0 = all."""
    from nerf.scenes.raytracing import load_open3d

    if triangles == 0 or len(mesh.faces) <= triangles:
        return mesh

    vectors = load_open3d().utility
    shape = load_open3d().geometry.TriangleMesh(
        vectors.Vector3dVector(mesh.vertices), vectors.Vector3iVector(mesh.faces)
    )
    shape = shape.simplify_quadric_decimation(triangles)
    return Mesh(numpy.asarray(shape.vertices, numpy.float32), numpy.asarray(shape.triangles, numpy.int32))


def with_holes_filled(mesh: Mesh) -> Mesh:
    """Returns the mesh with its small holes closed, each by a fan of triangles round its middle."""
    following = _open_edges(mesh)
    vertices = [mesh.vertices]
    faces = [mesh.faces]
    count = len(mesh.vertices)
    while following:
        # Along open edges until they close, or end at a vertex where holes meet.
        start, vertex = following.popitem()
        ring = [start]
        while vertex is not None and vertex != start:
            ring.append(vertex)
            vertex = following.pop(vertex, None)

        rim = mesh.vertices[ring]
        middle = rim.mean(0, keepdims=True)
        radius = numpy.linalg.norm(rim - middle, axis=1).max()
        if vertex == start and radius <= LARGEST_HOLE * numpy.linalg.norm(mesh.extent):
            # Triangles run along the edge of the hole against the direction of the ones beside it.
            fan = numpy.stack([numpy.roll(ring, -1), ring, numpy.full(len(ring), count)], axis=1)
            vertices.append(middle)
            faces.append(fan.astype(numpy.int32))
            count += 1

    return Mesh(numpy.concatenate(vertices), numpy.concatenate(faces))


def _edges(mesh: Mesh) -> tuple[numpy.ndarray, numpy.ndarray]:
    """Returns numbers (3 T,) of all directed edges, and of their reverses."""
    a = mesh.faces[:, [0, 1, 2]].ravel().astype(numpy.int64)
    b = mesh.faces[:, [1, 2, 0]].ravel().astype(numpy.int64)
    return a * len(mesh.vertices) + b, b * len(mesh.vertices) + a


def _open_edges(mesh: Mesh) -> dict[int, int]:
    """Returns the directed edges that have no triangle on the other side: first vertex -> second."""
    forth, back = _edges(mesh)
    return dict(divmod(edge, len(mesh.vertices)) for edge in numpy.setdiff1d(forth, back).tolist())


def is_watertight(mesh: Mesh) -> bool:
    """Returns whether the surface has no open edge: along each, as many triangles run one way as the other."""
    forth, back = _edges(mesh)
    forth.sort()
    back.sort()
    return bool((forth == back).all())


def shared_edges(mesh: Mesh) -> int:
    """Returns how many edges more than two triangles share, which marching cubes makes where surfaces just touch."""
    forth = numpy.sort(_edges(mesh)[0])
    return len(numpy.unique(forth[1:][forth[1:] == forth[:-1]])) // 2


def vertex_normals(mesh: Mesh) -> numpy.ndarray:
    """Returns unit normals (V, 3) float32: the mean of the triangles round each vertex, weighted by area."""
    corner = mesh.vertices[mesh.faces]
    area = numpy.cross(corner[:, 1] - corner[:, 0], corner[:, 2] - corner[:, 0])
    total = numpy.stack(
        [
            sum(numpy.bincount(mesh.faces[:, k], area[:, axis], len(mesh.vertices)) for k in range(3))
            for axis in range(3)
        ],
        1,
    )
    return (total / numpy.maximum(numpy.linalg.norm(total, axis=1, keepdims=True), 1e-30)).astype(numpy.float32)


def joints(mesh: Mesh) -> dict[str, object]:
    """Returns how a mesh hangs together; a texture's seams would hide it."""
    return {
        "pieces": int(pieces(mesh).max()) + 1,
        "watertight": is_watertight(mesh),
        "edges_of_more_than_two_triangles": shared_edges(mesh),
    }
