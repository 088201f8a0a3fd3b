"""How good a surface could be if the distances were: ``python benchmarks/fusion.py RUN [SCENE] ...``.

Fuses the surface of a run twice: from the distances that its field has, and from the exact ones of the scene's true
mesh, both by the cameras that the run learned from. What the second lacks, no training can give. Prints a row each.

    --pixels 1 2     times as many pixels along a side of the views as the pictures have
    --cells 256      of the lattice along a side
    --smoothing 5    rounds
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch
import trimesh
from mesh_input import read_mesh
from surface import agreement
from torch import Tensor

from nerf.geometry.cameras import Cameras
from nerf.meshing.marching_cubes import block_planes, extract
from nerf.meshing.mesh import Mesh, smoothed, without_small_pieces
from nerf.meshing.volume import FusedVolume
from nerf.rendering.depth_views import DepthViews, pinhole_cameras, render_depths
from nerf.scenes.raytracing import RayTracer
from nerf.workflows.trained import open_run


def main() -> None:
    """Fuses, scores, and prints the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path)
    parser.add_argument("scene", type=Path, nargs="?", default=Path("data/lego"))
    parser.add_argument("--pixels", type=float, nargs="+", default=[1.0, 2.0])
    parser.add_argument("--cells", type=int, nargs="+", default=[256])
    parser.add_argument("--smoothing", type=int, default=5)
    arguments = parser.parse_args()

    truth = read_mesh(arguments.scene / "ground_truth" / "mesh.ply")
    run = open_run(arguments.run)
    print("| distances | pixels | cells | F at 0.5 % | F at 0.25 % | Chamfer | normals: median | mean |")
    print("| --- | --- | --- | --- | --- | --- | --- | --- |")
    for factor in arguments.pixels:
        cameras = pinhole_cameras(run.cameras)
        cameras = cameras.resized(round(cameras.width * factor), round(cameras.height * factor))
        for name, views in (("exact", exact(truth, cameras)), ("field", render_depths(run.model, cameras))):
            for cells in arguments.cells:
                volume = FusedVolume(run.model, views, cells)
                mesh = without_small_pieces(Mesh(*extract(volume, None, block_planes(cells))))
                mesh = smoothed(mesh, arguments.smoothing, volume.box.side / cells)
                ours = trimesh.Trimesh(mesh.vertices, mesh.faces, process=False)
                found = agreement(ours, truth, (0.005, 0.0025))
                fscores = " | ".join(f"{scores['fscore']:.3f}" for scores in found.scores)
                size = f"{cameras.width} x {cameras.height} | {cells}"
                print(
                    f"| {name} | {size} | {fscores} | {found.chamfer:.3%} | {found.median:.1f}° | {found.mean:.1f}° |"
                )


def exact(truth: trimesh.Trimesh, cameras: Cameras) -> DepthViews:
    """Returns what cameras see of a mesh."""
    tracer = RayTracer(truth.triangles)

    def distance(frame: int) -> Tensor:
        rays = cameras.image_rays(frame)
        met = tracer.nearest(torch.cat([rays.origin, rays.direction], dim=1).numpy())
        return torch.from_numpy(met["t_hit"].copy()).view(cameras.height, cameras.width)

    return DepthViews(cameras, torch.stack([distance(frame) for frame in range(len(cameras))]))


if __name__ == "__main__":
    main()
