"""A texture for a mesh: charts by xatlas, colours baked from the field."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy
import torch
from torch import Tensor

from nerf.errors import InputError
from nerf.export.mesh import Mesh

PADDING = 2  # texels between charts, so that a filtered look-up does not take the neighbour's colour


def unwrapped(mesh: Mesh, size: int) -> Mesh:
    """Returns the mesh with texture coordinates for a square texture of `size` texels; vertices on seams are doubled.

    Raises:
        InputError: xatlas is not installed.
    """
    try:
        import xatlas
    except ImportError:
        raise InputError("a texture needs xatlas; install it with: pip install 'nerf[texture]'") from None
    atlas, pack = xatlas.Atlas(), xatlas.PackOptions()
    atlas.add_mesh(mesh.vertices, mesh.faces.astype(numpy.uint32), mesh.normals)
    pack.resolution, pack.padding, pack.create_image = size, PADDING, False
    pack.bruteForce = False
    atlas.generate(pack_options=pack)
    source, faces, uv = atlas[0]
    return replace(
        mesh,
        vertices=mesh.vertices[source],
        faces=faces.astype(numpy.int32),
        normals=mesh.normals[source],
        rgb=mesh.rgb[source],
        uv=uv.astype(numpy.float32),
    )


def baked(mesh: Mesh, size: int, facing: Tensor, color: Callable[[Tensor, Tensor], Tensor]) -> Mesh:
    """Returns an unwrapped mesh with its texture.

    Args:
        mesh: with texture coordinates.
        size: texels a side.
        facing: (V, 3), the direction from which each vertex is looked at.
        color: points (N, 3), directions (N, 3) -> RGB (N, 3) in [0, 1].
    """
    from scipy.ndimage import distance_transform_edt

    triangle, weights = _texels(mesh.uv, mesh.faces, size)
    filled = triangle >= 0
    corner = mesh.faces[triangle[filled]]
    part = torch.from_numpy(weights[filled])[:, :, None]
    point = (torch.from_numpy(mesh.vertices[corner]) * part).sum(1)
    look = torch.nn.functional.normalize((facing[torch.from_numpy(corner).long()] * part).sum(1), dim=1)
    texture = numpy.zeros((size, size, 3), numpy.uint8)
    texture[filled] = (color(point, look) * 255 + 0.5).to(torch.uint8).numpy()
    nearest = distance_transform_edt(~filled, return_distances=False, return_indices=True)
    return replace(mesh, texture=texture[tuple(nearest)])


def _texels(uv: numpy.ndarray, faces: numpy.ndarray, size: int) -> tuple[numpy.ndarray, numpy.ndarray]:
    """Returns, for each texel (size, size) from the top row down, its triangle or -1, and weights (size, size, 3)."""
    from nerf.scenes.raytracing import load_open3d

    open3d = load_open3d()
    flat = numpy.concatenate([uv, numpy.zeros((len(uv), 1), numpy.float32)], axis=1)
    sheet = open3d.t.geometry.RaycastingScene()
    sheet.add_triangles(open3d.core.Tensor(flat), open3d.core.Tensor(faces.astype(numpy.uint32)))
    middle = (numpy.arange(size, dtype=numpy.float32) + 0.5) / size
    rays = numpy.zeros((size, size, 6), numpy.float32)
    rays[..., 0], rays[..., 1] = middle[None, :], 1 - middle[:, None]
    rays[..., 2], rays[..., 5] = 1, -1
    hit = sheet.cast_rays(open3d.core.Tensor(rays))
    triangle = hit["primitive_ids"].numpy().astype(numpy.int64)
    triangle[triangle == sheet.INVALID_ID] = -1
    u, v = numpy.moveaxis(hit["primitive_uvs"].numpy(), -1, 0)
    return triangle, numpy.stack([1 - u - v, u, v], axis=-1)
