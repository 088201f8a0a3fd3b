"""How well a mesh agrees with the built-in scene's true surface: ``python benchmarks/surface.py MESH [SCENE]``.

Both surfaces are sampled uniformly by area; the threshold is 1 % of the longest side of the true mesh's bounding box.
"""

import sys
from pathlib import Path

import numpy
import torch
import trimesh

from nerf.metrics import surface_scores

POINTS = 200_000


def main(mesh: Path, scene: Path) -> None:
    """Prints the scores of a mesh file against the ground truth of a scene folder."""
    ours, truth = (trimesh.load(file, force="mesh") for file in (mesh, scene / "ground_truth" / "mesh.ply"))
    size = truth.extents.max()
    points = [torch.from_numpy(shape.sample(POINTS, seed=0)).float() for shape in (ours, truth)]
    scores = surface_scores(*points, 0.01 * size)
    print(f"{mesh}: {len(ours.faces)} triangles, watertight: {ours.is_watertight}")
    print(", ".join(f"{name} {value:.4f}" for name, value in scores.items()) + f" (threshold {0.01 * size:.4f})")
    gap = numpy.abs(ours.bounds - truth.bounds).max()
    print(f"bounding boxes: {ours.bounds.round(3).tolist()} and {truth.bounds.round(3).tolist()}, "
          f"largest difference {gap / size:.2%} of the size")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2] if len(sys.argv) > 2 else "data/lego"))
