"""How well a mesh agrees with the built-in scene's true surface: ``python benchmarks/surface.py MESH [SCENE]``.

Both surfaces are sampled evenly by area and the distance of every point to the other surface is exact. Thresholds are
parts of the scene's size, the diagonal of the true mesh's bounding box.
"""

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy
import torch
import trimesh
from mesh_input import read_mesh

from nerf.rendering.metrics import surface_scores
from nerf.scenes.raytracing import load_open3d

POINTS = 200_000
THRESHOLDS = (0.0025, 0.005, 0.01)


def nearest(points: numpy.ndarray, surface: trimesh.Trimesh) -> tuple[torch.Tensor, numpy.ndarray]:
    """Returns the distance of points (N, 3) to the nearest triangle, and its unit normal (N, 3)."""
    open3d = load_open3d()
    scene = open3d.t.geometry.RaycastingScene()
    vertices, faces = surface.vertices.astype(numpy.float32), surface.faces.astype(numpy.uint32)
    scene.add_triangles(open3d.core.Tensor(vertices), open3d.core.Tensor(faces))
    place = open3d.core.Tensor(points.astype(numpy.float32))
    found = scene.compute_closest_points(place)
    distance = numpy.linalg.norm(found["points"].numpy() - place.numpy(), axis=1)
    return torch.from_numpy(distance), found["primitive_normals"].numpy()


@dataclass(frozen=True)
class Agreement:
    """How well a mesh agrees with the truth."""

    scores: list[dict[str, float]]  # by threshold, see `surface_scores`
    chamfer: float  # mean of both ways, part of the size
    median: float  # error of the normals, degrees
    mean: float


def agreement(ours: trimesh.Trimesh, truth: trimesh.Trimesh, thresholds: Sequence[float] = THRESHOLDS) -> Agreement:
    """Returns how well a mesh agrees with the truth; thresholds: parts of its size."""
    size = extent(truth)
    points, triangle = trimesh.sample.sample_surface(ours, POINTS, seed=0)
    to_truth, normal = nearest(points, truth)
    to_ours, _ = nearest(truth.sample(POINTS, seed=0), ours)
    scores = [surface_scores(to_truth, to_ours, part * size) for part in thresholds]
    # The true mesh has no inside: which way a triangle of it faces says nothing; one without an area faces nowhere.
    cosine = numpy.abs((normal * ours.face_normals[triangle]).sum(1)).clip(0, 1)
    angle = numpy.degrees(numpy.arccos(cosine))
    chamfer = (to_truth.mean() + to_ours.mean()).item() / 2 / size
    return Agreement(scores, chamfer, float(numpy.nanmedian(angle)), float(numpy.nanmean(angle)))


def extent(mesh: trimesh.Trimesh) -> float:
    """Returns a mesh's size: the diagonal of its bounding box."""
    return float(numpy.linalg.norm(mesh.extents))


def main(mesh: Path, scene: Path) -> None:
    """Prints the scores of a mesh file against the ground truth of a scene folder."""
    ours, truth = (read_mesh(file) for file in (mesh, scene / "ground_truth" / "mesh.ply"))
    size = extent(truth)
    found = agreement(ours, truth)
    print(f"{mesh}: {len(ours.faces)} triangles, watertight: {ours.is_watertight}")
    for part, scores in zip(THRESHOLDS, found.scores):
        print(f"at {part:.2%} of {size:.3f}: " + ", ".join(f"{name} {value:.4f}" for name, value in scores.items()))
    print(f"normals: {found.median:.1f} degrees off in the median, {found.mean:.1f} in the mean")
    print(f"chamfer: {found.chamfer:.3%} of the size")
    gap = numpy.abs(ours.bounds - truth.bounds).max()
    print(
        f"bounding boxes: {ours.bounds.round(3).tolist()} and {truth.bounds.round(3).tolist()}, "
        f"largest difference {gap / size:.2%} of the size"
    )


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2] if len(sys.argv) > 2 else "data/lego"))
