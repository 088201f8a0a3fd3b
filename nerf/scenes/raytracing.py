"""Ray tracing of coloured triangles: sun with soft shadows, sky, ambient occlusion, and gloss that depends on the view.

Light is summed linearly; pictures are sRGB with straight alpha, the mean of regular subsamples. Conventions of cameras
and pixels are those of `nerf.scenes.builtin`.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from types import ModuleType
from typing import Any

import numpy as np

from nerf.errors import InputError
from nerf.scenes.digger import Triangles

CAMERA_ANGLE_X = 0.6911112070083618  # radians, full horizontal field of view
SUBSAMPLES = 3  # per pixel and axis
SURFACE_OFFSET = 2e-4  # scene units; lifts shadow rays off the surface they start from
SUN_DIRECTION = np.array([0.52, 0.48, 0.84]) / np.linalg.norm([0.52, 0.48, 0.84])
SUN_RADIUS = 0.025  # tangent of the sun's apparent radius; softens shadows a little
SUN_COLOR = np.array([1.02, 0.97, 0.88], dtype=np.float32)
SKY_COLOR = np.array([0.58, 0.62, 0.68], dtype=np.float32)
GROUND_COLOR = np.array([0.30, 0.28, 0.26], dtype=np.float32)
GLOSS_EXPONENT = 70.0
GLOSS_STRENGTH = 9.0
OCCLUSION_RAYS = 32  # per vertex
OCCLUSION_REACH = 0.35  # scene units


def camera_rays(world_from_camera: np.ndarray, size: int, offset: tuple[float, float]) -> np.ndarray:
    """Returns (size, size, 6) float32 rays, origin then unit direction, through the points (u + offset[0],
    v + offset[1]) of the pixels (v, u); an offset of (0.5, 0.5) is the pixel's centre."""
    focal = 0.5 * size / np.tan(0.5 * CAMERA_ANGLE_X)
    x = (np.arange(size) + offset[0] - 0.5 * size) / focal
    y = (0.5 * size - np.arange(size) - offset[1]) / focal

    right, up = np.meshgrid(x.astype(np.float32), y.astype(np.float32))
    in_camera = np.stack([right, up, np.full_like(right, -1)], axis=-1)
    in_camera /= np.sqrt(right * right + up * up + 1)[..., None]

    rays = np.empty((size, size, 6), dtype=np.float32)
    rays[..., :3] = world_from_camera[:3, 3]
    rays[..., 3:] = in_camera @ world_from_camera[:3, :3].T.astype(np.float32)
    return rays


def load_open3d() -> ModuleType:
    """Returns the open3d module.

    Its wheel wants a libusb that bare machines lack; the one that comes as a wheel is loaded first and serves by name.

    Raises:
        InputError: another library of the system is missing.
    """
    import libusb_package

    try:
        ctypes.CDLL(str(libusb_package.get_library_path()))
        import open3d
    except (ImportError, OSError) as error:
        raise InputError(f"open3d cannot be loaded ({error}); install the system library that it names") from None
    return open3d


# Directions of the rays that tell inside from outside: along no axis and no diagonal, where models have their edges.
WAYS = np.array([[0.531, 0.273, 0.802], [-0.613, 0.744, 0.265], [0.129, -0.682, -0.720]], np.float32)


class RayTracer:
    """Nearest hits and occlusion of triangles given as corners (T, 3, 3) in scene units."""

    def __init__(self, corners: np.ndarray) -> None:
        open3d = load_open3d()
        self.corners = corners
        self._scene = open3d.t.geometry.RaycastingScene()
        vertices = corners.reshape(-1, 3).astype(np.float32)
        indices = np.arange(len(vertices), dtype=np.uint32).reshape(-1, 3)
        self._scene.add_triangles(open3d.core.Tensor(vertices), open3d.core.Tensor(indices))
        self._normals = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
        self._tensor: Any = open3d.core.Tensor  # its stubs know nothing of numpy's arrays
        self.miss = np.uint32(open3d.t.geometry.RaycastingScene.INVALID_ID)

    def nearest(self, rays: np.ndarray) -> dict[str, np.ndarray]:
        """Returns t_hit, primitive_ids, primitive_uvs and primitive_normals of rays (..., 6) float32."""
        return {name: found.numpy() for name, found in self._scene.cast_rays(self._tensor(rays)).items()}

    def occluded(self, origins: np.ndarray, directions: np.ndarray, reach: float = np.inf) -> np.ndarray:
        """Returns (N,) bool: whether something lies within `reach` times the direction's length."""
        rays = np.concatenate([origins, directions], axis=1, dtype=np.float32)
        return self._scene.test_occlusions(self._tensor(rays), tnear=0.0, tfar=reach).numpy()

    def signed_distance(self, points: np.ndarray, votes: int) -> np.ndarray:
        """Returns distances (N,) float32 of points (N, 3) float32 to the surface, negative inside.

        Inside is what the surface winds round: bodies may overlap, and all triangles of one may face inwards.

        votes: see `winding`.
        """
        distance = self._scene.compute_distance(self._tensor(points)).numpy()
        return np.where(self.winding(points, votes) == 0, distance, -distance)

    def winding(self, points: np.ndarray, votes: int) -> np.ndarray:
        """Returns how often the surface winds round points (N, 3): exits of a ray less its entries, (N,).

        votes: rays, an odd number up to three, whose median tells: one alone may graze an edge.
        """
        counts = []
        for way in WAYS[:votes]:
            rays = np.concatenate([points, np.broadcast_to(way, points.shape)], axis=1, dtype=np.float32)
            met = self._scene.list_intersections(self._tensor(rays))
            leaving = np.sign(self._normals[met["primitive_ids"].numpy()] @ way)
            counts.append(np.bincount(met["ray_ids"].numpy(), leaving, len(points)))
        return np.median(counts, axis=0)


def depth_and_normal(geometry: RayTracer, world_from_camera: np.ndarray, size: int) -> tuple[np.ndarray, np.ndarray]:
    """Returns depth (size, size) float32, distance along the ray through the pixel's centre in scene units,
    and normal (size, size, 3) float32, the surface's unit normal in the world; both 0 where nothing is hit."""
    hit = geometry.nearest(camera_rays(world_from_camera, size, (0.5, 0.5)))
    missed = ~np.isfinite(hit["t_hit"])
    depth = hit["t_hit"].copy()
    normal = hit["primitive_normals"].copy()
    depth[missed] = 0
    normal[missed] = 0
    return depth, normal


def subdivided(triangles: Triangles, max_edge: float) -> Triangles:
    """Returns the same surface with every edge longer than `max_edge` (scene units) halved until none is.

    An edge is only ever cut at its middle, so that neighbours which share an edge stay joined.
    """
    pending = np.concatenate([triangles.corners, triangles.normals], axis=2)
    parents = np.arange(len(pending))
    finished = []
    while len(pending):
        lengths = np.linalg.norm(np.roll(pending[..., :3], -1, axis=1) - pending[..., :3], axis=2)
        short = lengths.max(axis=1) <= max_edge
        finished.append((pending[short], parents[short]))
        pending = pending[~short]
        parents = parents[~short]

        # The longest edge is turned to the front, and cut.
        longest = lengths[~short].argmax(axis=1)
        order = (longest[:, None] + np.arange(3)) % 3
        first, second, third = np.moveaxis(np.take_along_axis(pending, order[..., None], axis=1), 1, 0)
        middle = 0.5 * (first + second)
        pending = np.concatenate([np.stack([first, middle, third], 1), np.stack([middle, second, third], 1)])
        parents = np.concatenate([parents, parents])

    corners_and_normals = np.concatenate([pieces for pieces, _ in finished])
    parents = np.concatenate([origins for _, origins in finished])
    normals = corners_and_normals[..., 3:] / np.linalg.norm(corners_and_normals[..., 3:], axis=-1, keepdims=True)
    return Triangles(corners_and_normals[..., :3], normals, triangles.colors[parents], triangles.reflectances[parents])


def triangles_seen(geometry: RayTracer, viewpoints: np.ndarray) -> np.ndarray:
    """Returns (T,) bool: whether any of four points on the triangle's front is visible from a viewpoint (N, 3)."""
    # Four points on each triangle: its middle, and one near each corner.
    corners = geometry.corners
    facing = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    facing /= np.linalg.norm(facing, axis=1, keepdims=True)
    weights = np.array([[1, 1, 1], [8, 1, 1], [1, 8, 1], [1, 1, 8]])
    weights = weights / weights.sum(axis=1, keepdims=True)
    points = (weights @ corners + SURFACE_OFFSET * facing[:, None]).reshape(-1, 3)
    triangle = np.repeat(np.arange(len(corners)), len(weights))

    # All solids are closed: a point from which the next surface is met from behind is buried in one of them.
    ahead = geometry.nearest(np.concatenate([points, facing[triangle]], axis=1, dtype=np.float32))
    buried = np.einsum("ij,ij->i", ahead["primitive_normals"], facing[triangle]) > 0
    points = points[~buried]
    triangle = triangle[~buried]

    # From viewpoint to viewpoint only the triangles that none has seen yet are asked for.
    seen = np.zeros(len(corners), dtype=bool)
    for viewpoint in viewpoints:
        waiting = ~seen[triangle]
        points = points[waiting]
        triangle = triangle[waiting]
        towards = viewpoint - points
        front = np.einsum("ij,ij->i", towards, facing[triangle]) > 0
        visible = ~geometry.occluded(points[front], towards[front], reach=1.0)
        seen[triangle[front][visible]] = True
    return seen


@dataclass(frozen=True)
class ShadedSurface:
    """Triangles ready to be shaded."""

    geometry: RayTracer
    # (T, 3, 4) float32, of the corners: unit normal, then openness, 1 where the sky is free and 0 in deep corners.
    normals_and_openness: np.ndarray
    colors: np.ndarray  # (T, 3) float32, linear
    reflectances: np.ndarray  # (T,) float32, seen face-on

    @classmethod
    def bake(cls, geometry: RayTracer, triangles: Triangles, seen: np.ndarray) -> ShadedSurface:
        """Returns the surface with ambient occlusion computed at the corners of the triangles marked seen."""
        openness = np.full(triangles.corners.shape[:2], 0.5)
        openness[seen] = _openness(geometry, triangles.corners[seen], triangles.normals[seen])
        return cls(
            geometry=geometry,
            normals_and_openness=np.concatenate([triangles.normals, openness[..., None]], 2, dtype=np.float32),
            colors=linear_from_srgb(triangles.colors).astype(np.float32),
            reflectances=triangles.reflectances.astype(np.float32),
        )

    def radiance(self, hit: dict[str, np.ndarray], rays: np.ndarray, sun_direction: np.ndarray) -> np.ndarray:
        """Returns (N, 3) float32 linear light sent back along rays (N, 6) from their hits."""
        # Normal and openness between the corners.
        triangle = hit["primitive_ids"]
        u, v = hit["primitive_uvs"].T[..., None]
        first, second, third = np.moveaxis(self.normals_and_openness[triangle], 1, 0)
        blended = first + u * (second - first) + v * (third - first)
        normal = blended[:, :3]
        openness = blended[:, 3:]
        normal = normal / np.sqrt(np.einsum("ij,ij->i", normal, normal))[:, None]

        # The sun, where nothing hides it.
        sun = sun_direction.astype(np.float32)
        sun_cosine = np.maximum(normal @ sun, 0)
        lit = np.flatnonzero(sun_cosine > 0)
        points = (
            rays[lit, :3] + hit["t_hit"][lit, None] * rays[lit, 3:] + SURFACE_OFFSET * hit["primitive_normals"][lit]
        )
        sun_cosine[lit[self.geometry.occluded(points, np.broadcast_to(sun, points.shape))]] = 0

        ambient = openness * _sky(normal[:, 2:])
        color = self.colors[triangle] * (ambient + sun_cosine[:, None] * SUN_COLOR)
        return color + self._gloss(triangle, normal, openness, rays[:, 3:], sun_cosine)

    def _gloss(
        self,
        triangle: np.ndarray,
        normal: np.ndarray,
        openness: np.ndarray,
        view: np.ndarray,
        sun_cosine: np.ndarray,
    ) -> np.ndarray:
        """Returns (N, 3) light that is mirrored: the sky's by Schlick's approximation, the sun's by Blinn's."""
        facing = np.einsum("ij,ij->i", normal, view)
        mirrored_height = view[:, 2] - 2 * facing * normal[:, 2]
        reflectance = self.reflectances[triangle]
        grazing = 1 - np.minimum(np.abs(facing), 1)
        square = grazing * grazing
        fresnel = reflectance + 0.5 * (1 - reflectance) * square * square * grazing

        half_way = SUN_DIRECTION.astype(np.float32) - view
        half_way /= np.sqrt(np.einsum("ij,ij->i", half_way, half_way))[:, None]
        glint = np.maximum(np.einsum("ij,ij->i", normal, half_way), 0) ** np.float32(GLOSS_EXPONENT)
        sunlit = GLOSS_STRENGTH * reflectance * glint * (sun_cosine > 0)
        return sunlit[:, None] * SUN_COLOR + (fresnel[:, None] * openness) * _sky(mirrored_height[:, None])


def _sky(height: np.ndarray) -> np.ndarray:
    """Returns (N, 3) ambient light from directions of the given height (N, 1), -1 (nadir) to 1 (zenith)."""
    return GROUND_COLOR + (0.5 + 0.5 * height) * (SKY_COLOR - GROUND_COLOR)


def _openness(geometry: RayTracer, corners: np.ndarray, normals: np.ndarray) -> np.ndarray:
    """Returns (T, 3): the cosine-weighted fraction of the hemisphere that is free within OCCLUSION_REACH."""
    keys = np.round(np.concatenate([corners, normals], axis=2).reshape(-1, 6) * 1e4).astype(np.int32)
    _, representatives, vertex_of_corner = np.unique(keys, axis=0, return_index=True, return_inverse=True)
    points = corners.reshape(-1, 3)[representatives]
    axes = normals.reshape(-1, 3)[representatives]

    # A point of the unit sphere centred on the normal's tip gives a cosine-weighted direction.
    heights = 1 - (2 * np.arange(OCCLUSION_RAYS) + 1) / OCCLUSION_RAYS
    turns = np.pi * (3 - np.sqrt(5)) * np.arange(OCCLUSION_RAYS)
    rims = np.sqrt(1 - heights**2)
    sphere = np.stack([rims * np.cos(turns), rims * np.sin(turns), heights], axis=1)

    free = np.zeros(len(points))
    for offset in sphere:
        directions = axes + 0.999 * offset
        directions /= np.linalg.norm(directions, axis=1, keepdims=True)
        free += ~geometry.occluded(points + 2 * SURFACE_OFFSET * axes, directions, OCCLUSION_REACH)
    return (free / OCCLUSION_RAYS)[vertex_of_corner].reshape(-1, 3)


def _subsamples() -> Iterator[tuple[tuple[float, float], np.ndarray]]:
    """Yields, for every subsample of a pixel, its offset in the pixel and a unit direction within the sun's disc."""
    across = np.cross(SUN_DIRECTION, [0.0, 0.0, 1.0])
    across /= np.linalg.norm(across)
    upwards = np.cross(across, SUN_DIRECTION)
    count = SUBSAMPLES * SUBSAMPLES
    for index in range(count):
        offset = ((index % SUBSAMPLES + 0.5) / SUBSAMPLES, (index // SUBSAMPLES + 0.5) / SUBSAMPLES)
        # Striding by 2 keeps neighbouring subsamples in different parts of the disc.
        rank = 2 * index % count
        radius = SUN_RADIUS * np.sqrt((rank + 0.5) / count)
        turn = 2.4 * rank
        sun = SUN_DIRECTION + radius * (np.cos(turn) * across + np.sin(turn) * upwards)
        yield offset, sun / np.linalg.norm(sun)


def rendered_image(
    surface: ShadedSurface, rays_at: Callable[[tuple[float, float]], np.ndarray], size: tuple[int, int]
) -> np.ndarray:
    """Returns (height, width, 4) uint8: sRGB colour, straight alpha (the fraction of subsamples that hit).

    rays_at: offset in a pixel -> rays (height, width, 6), see `camera_rays`. size: height, width.
    """
    light = np.zeros((size[0] * size[1], 3), dtype=np.float32)
    hits = np.zeros(len(light), dtype=np.int32)
    for offset, sun_direction in _subsamples():
        rays = rays_at(offset).reshape(-1, 6)
        found = surface.geometry.nearest(rays)
        pixels = np.flatnonzero(found["primitive_ids"] != surface.geometry.miss)
        at_pixels = {name: values[pixels] for name, values in found.items()}
        light[pixels] += np.minimum(surface.radiance(at_pixels, rays[pixels], sun_direction), 1)
        hits[pixels] += 1

    color = srgb_from_linear(light / np.maximum(hits, 1)[:, None])
    rgba = np.concatenate([color, (hits / SUBSAMPLES**2)[:, None]], axis=1)
    return np.round(255 * rgba).astype(np.uint8).reshape(*size, 4)


def linear_from_srgb(encoded: np.ndarray) -> np.ndarray:
    """Returns linear light in 0..1 of sRGB values in 0..1."""
    return np.where(encoded <= 0.04045, encoded / 12.92, ((encoded + 0.055) / 1.055) ** 2.4)


def srgb_from_linear(light: np.ndarray) -> np.ndarray:
    """Returns sRGB values in 0..1 of linear light, clipped to 0..1."""
    light = np.clip(light, 0, 1)
    return np.where(light <= 0.0031308, 12.92 * light, 1.055 * light ** (1 / 2.4) - 0.055)
