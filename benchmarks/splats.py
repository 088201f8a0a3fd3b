"""Splats against the field, and against photographs: ``python benchmarks/splats.py RUN ... [--count N] [--views 8]``.

    --spark FOLDER    a node_modules folder with three and @sparkjsdev/spark, which then render the file, in headless
                      Chromium, beside the engine, "antialiased" as is its way
    --times 1 2       so many times as many pixels along a side as the pictures have

Each run is exported as .ply by the command line's own road. Evenly spread held-out views, their lenses taken as
pinholes, are rendered of splats and of the field, over white. Prints a row a run and a size: how many splats, seconds,
PSNR of the splats against the field as 3D Gaussian splatting draws them and antialiased, by how much the opacity is
off (the worse of the two), what splats and field have against the photographs, which are laid upon the pinholes'
pixels, and Spark against the field and against the engine. Figures are means over the views, in brackets the least.
"""

from __future__ import annotations

import argparse
import functools
import http.server
import math
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from pathlib import Path
from statistics import mean

import numpy
import torch
from torch import Tensor
from torch.nn.functional import grid_sample

sys.path.insert(0, str(Path(__file__).parents[1]))  # nerf and tests of this checkout

import nerf
from nerf.color import over
from nerf.exporters.context import ExportRequest
from nerf.geometry.cameras import NOT_GIVEN, Cameras
from nerf.geometry.lenses import distort
from nerf.meshing.surface import SurfaceRequest
from nerf.rendering.metrics import psnr
from nerf.rendering.witnesses import without_clouds
from nerf.splatting.fitting import field_picture, over_white
from nerf.splatting.splats import Splats
from nerf.workflows.recorded import recorded_scene
from nerf.workflows.trained import open_run
from tests.browser import Browser, browser
from tests.splatting.clouds import read_ply

NEAR = 0.01  # of the cameras' mean distance from their middle
SHOWN, SETTLED = 4, 1.0  # times that Spark shows a view at least, and seconds each, until nothing changes
PAGE = """<!doctype html><canvas id=c></canvas>
<script type=importmap>{"imports": {"three": "/node_modules/three/build/three.module.js",
"three/addons/": "/node_modules/three/examples/jsm/",
"@sparkjsdev/spark": "/node_modules/@sparkjsdev/spark/dist/spark.module.js"}}</script>
<script>let done; const ready = new Promise(yes => done = yes);</script>
<script type=module>
import * as THREE from "three";
import { SparkRenderer, SplatMesh } from "@sparkjsdev/spark";
const renderer = new THREE.WebGLRenderer({ canvas: c, antialias: false, preserveDrawingBuffer: true });
renderer.setPixelRatio(1);
const scene = new THREE.Scene(), camera = new THREE.PerspectiveCamera();
scene.background = new THREE.Color(1, 1, 1);
scene.add(new SparkRenderer({ renderer }));
const splats = new SplatMesh({ url: "/splats.ply" });
await splats.initialized;
scene.add(splats);
window.show = async (pose, lens, width, height, near, far, settled) => {
  renderer.setSize(width, height, false);
  const [right, down, ahead, place] = [0, 3, 6, 9].map(at => pose.slice(at, at + 3));
  camera.matrixAutoUpdate = false;
  camera.matrix.set(right[0], -down[0], -ahead[0], place[0], right[1], -down[1], -ahead[1], place[1],
    right[2], -down[2], -ahead[2], place[2], 0, 0, 0, 1);
  camera.updateMatrixWorld(true);
  const [fx, fy, cx, cy] = lens, a = (far + near) / (near - far), b = 2 * far * near / (near - far);
  camera.projectionMatrix.set(2 * fx / width, 0, 1 - 2 * cx / width, 0, 0, 2 * fy / height, 2 * cy / height - 1, 0,
    0, 0, a, b, 0, 0, -1, 0);
  camera.projectionMatrixInverse.copy(camera.projectionMatrix).invert();
  const end = performance.now() + 1000 * settled;
  while (performance.now() < end) {
    renderer.render(scene, camera);
    await new Promise(next => setTimeout(next, 50));
  }
  const gl = renderer.getContext(), bytes = new Uint8Array(4 * width * height);
  window.picture = () => bytes;
  gl.readPixels(0, 0, width, height, gl.RGBA, gl.UNSIGNED_BYTE, bytes);
};
done();
</script>"""


def main() -> None:
    """Compares the runs and prints the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", type=Path, nargs="+")
    parser.add_argument("--count", type=int, default=0)
    parser.add_argument("--views", type=int, default=8)
    parser.add_argument("--times", type=int, nargs="+", default=[1])
    parser.add_argument("--spark", type=Path)
    parser.add_argument("--keep", type=Path, help="folder in which the files and the first view's pictures stay")
    arguments = parser.parse_args()

    print("| run | splats | fitted in | size | as 3DGS draws | antialiased | opacity off | splats, photographs "
          "| field, photographs | Spark, field | Spark, engine |")  # fmt: skip
    print("| --- " * 11 + "|")
    for folder in arguments.runs:
        with nullcontext(arguments.keep) if arguments.keep else tempfile.TemporaryDirectory() as made:
            file = Path(made) / folder.name / "splats.ply"
            start = time.perf_counter()
            request = ExportRequest({"splats": file}, SurfaceRequest(64), count=arguments.count)
            nerf.export(nerf.open_run(folder), request)
            seconds = time.perf_counter() - start
            splats = read_ply(file)
            with served(file, arguments.spark) if arguments.spark else nullcontext() as page:
                for times in arguments.times:
                    scores = [*compared(folder, splats, arguments.views, times, page, file.parent)]
                    plain, antialiased, off, *others = (column for column in zip(*scores))
                    cells = [folder.name, str(len(splats)), f"{seconds:.0f} s", f"x {times}", words(plain)]
                    cells += [words(antialiased), f"{mean(off):.4f}", *map(words, others)]
                    print(f"| {' | '.join(cells)} |", flush=True)


def words(figures: tuple[float, ...]) -> str:
    """Returns the mean and the least of some PSNR; nothing where there are none."""
    return "" if math.isnan(figures[0]) else f"{mean(figures):.2f} ({min(figures):.2f}) dB"


@torch.no_grad()
def compared(
    folder: Path, splats: Splats, count: int, times: int, page: Browser | None, kept: Path
) -> Iterator[tuple[float, ...]]:
    """Yields the figures of a view, in the order of the table; nan for what is not measured."""
    run = open_run(folder)
    model = without_clouds(run.model, run.cameras)[0]
    truth = recorded_scene(run, ("test",), "the scene has moved").splits["test"]
    bent = truth.cameras.about(run.cameras.origin)
    cameras = replace(bent, lens=NOT_GIVEN)
    eye = cameras.world_from_camera[:, :, 3]
    near = NEAR * (eye - eye.mean(0)).norm(dim=1).mean().item()
    for frame in torch.linspace(0, len(cameras) - 1, min(count, len(cameras))).round().long().tolist():
        view = enlarged(cameras[torch.tensor([frame])], times)
        drawn = [splats.seen(view, 0, near), splats.seen(view, 0, near, True), field_picture(model, view)]
        plain, antialiased, field = pictures = [over_white(picture) for picture in drawn]
        off = max((each[..., 3] - drawn[2][..., 3]).abs().mean().item() for each in drawn[:2])
        figures = [psnr(plain, field), psnr(antialiased, field), off]
        photograph, shown = straightened(over(truth.images[frame].float() / truth.white, "white"), bent, frame)
        figures += [psnr(each[shown], photograph[shown]) if times == 1 else math.nan for each in (antialiased, field)]
        if page:
            pictures.append(in_the_browser(page, view, near))
        yield *figures, *(psnr(pictures[-1], each) if page else math.nan for each in (field, antialiased))
        if frame == 0:
            keep(kept / f"side_by_side_{times}.png", pictures)


def enlarged(view: Cameras, times: int) -> Cameras:
    """Returns a camera with so many times as many pixels along a side."""
    return Cameras(
        view.world_from_camera, times * view.focal, times * view.center, times * view.width, times * view.height
    )


def straightened(photograph: Tensor, cameras: Cameras, frame: int) -> tuple[Tensor, Tensor]:
    """Returns a photograph (H, W, 3) as a pinhole would have taken it, and what of it is in the picture (H, W)."""
    height, width = photograph.shape[:2]
    if cameras.pinhole:
        return photograph, torch.ones(height, width, dtype=torch.bool)
    row, column = torch.meshgrid(torch.arange(height) + 0.5, torch.arange(width) + 0.5, indexing="ij")
    pixel = torch.stack([column, row], dim=2).view(-1, 2)
    straight = (pixel - cameras.center[frame]) / cameras.focal[frame]
    place = distort(cameras.lens[frame], straight)[0] * cameras.focal[frame] + cameras.center[frame]
    place = (2 * place / torch.tensor([width, height]) - 1).view(1, height, width, 2)
    drawn = grid_sample(photograph.permute(2, 0, 1)[None], place, align_corners=False)[0].permute(1, 2, 0)
    return drawn, (place[0].abs() < 1).all(dim=2)


def in_the_browser(page: Browser, view: Cameras, near: float) -> Tensor:
    """Returns what Spark draws, (H, W, 3)."""
    pose = view.world_from_camera[0].T.reshape(12).tolist()
    lens = [*view.focal[0].tolist(), *view.center[0].tolist()]
    shown: list[numpy.ndarray] = []
    while len(shown) < SHOWN or (shown[-1] != shown[-2]).any():  # it sorts for a view while it shows the one before
        page.value(f"show({pose}, {lens}, {view.width}, {view.height}, {near}, {1e5 * near}, {SETTLED})")
        shown.append(page.picture(pose, lens, view.width, view.height))
    drawn = shown[-1]
    return torch.from_numpy(drawn[::-1].copy())[..., :3] / 255  # rows of WebGL go upwards


def keep(file: Path, pictures: list[Tensor]) -> None:
    """Writes pictures side by side."""
    from PIL import Image

    file.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray((torch.cat(pictures, dim=1) * 255).round().byte().numpy()).save(file)


@contextmanager
def served(file: Path, modules: Path) -> Iterator[Browser]:
    """Gives a browser with Spark and a file of splats, served on loopback."""
    with tempfile.TemporaryDirectory() as root:
        (Path(root) / "index.html").write_text(PAGE)
        (Path(root) / "splats.ply").symlink_to(file.resolve())
        (Path(root) / "node_modules").symlink_to(modules.resolve())
        handler = functools.partial(QuietHandler, directory=root)
        server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            with browser(f"http://127.0.0.1:{server.server_port}/index.html") as page:
                yield page
        finally:
            server.shutdown()


class QuietHandler(http.server.SimpleHTTPRequestHandler):
    """Serves files and says nothing."""

    def log_message(self, *words: object) -> None:
        """Is silent."""


if __name__ == "__main__":
    main()
