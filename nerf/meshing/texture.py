"""A texture for a mesh: charts by xatlas, and where on the mesh every texel lies."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import cast

import numpy

from nerf.errors import InputError
from nerf.meshing.mesh import Mesh, present

PADDING = 2  # texels between charts, so that a filtered look-up does not take the neighbour's colour
SHORTEST_NORMAL = 1e-6  # between normals that cancel out any direction is as good


def unwrapped(mesh: Mesh, size: int) -> Mesh:
    """Returns the mesh with texture coordinates for a square texture of `size` texels; vertices on seams are doubled.

    Raises:
        InputError: xatlas is not installed.
    """
    try:
        import xatlas
    except ImportError:
        raise InputError("a texture needs xatlas; install it with: pip install 'nerf[texture]'") from None

    options = xatlas.PackOptions()
    options.resolution = size
    options.padding = PADDING
    options.create_image = False
    options.bruteForce = False

    normals = present(mesh.normals)
    atlas = xatlas.Atlas()
    atlas.add_mesh(mesh.vertices, mesh.faces.astype(numpy.uint32), normals)
    atlas.generate(pack_options=options)
    source, faces, uv = atlas[0]
    return replace(
        mesh,
        vertices=mesh.vertices[source],
        faces=faces.astype(numpy.int32),
        normals=normals[source],
        uv=uv.astype(numpy.float32),
    )


@dataclass(frozen=True)
class Sheet:
    """A square texture of an unwrapped mesh, before it is painted."""

    filled: numpy.ndarray  # (T, T) bool, rows from the top: which texels lie on the mesh, N of them
    point: numpy.ndarray  # (N, 3) float32, world, where they lie, row by row
    normal: numpy.ndarray  # (N, 3) float32, unit, of the surface there


def sheet(mesh: Mesh, size: int) -> Sheet:
    """Returns where the texels of an unwrapped mesh lie on it, for a texture of `size` texels a side."""
    triangle, weights = _texels(present(mesh.uv), mesh.faces, size)
    filled = triangle >= 0
    corner = mesh.faces[triangle[filled]]
    weight = weights[filled][:, :, None]

    point = (mesh.vertices[corner] * weight).sum(1)
    normal = (present(mesh.normals)[corner] * weight).sum(1)
    length = numpy.linalg.norm(normal, axis=1, keepdims=True)
    return Sheet(filled, point, normal / numpy.maximum(length, SHORTEST_NORMAL))


def painted(sheet: Sheet, rgb: numpy.ndarray) -> numpy.ndarray:
    """Returns the texture (T, T, 3) uint8 with colours (N, 3) uint8 in its filled texels, spread over the others."""
    from scipy.ndimage import distance_transform_edt

    texture = numpy.zeros((*sheet.filled.shape, 3), numpy.uint8)
    texture[sheet.filled] = rgb
    row, column = cast(
        numpy.ndarray, distance_transform_edt(~sheet.filled, return_distances=False, return_indices=True)
    )
    return texture[row, column]


def _texels(uv: numpy.ndarray, faces: numpy.ndarray, size: int) -> tuple[numpy.ndarray, numpy.ndarray]:
    """Returns, for each texel (size, size) from the top row down, its triangle or -1, and weights (size, size, 3)."""
    from nerf.scenes.raytracing import load_open3d

    open3d = load_open3d()

    # The mesh laid flat in the plane of its texture, on which a ray falls for every texel.
    flat = numpy.concatenate([uv, numpy.zeros((len(uv), 1), numpy.float32)], axis=1)
    sheet = open3d.t.geometry.RaycastingScene()
    sheet.add_triangles(open3d.core.Tensor(flat), open3d.core.Tensor(faces.astype(numpy.uint32)))
    middle = (numpy.arange(size, dtype=numpy.float32) + 0.5) / size
    rays = numpy.zeros((size, size, 6), numpy.float32)
    rays[..., 0] = middle[None, :]
    rays[..., 1] = 1 - middle[:, None]
    rays[..., 2] = 1
    rays[..., 5] = -1

    hit = sheet.cast_rays(open3d.core.Tensor(rays))
    triangle = hit["primitive_ids"].numpy().astype(numpy.int64)
    triangle[triangle == sheet.INVALID_ID] = -1
    u, v = numpy.moveaxis(hit["primitive_uvs"].numpy(), -1, 0)
    return triangle, numpy.stack([1 - u - v, u, v], axis=-1)
