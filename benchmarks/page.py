"""Pages against the engine: ``python benchmarks/page.py RUN ... [--views 4] [--side 200]``.

Each run is exported as a page, which headless Chromium opens. What it draws of evenly spread held-out views, their
longer side so many pixels and their lenses pinholes, is compared with the engine's exact picture. Prints one row a run:
the page's size, the seconds that its export took, PSNR, and for how many samples a pixel the density is evaluated, by
the page and by the rule of the engine, which ends a ray where too little light is left.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from statistics import mean

import numpy
import torch

sys.path.insert(0, str(Path(__file__).parents[1]))  # nerf and tests of this checkout

import nerf
from nerf.exporters.context import ExportRequest
from nerf.geometry.cameras import NOT_GIVEN, Cameras, Rays
from nerf.meshing.surface import SurfaceRequest
from nerf.ops.composite import transmittance
from nerf.ops.march import march
from nerf.rendering.metrics import psnr
from nerf.rendering.model import RadianceModel
from nerf.rendering.witnesses import thumbnails, without_clouds
from nerf.workflows.recorded import recorded_scene
from nerf.workflows.trained import open_run
from tests.browser import browser

EVALUATIONS = 4  # what the page draws for them, see scene.js


def main() -> None:
    """Compares the runs and prints the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", type=Path, nargs="+")
    parser.add_argument("--views", type=int, default=4)
    parser.add_argument("--side", type=int, default=200)
    arguments = parser.parse_args()

    rows = ["| run | page | written in | PSNR against the engine: mean | least | evaluations a pixel | engine |"]
    rows += ["| --- | --- | --- | --- | --- | --- | --- |"]
    for folder in arguments.runs:
        with tempfile.TemporaryDirectory() as made:
            file = Path(made) / "scene.html"
            run = nerf.open_run(folder)
            start = time.perf_counter()
            nerf.export(run, ExportRequest({"page": file}, SurfaceRequest(64)))
            seconds = time.perf_counter() - start
            found, evaluated, needed = zip(*compared(folder, file, arguments.views, arguments.side))
            size = file.stat().st_size / 2**20
        cells = [folder.name, f"{size:.1f} MiB", f"{seconds:.1f} s", f"{mean(found):.1f} dB", f"{min(found):.1f} dB"]
        rows.append(f"| {' | '.join(cells)} | {mean(evaluated):.3f} | {mean(needed):.3f} |")
    print("\n".join(rows))


@torch.no_grad()
def compared(folder: Path, file: Path, count: int, side: int) -> list[tuple[float, float, float]]:
    """Returns the PSNR of what a page draws of some held-out views, and evaluations a pixel, the page's and needed."""
    run = open_run(folder)
    model = without_clouds(run.model, run.cameras)[0]
    cameras = recorded_scene(run, ("test",), "the scene has moved").splits["test"].cameras.about(run.cameras.origin)
    some = torch.linspace(0, len(cameras) - 1, min(count, len(cameras))).round().long()
    small: Cameras = replace(thumbnails(cameras[some], side), lens=NOT_GIVEN)
    background = 0.0 if model.box.contraction else 1.0
    found = []
    with browser(f"file://{file.resolve()}") as page:
        for frame in range(len(small)):
            pose = small.world_from_camera[frame].T.reshape(12).tolist()
            lens = [*small.focal[frame].tolist(), *small.center[frame].tolist()]
            drawn = torch.from_numpy(page.picture(pose, lens, small.width, small.height).copy())[..., :3] / 255
            counts = page.picture(pose, lens, small.width, small.height, EVALUATIONS).view(numpy.uint32)
            rays = small.image_rays(frame)
            likeness = psnr(drawn, model.picture(small, frame).over(background))
            found.append((likeness, float(counts.mean()), evaluations(model, rays) / len(rays)))
    return found


def evaluations(model: RadianceModel, rays: Rays) -> int:
    """Returns of how many samples the density is needed: those in occupied cells that enough light reaches."""
    middle = torch.full((len(rays),), 0.5)
    samples = march(rays, model.box, model.occupancy.occupied, model.step_length(), middle, "native")
    unit = model.box.unit_from_world(samples.positions(rays)).clamp(0, 1)
    tau = model.unit_density(unit.contiguous()) * (samples.step / model.box.side)
    reaching = transmittance(tau, samples.ray, samples.n_rays)
    return int((reaching >= model.settings.minimum_transmittance).sum())


if __name__ == "__main__":
    main()
