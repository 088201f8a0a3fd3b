"""What the plain command makes of captures: ``python benchmarks/captures.py OUT FOLDER ... [--max-seconds 60]``.

Every folder is trained on by ``nerf train`` with its defaults, and the film and the mesh are described in one table:
which way was up and why, the path, how much of the least and of the mean frame training cameras had seen, and how much
they would have of a whole orbit as high and as far away as they stood, which asks nobody; the pieces, triangles and
extent of the mesh. Beside each film lies a contact sheet of 24 of its frames, and beside each mesh a sheet of grey
pictures from eight sides: look at them.

``--arc DEGREES`` keeps only the pictures taken from an arc of that width, in a copy of the folder.
"""

from __future__ import annotations

import argparse
import json
import math
import re
import shutil
import subprocess
import sys
from pathlib import Path

import imageio.v3 as iio
import numpy
import torch
import trimesh
from PIL import Image

from nerf.config import SceneSettings
from nerf.geometry.up import find_up, upright
from nerf.rendering.witnesses import thumbnails, without_clouds
from nerf.scenes import find_scene, load_scene
from nerf.scenes.raytracing import load_open3d
from nerf.video.camera_paths import CameraRig, Framing
from nerf.video.plan import JUDGED_SIDE, FilmRequest, Planner
from nerf.video.seen import seen_shares
from nerf.workflows.trained import open_run

SHEET_FRAMES = 24
SHEET_COLUMNS = 6
SHEET_WIDTH = 300  # pixels of a frame
GREY_SIZE = 320  # pixels a side of a picture of a mesh
SUFFIXES = (".jpg", ".jpeg", ".png")


def main() -> None:
    """Trains on every folder and prints the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("folders", type=Path, nargs="+")
    parser.add_argument("--max-seconds", default="60")
    parser.add_argument("--arc", type=float, default=0.0)
    parser.add_argument("--set", nargs="*", default=[], help="further settings, section.name=value")
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)

    rows = []
    for folder in arguments.folders:
        scene = on_arc(folder, arguments.out / f"{folder.name}_arc", arguments.arc) if arguments.arc else folder
        run = arguments.out / f"run_{scene.name}"
        command = [sys.executable, "-m", "nerf", "train", "--scene", str(scene), "--out", str(run)]
        command += ["--max-seconds", arguments.max_seconds, *arguments.set]
        done = subprocess.run(command, capture_output=True, text=True)
        print(done.stdout, done.stderr[-400:] if done.returncode else "", flush=True)
        rows.append(described(scene.name, run, done.stdout, done.returncode))

    print(
        "\n| capture | status | up | path | seen, least | mean | of a whole orbit | mesh: pieces | triangles | extent |"
    )
    print("| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |")
    print("\n".join(rows))


def on_arc(folder: Path, copy: Path, degrees: float) -> Path:
    """Returns a copy of a capture without the pictures that were taken from outside of an arc, in its middle."""
    views = load_scene(find_scene(str(folder)), ("train",), SceneSettings(holdout=0, downscale=8)).splits["train"]
    rig = CameraRig.of(views.cameras, find_up(views.cameras).direction)
    middle, _ = rig.arc()
    apart = (rig.azimuth - middle + math.pi).remainder(2 * math.pi) - math.pi
    outside = {name for name, angle in zip(views.names, apart.abs().tolist()) if angle > math.radians(degrees / 2)}

    shutil.rmtree(copy, ignore_errors=True)
    shutil.copytree(folder, copy)
    for file in copy.rglob("*"):
        word = file.relative_to(copy).with_suffix("").as_posix().replace("/", "_")
        if file.suffix.lower() in SUFFIXES and any(word == name or word.endswith(f"_{name}") for name in outside):
            file.unlink()
    return copy


def described(name: str, run: Path, text: str, status: int) -> str:
    """Returns the row of a run, and writes its sheets."""
    up = re.search(r"up: .*?\((.*)\);", text)
    seen = re.search(r"seen by training cameras: ([\d.]+%).*?, ([\d.]+%)", text)
    path = re.search(r"film: .* \((\w+), ", text)
    cells = [name, str(status)] + [found[1] if found else "-" for found in (up, path)]
    cells += [seen[1], seen[2], whole_orbit(run)] if seen else ["-", "-", "-"]

    film = run / "orbit.mp4"
    if film.is_file():
        sheet(film, run / "film_sheet.png")
    mesh = run / "mesh.glb"
    if mesh.is_file():
        report = json.loads((run / "mesh.report.json").read_text())
        shape = trimesh.load(mesh, force="mesh")
        grey_sheet(shape, run / "mesh_sheet.png")
        extent = " x ".join(f"{side:.3g}" for side in shape.extents)
        cells += [str(report["pieces"]), str(report["triangles"]), extent]
    else:
        cells += ["-", "-", "-"]
    return f"| {' | '.join(cells)} |"


def whole_orbit(folder: Path) -> str:
    """Returns how much of the least and of the mean frame of a whole orbit training cameras had seen."""
    run = open_run(folder)
    witnesses = without_clouds(run.model, run.cameras)[1]
    up = find_up(run.cameras, run.floor)
    planner = Planner(witnesses, upright(run.cameras, up), up.direction, FilmRequest(frames=SHEET_FRAMES))
    seen = seen_shares(witnesses, thumbnails(planner.framed("orbit", Framing()), JUDGED_SIDE))
    return f"{seen.min():.1%}, {seen.mean():.1%}"


def sheet(film: Path, file: Path) -> None:
    """Writes evenly spaced frames of a film as one picture."""
    frames = list(iio.imiter(film))
    chosen = numpy.linspace(0, len(frames) - 1, SHEET_FRAMES).round().astype(int)
    pictures = [Image.fromarray(frames[index]) for index in chosen]
    height = round(SHEET_WIDTH * pictures[0].height / pictures[0].width)
    whole = Image.new("RGB", (SHEET_COLUMNS * SHEET_WIDTH, -(-SHEET_FRAMES // SHEET_COLUMNS) * height))
    for index, picture in enumerate(pictures):
        at = (index % SHEET_COLUMNS * SHEET_WIDTH, index // SHEET_COLUMNS * height)
        whole.paste(picture.resize((SHEET_WIDTH, height)), at)
    whole.save(file)


def grey_sheet(mesh: trimesh.Trimesh, file: Path) -> None:
    """Writes grey pictures of a mesh, lit from the eye, from four sides along each of two axes."""
    open3d = load_open3d()
    scene = open3d.t.geometry.RaycastingScene()
    scene.add_triangles(
        open3d.core.Tensor(mesh.vertices.astype(numpy.float32)), open3d.core.Tensor(mesh.faces.astype(numpy.uint32))
    )
    center = mesh.bounds.mean(0)
    distance = 1.1 * numpy.linalg.norm(mesh.extents)
    rows = []
    for axis in (1, 2):
        up = numpy.eye(3)[axis]
        side = numpy.eye(3)[axis - 1]
        across = numpy.cross(up, side)
        row = []
        for turn in numpy.radians((0, 90, 180, 270)):
            toward = numpy.cos(turn) * side + numpy.sin(turn) * across + 0.4 * up
            eye = center + distance * toward / numpy.linalg.norm(toward)
            # What it calls up is where its rows go: down.
            rays = scene.create_rays_pinhole(45, center, eye, -up, GREY_SIZE, GREY_SIZE)
            found = scene.cast_rays(rays)
            direction = rays.numpy()[..., 3:]
            direction /= numpy.linalg.norm(direction, axis=2, keepdims=True)
            light = abs((found["primitive_normals"].numpy() * direction).sum(2))
            row.append(numpy.where(found["t_hit"].isfinite().numpy(), 40 + 200 * light, 255))
        rows.append(numpy.concatenate(row, axis=1))
    Image.fromarray(numpy.concatenate(rows).astype(numpy.uint8)).save(file)


if __name__ == "__main__":
    torch.set_grad_enabled(False)
    main()
