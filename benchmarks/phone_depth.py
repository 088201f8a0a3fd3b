"""What depth maps of a phone bring: ``python benchmarks/phone_depth.py OUT [--pictures 12] [--max-seconds 60]``.

The built-in scene, alone with its silhouettes (alpha) or in a papered room, is photographed with depth maps as a phone
takes them: a quarter of the pictures' side, whole millimetres, noise of 1 %, a fifth missing in patches and at edges,
and poses in a unit of their own (0.23 m). The same pictures are trained with and without the maps, both at once on half
of the threads each, and scored on the test views.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from functools import partial
from pathlib import Path

import numpy
from PIL import Image

from nerf.scenes.builtin import CAMERA_ANGLE_X, digger_surface, test_cameras, train_cameras
from nerf.scenes.raytracing import ShadedSurface, camera_rays, depth_and_normal, rendered_image

METRES = 0.23  # of a scene unit
SIZE = 400  # pixels a side
MAP = 100  # of a depth map
ROOM = 6.0  # half the side of the room, scene units
NOISE, PATCHES = 0.01, 12  # of a depth; missing patches of a map


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--pictures", type=int, default=12)
    parser.add_argument("--max-seconds", default="60")
    arguments = parser.parse_args()

    poses = {"train": train_cameras(arguments.pictures), "test": test_cameras(25)}
    surface = digger_surface(train_cameras(100)[:, :3, 3])[0]
    print("| pictures | depth maps | held out | a scene unit is (truth: 0.23 m) |\n| --- | --- | --- | --- |")
    for ground in ("alpha", "room"):
        running = []
        for depth in (False, True):
            folder = arguments.out / f"{ground}-{'depth' if depth else 'plain'}"
            write_capture(folder, poses, surface, ground, depth)
            words = ["train", "--scene", str(folder), "--out", f"{folder}-run", "--max-seconds", arguments.max_seconds]
            running.append(
                (folder, depth, program([*words, "output.video=", "output.mesh=", "train.preview_seconds=0"]))
            )
        for _, _, process in running:
            if process.wait():
                sys.exit("a training failed")
        for folder, depth, _ in running:
            if program(["evaluate", f"{folder}-run"]).wait():
                sys.exit("a score failed")
            psnr = json.loads(Path(f"{folder}-run", "metrics.json").read_text())["psnr"]
            scale = Path(f"{folder}-run", "scale.json")
            known = f"{json.loads(scale.read_text())['metres']:.4f} m" if scale.exists() else "-"
            print(
                f"| {arguments.pictures}, {ground} | {'yes' if depth else 'no'} | {psnr:.2f} dB | {known} |", flush=True
            )


def program(words: list[str]) -> subprocess.Popen:
    """Returns a command of the program at work on half of the threads."""
    environment = os.environ | {"OMP_NUM_THREADS": str(max(1, (os.cpu_count() or 1) // 2))}
    command = [sys.executable, "-m", "nerf", *words]
    return subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def write_capture(
    folder: Path, poses: dict[str, numpy.ndarray], surface: ShadedSurface, ground: str, depth: bool
) -> None:
    """Writes transforms.json with pictures and, if asked, depth maps of the training ones."""
    frames = []
    drawn = numpy.random.default_rng(0)
    floor = surface.geometry.corners[..., 2].min()
    (folder / "images").mkdir(parents=True, exist_ok=True)
    (folder / "depth").mkdir(exist_ok=True)
    for split, matrices in poses.items():
        for number, pose in enumerate(matrices):
            name = f"images/{split}_{number:02d}.png"
            picture = rendered_image(surface, partial(camera_rays, pose, SIZE), (SIZE, SIZE))
            if ground == "room":
                alpha = picture[..., 3:] / 255
                paper = room(camera_rays(pose, SIZE, (0.5, 0.5)), floor)[1]
                picture = numpy.round(picture[..., :3] * alpha + paper * (1 - alpha)).astype(numpy.uint8)
            Image.fromarray(picture).save(folder / name)
            frames.append({"file_path": name, "transform_matrix": pose.tolist()})
            if depth and split == "train":
                frames[-1]["depth_file_path"] = f"depth/{split}_{number:02d}.png"
                along = depth_and_normal(surface.geometry, pose, MAP)[0]
                if ground == "room":
                    wall = room(camera_rays(pose, MAP, (0.5, 0.5)), floor)[0]
                    along = numpy.where(along > 0, along, wall)
                counts = phone_depth(along, drawn)
                Image.fromarray(counts).save(folder / frames[-1]["depth_file_path"])
    names = {
        f"{split}_filenames": [f["file_path"] for f in frames if f"/{split}_" in f["file_path"]] for split in poses
    }
    tree = {"camera_angle_x": CAMERA_ANGLE_X, "w": SIZE, "h": SIZE, **names, "frames": frames}
    (folder / "transforms.json").write_text(json.dumps(tree))


def room(rays: numpy.ndarray, floor: float) -> tuple[numpy.ndarray, numpy.ndarray]:
    """Returns how far the walls, the floor and the ceiling are along rays (..., 6), and their colours (..., 3)."""
    origin, direction = rays[..., :3].astype(float), rays[..., 3:].astype(float)
    low, high = numpy.array([-ROOM, -ROOM, floor - 0.01]), numpy.array([ROOM, ROOM, ROOM])
    distance = numpy.where(direction > 0, high - origin, low - origin) / numpy.where(direction == 0, 1e-12, direction)
    along = distance.min(-1)
    point = origin + along[..., None] * direction
    wave = sum(numpy.sin(point * turn + turn) for turn in (0.9, 2.3, 5.1)) / 3
    return along.astype(numpy.float32), 128 + 90 * wave * numpy.roll(wave, 1, -1) + 30 * wave


def phone_depth(along: numpy.ndarray, drawn: numpy.random.Generator) -> numpy.ndarray:
    """Returns uint16 millimetres along the axis, of distances along the rays, as a phone would measure them."""
    side = (numpy.arange(MAP) + 0.5) / MAP * 2 - 1
    slope = numpy.tan(CAMERA_ANGLE_X / 2) * side
    depth = along / numpy.sqrt(1 + slope[None] ** 2 + slope[:, None] ** 2) * METRES
    depth = depth * (1 + NOISE * drawn.standard_normal(depth.shape))
    edge = numpy.zeros(depth.shape, bool)
    for axis in (0, 1):
        step = numpy.abs(numpy.diff(depth, axis=axis, append=numpy.take(depth, [-1], axis)))
        edge |= step > 0.1 * METRES
    depth[edge] = 0
    for _ in range(PATCHES):
        row, column = drawn.integers(0, MAP, 2)
        high, wide = drawn.integers(5, 18, 2)
        depth[row : row + high, column : column + wide] = 0
    return numpy.round(1000 * depth).astype(numpy.uint16)


if __name__ == "__main__":
    main()
