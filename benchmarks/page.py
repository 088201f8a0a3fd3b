"""Pages against the engine: ``python benchmarks/page.py RUN ... [--views 4] [--side 200]``.

Each run is exported as a page, which headless Chromium opens. What it draws of evenly spread held-out views, their
longer side so many pixels and their lenses pinholes, is compared with the engine's exact picture. Prints one row a run.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from dataclasses import replace
from pathlib import Path
from statistics import mean

import torch

sys.path.insert(0, str(Path(__file__).parents[1]))  # nerf and tests of this checkout

import nerf
from nerf.exporters.context import ExportRequest
from nerf.geometry.cameras import NOT_GIVEN, Cameras
from nerf.meshing.surface import SurfaceRequest
from nerf.rendering.metrics import psnr
from nerf.rendering.witnesses import thumbnails, without_clouds
from nerf.workflows.recorded import recorded_scene
from nerf.workflows.trained import open_run
from tests.browser import browser


def main() -> None:
    """Compares the runs and prints the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", type=Path, nargs="+")
    parser.add_argument("--views", type=int, default=4)
    parser.add_argument("--side", type=int, default=200)
    arguments = parser.parse_args()

    rows = ["| run | page | PSNR against the engine: mean | least |", "| --- | --- | --- | --- |"]
    for folder in arguments.runs:
        with tempfile.TemporaryDirectory() as made:
            file = Path(made) / "scene.html"
            nerf.export(nerf.open_run(folder), ExportRequest({"page": file}, SurfaceRequest(64)))
            found = compared(folder, file, arguments.views, arguments.side)
            size = file.stat().st_size / 2**20
        rows.append(f"| {folder.name} | {size:.1f} MiB | {mean(found):.1f} dB | {min(found):.1f} dB |")
    print("\n".join(rows))


@torch.no_grad()
def compared(folder: Path, file: Path, count: int, side: int) -> list[float]:
    """Returns the PSNR of what a page draws of some held-out views."""
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
            found.append(psnr(drawn, model.picture(small, frame).over(background)))
    return found


if __name__ == "__main__":
    main()
