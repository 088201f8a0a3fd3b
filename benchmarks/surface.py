"""How well a mesh agrees with the built-in scene's true surface: ``python benchmarks/surface.py MESH [SCENE]``.

Both surfaces are sampled evenly by area and the distance of every point to the other surface is exact. Thresholds are
parts of the scene's size, the diagonal of the true mesh's bounding box.
"""

import sys
from pathlib import Path

import numpy
import torch
import trimesh

from nerf.metrics import surface_scores
from nerf.scenes.raytracing import load_open3d

POINTS = 200_000
THRESHOLDS = (0.005, 0.01)


def distances(points: numpy.ndarray, surface: trimesh.Trimesh) -> torch.Tensor:
    """Returns the distance of points (N, 3) to the nearest triangle."""
    open3d = load_open3d()
    scene = open3d.t.geometry.RaycastingScene()
    vertices, faces = surface.vertices.astype(numpy.float32), surface.faces.astype(numpy.uint32)
    scene.add_triangles(open3d.core.Tensor(vertices), open3d.core.Tensor(faces))
    return torch.from_numpy(scene.compute_distance(open3d.core.Tensor(points.astype(numpy.float32))).numpy())


def main(mesh: Path, scene: Path) -> None:
    """Prints the scores of a mesh file against the ground truth of a scene folder."""
    ours, truth = (trimesh.load(file, force="mesh") for file in (mesh, scene / "ground_truth" / "mesh.ply"))
    size = float(numpy.linalg.norm(truth.extents))
    to_truth = distances(ours.sample(POINTS, seed=0), truth)
    to_ours = distances(truth.sample(POINTS, seed=0), ours)
    print(f"{mesh}: {len(ours.faces)} triangles, watertight: {ours.is_watertight}")
    for part in THRESHOLDS:
        scores = surface_scores(to_truth, to_ours, part * size)
        print(f"at {part:.1%} of {size:.3f}: " + ", ".join(f"{name} {value:.4f}" for name, value in scores.items()))
    gap = numpy.abs(ours.bounds - truth.bounds).max()
    print(
        f"bounding boxes: {ours.bounds.round(3).tolist()} and {truth.bounds.round(3).tolist()}, "
        f"largest difference {gap / size:.2%} of the size"
    )


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2] if len(sys.argv) > 2 else "data/lego"))
