"""Seconds for a frame and for a mesh, by each backend: ``python benchmarks/exports.py RUN [--size 800] [--views 10]``.

Frames are of the run's orbit; a mesh is made as by default, of so many of its training cameras, evenly chosen (the
time for looking from them grows with their number). Prints a Markdown table: the reference backend, which computed
everything before there was an engine, and the native one.
"""

import argparse
import resource
import time
from pathlib import Path
from statistics import median

import torch

from nerf.backends.choice import choose_backend
from nerf.meshing.surface import SurfaceRequest, make_surface
from nerf.video.plan import FilmRequest, plan
from nerf.workflows.trained import TrainedRun, open_run

FRAMES = {"reference": 2, "native": 12}


def frame_seconds(run: TrainedRun, size: int) -> float:
    """Returns the median seconds of a frame of the run's orbit, size x size pixels."""
    count = FRAMES[run.backend.name]
    way = plan(run.model, run.cameras, FilmRequest(count, (size, size), 30), lambda: run.cameras)
    seconds = []
    for frame in range(count):
        start = time.perf_counter()
        run.model.picture(way.cameras, frame)
        seconds.append(time.perf_counter() - start)
    return median(seconds)


def mesh_seconds(run: TrainedRun, views: int, resolution: int, method: str) -> tuple[float, int]:
    """Returns the seconds that a mesh takes, colours included, and its triangles."""
    some = torch.linspace(0, len(run.cameras) - 1, min(views, len(run.cameras))).long()
    start = time.perf_counter()
    mesh, _ = make_surface(run.model, run.cameras[some], SurfaceRequest(resolution, method))
    return time.perf_counter() - start, len(mesh.faces)


def main() -> None:
    """Measures every backend that is asked for."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("run", type=Path)
    parser.add_argument("--size", type=int, default=800, help="pixels of a frame's side")
    parser.add_argument("--views", type=int, default=10, help="training cameras that a mesh is made of")
    parser.add_argument("--resolution", type=int, default=256)
    parser.add_argument("--backends", nargs="+", default=["reference", "native"])
    words = parser.parse_args()
    lines = [
        f"| backend | frame of {words.size} x {words.size} | mesh by fusion | mesh by density |",
        "| --- | --- | --- | --- |",
    ]
    for name in words.backends:
        run = open_run(words.run, name)
        frame = frame_seconds(run, words.size)
        meshes = [mesh_seconds(run, words.views, words.resolution, method) for method in ("fusion", "density")]
        shown = " | ".join(f"{seconds:.1f} s ({triangles} triangles)" for seconds, triangles in meshes)
        lines.append(f"| {choose_backend(name).name} | {frame:.3f} s | {shown} |")
    print(f"\n{torch.get_num_threads()} threads; meshes of {words.views} cameras, {words.resolution} cells a side")
    print("\n".join(lines))
    print(f"peak memory: {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20:.2f} GiB")


if __name__ == "__main__":
    main()
