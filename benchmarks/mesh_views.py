"""How a mesh looks from held-out cameras: ``python benchmarks/mesh_views.py MESH SCENE [DOWNSCALE [PICTURES]]``.

Rays meet the mesh (Open3D) and take the colour of its texture, or of its vertices; nothing is lit. PSNR is over the
pixels inside the true silhouette, on white, the mean over the views; IoU compares silhouettes, cut at alpha one half.
"""

import math
import sys
from pathlib import Path
from statistics import mean

import numpy
import torch
from mesh_input import read_mesh

from nerf.config import SceneSettings
from nerf.exporters.images import write_rgb
from nerf.geometry.cameras import Rays
from nerf.scenes import find_scene, load_scene
from nerf.scenes.raytracing import load_open3d

SUBSAMPLES = 3  # rays a pixel and axis, as the true pictures are averages over their pixels too


class Shaded:
    """A mesh that tells the colour of what a ray meets."""

    def __init__(self, file: Path) -> None:
        open3d = load_open3d()
        self.mesh = read_mesh(file)
        self.faces = numpy.asarray(self.mesh.faces)
        self.tensor, self.scene = open3d.core.Tensor, open3d.t.geometry.RaycastingScene()
        vertices = self.mesh.vertices.astype(numpy.float32)
        self.scene.add_triangles(self.tensor(vertices), self.tensor(self.faces.astype(numpy.uint32)))

    def look(self, rays: Rays) -> tuple[numpy.ndarray, numpy.ndarray]:
        """Returns RGB (R, 3) in [0, 1], white where nothing is met, and whether something is (R,)."""
        found = self.scene.cast_rays(self.tensor(torch.cat([rays.origin, rays.direction], dim=1).numpy()))
        met = numpy.isfinite(found["t_hit"].numpy())
        corner, uv = self.faces[found["primitive_ids"].numpy()[met]], found["primitive_uvs"].numpy()[met]
        weight = numpy.stack([1 - uv.sum(1), uv[:, 0], uv[:, 1]], axis=1)[:, :, None]
        rgb = numpy.ones((len(rays), 3))
        rgb[met] = self._texture(corner, weight) if hasattr(self.mesh.visual, "uv") else self._vertex(corner, weight)
        return rgb, met

    def _vertex(self, corner: numpy.ndarray, weight: numpy.ndarray) -> numpy.ndarray:
        return (self.mesh.visual.vertex_colors[corner, :3] / 255 * weight).sum(1)

    def _texture(self, corner: numpy.ndarray, weight: numpy.ndarray) -> numpy.ndarray:
        from scipy.ndimage import map_coordinates

        image = numpy.asarray(self.mesh.visual.material.baseColorTexture)[..., :3] / 255
        place = (self.mesh.visual.uv[corner] * weight).sum(1)
        row, column = (1 - place[:, 1]) * image.shape[0] - 0.5, place[:, 0] * image.shape[1] - 0.5
        return numpy.stack(
            [map_coordinates(image[..., c], [row, column], order=1, mode="nearest") for c in range(3)], 1
        )


def _box_average(values: numpy.ndarray, height: int, width: int) -> numpy.ndarray:
    """Returns the mean (H * W, ...) over the rays of each pixel of values (rays, ...), row by row."""
    boxes = values.reshape(height, SUBSAMPLES, width, SUBSAMPLES, -1).mean((1, 3))
    return boxes.reshape(height * width, *values.shape[1:])


def main(file: Path, scene: str, downscale: int = 1, pictures: Path | None = None) -> None:
    """Prints the scores of a mesh file against the test pictures of a scene."""
    views = load_scene(find_scene(scene), ("test",), SceneSettings(downscale=downscale)).splits["test"]
    fine = views.cameras.resized(SUBSAMPLES * views.cameras.width, SUBSAMPLES * views.cameras.height)
    shaded, psnrs, overlaps = Shaded(file), [], []
    for frame, name in enumerate(views.names):
        rgb, met = (_box_average(part, *views.images.shape[1:3]) for part in shaded.look(fine.image_rays(frame)))
        met = met >= 0.5
        truth = views.picture(frame, "white").view(-1, 3).numpy()
        inside = views.pixels(frame, slice(None), slice(None))[..., 3].flatten().numpy() >= 0.5
        psnrs.append(-10 * math.log10(numpy.square(rgb - truth)[inside].mean()))
        overlaps.append((inside & met).sum() / (inside | met).sum())
        if pictures is not None:
            both = numpy.concatenate([part.reshape(*views.images.shape[1:3], 3) for part in (rgb, truth)], axis=1)
            write_rgb(pictures / f"{Path(name).name}.png", torch.from_numpy(both))
    print(
        f"{file}: {len(views)} views: PSNR inside the silhouette {mean(psnrs):.2f} dB (least {min(psnrs):.2f}), "
        f"silhouette IoU {mean(overlaps):.4f} (least {min(overlaps):.4f})"
    )


if __name__ == "__main__":
    if not 3 <= len(sys.argv) <= 5:
        raise SystemExit(__doc__)
    main(Path(sys.argv[1]), sys.argv[2], *map(int, sys.argv[3:4]), *map(Path, sys.argv[4:5]))
