"""Measures the road from photographs: bare photos, a video, and lenses that bend.

    python benchmarks/photographs.py fox SCENE      # bare photos of a scene with given poses, against those poses
    python benchmarks/photographs.py video          # a film of the built-in scene -> frames -> poses -> training
    python benchmarks/photographs.py lenses         # the built-in scene through three lenses, all else the same

All trainings of one command take the same steps (--steps, annealed over them). PSNR is the mean over the held-out
views. fox: camera centres are compared after the best similarity, in parts of their greatest distance from their
middle. video: the truth are the exact renders, not the film's frames. lenses: everything is exact but for the lens.
Works in --folder, which must not exist; what was made there stays.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import math
import shutil
from pathlib import Path
from statistics import mean

import numpy
import torch
from PIL import Image
from tqdm import tqdm

from nerf.backends.choice import choose_backend
from nerf.config import PLACE, Settings, default_settings, read_settings
from nerf.geometry.cameras import Cameras, look_at
from nerf.geometry.lenses import lens_terms
from nerf.geometry.scale import best_similarity
from nerf.rendering.metrics import psnr
from nerf.scenes import Scene, SceneFolder, Views, load_scene
from nerf.scenes.builtin import digger_surface
from nerf.scenes.raytracing import ShadedSurface, rendered_image

LENSES = {
    "pinhole": {},
    "opencv": {"camera_model": "OPENCV", "k1": -0.25, "k2": 0.08, "p1": 0.003, "p2": -0.002},
    "fisheye": {"camera_model": "OPENCV_FISHEYE", "k1": 0.05, "k2": -0.02, "k3": 0.01, "k4": 0.0},
}
GREY = 160  # behind the digger: photographs have no alpha


def score(scene: Scene, settings: Settings, truth: dict[str, numpy.ndarray] | None = None) -> float:
    """Returns the mean PSNR of the held-out views after a training; truth: pictures by name, or what the views have."""
    task, test = choose_backend("native").task(scene.splits["train"], settings), scene.splits["test"]
    for step in tqdm(range(settings.train.steps), desc="training", unit="step"):
        task.train_step(step, step / settings.train.steps)
    values, model = [], task.averaged()
    for frame, name in enumerate(test.names):
        true = test.picture(frame, "white") if truth is None else torch.tensor(truth[name]).float() / 255
        values.append(psnr(model.picture(test.cameras, frame).over(1.0), true))
    return mean(values)


def by_file(views: Views) -> dict[str, int]:
    """Returns the frame of every picture, by the last word of its name."""
    return {name.split("_")[-1]: frame for frame, name in enumerate(views.names)}


def fox(arguments: argparse.Namespace, settings: Settings) -> None:
    """Compares bare photographs with the same photographs and their given poses."""
    given = load_scene(SceneFolder("given", arguments.scene, ""), ("train", "test"), settings.scene)
    bare = arguments.folder / "bare"
    if not bare.exists():
        shutil.copytree(arguments.scene / "images", bare / "images")
    found = load_scene(SceneFolder("bare", bare, ""), ("train", "test"), settings.scene)
    print("\n".join(found.notes))
    centers = []
    for scene in (given, found):
        places = {}
        for views in scene.splits.values():
            eye = views.cameras.world_from_camera[:, :, 3].double().numpy()
            places |= {name: eye[frame] for name, frame in by_file(views).items()}
        centers.append(places)
    names = sorted(centers[0].keys() & centers[1].keys())
    truth, ours = (numpy.stack([places[name] for name in names]) for places in centers)
    apart = numpy.linalg.norm(
        best_similarity(torch.from_numpy(ours), torch.from_numpy(truth))[1].numpy() - truth, axis=1
    )
    size = numpy.linalg.norm(truth - truth.mean(0), axis=1).max()
    print(f"{len(names)} of {len(centers[0])} pictures registered")
    print(f"centres off by {mean(apart) / size:.3%} in the mean, {apart.max() / size:.3%} at most")
    if settings.train.steps:
        scores = {name: score(scene, settings) for name, scene in (("given poses", given), ("own poses", found))}
        print(", ".join(f"{name}: {value:.2f} dB" for name, value in scores.items()))


def ring(n: int) -> torch.Tensor:
    """Returns world_from_camera (n, 3, 4) along a path once and a half round the digger, rising and sinking."""
    poses = []
    for part in numpy.arange(n) / n:
        azimuth, elevation = 3 * math.pi * part, math.radians(28 + 22 * math.sin(2 * math.pi * part))
        across = math.cos(elevation)
        eye = 4 * torch.tensor([across * math.cos(azimuth), across * math.sin(azimuth), math.sin(elevation)])
        poses.append(look_at(eye, torch.zeros(3), torch.tensor([0.0, 0.0, 1.0])))
    return torch.stack(poses)


def photographed(surface: ShadedSurface, cameras: Cameras, frame: int) -> numpy.ndarray:
    """Returns an exact picture (H, W, 3) uint8 of the digger before grey, through the camera's own lens."""
    width, height = cameras.width, cameras.height
    row, column = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")

    def rays_at(offset: tuple[float, float]) -> numpy.ndarray:
        x, y = (place.flatten() + shift - 0.5 for place, shift in zip((column, row), offset))
        rays = cameras.rays(torch.full((height * width,), frame), x, y)
        return torch.cat([rays.origin, rays.direction], 1).numpy().astype(numpy.float32).reshape(height, width, 6)

    picture = Image.fromarray(rendered_image(surface, rays_at, (height, width)))
    behind = Image.new("RGBA", picture.size, (GREY, GREY, GREY, 255))
    return numpy.asarray(Image.alpha_composite(behind, picture).convert("RGB"))


def film_cameras(arguments: argparse.Namespace, lens: dict[str, object]) -> Cameras:
    """Returns the cameras of a film through a lens."""
    n, size = arguments.frames, arguments.size
    focal, center = torch.full((n, 2), 1.25 * size), torch.full((n, 2), size / 2)
    terms = torch.tensor(lens_terms("FISHEYE" in str(lens.get("camera_model")), lens))
    return Cameras(ring(n), focal, center, size, size, terms.repeat(n, 1))


def video(arguments: argparse.Namespace, settings: Settings) -> None:
    """Films the built-in scene and reconstructs it from the film alone."""
    import imageio_ffmpeg

    cameras = film_cameras(arguments, {})
    surface = digger_surface(cameras.world_from_camera[:, :, 3].double().numpy())[0]
    exact, size = {}, (arguments.size, arguments.size)
    encoder = imageio_ffmpeg.write_frames(str(arguments.folder / "film.mp4"), size, quality=9, macro_block_size=1)
    encoder.send(None)
    for frame in tqdm(range(arguments.frames), desc="exact renders", unit="frame"):
        # Frames are as many as are chosen from the film, each the only one of its part.
        exact[f"frame_{frame:04d}"] = photographed(surface, cameras, frame)
        encoder.send(exact[f"frame_{frame:04d}"].tobytes())
    encoder.close()
    scene = load_scene(SceneFolder("film", arguments.folder, ""), ("train", "test"), settings.scene)
    print("\n".join(scene.notes))
    print(f"own poses, against exact renders: {score(scene, settings, exact):.2f} dB")


def lenses(arguments: argparse.Namespace, settings: Settings) -> None:
    """Photographs the built-in scene through each lens and trains on what it shows."""
    surface = digger_surface(ring(arguments.frames)[:, :, 3].double().numpy())[0]
    scores = {}
    for name, lens in LENSES.items():
        folder, cameras = arguments.folder / name, film_cameras(arguments, lens)
        (folder / "images").mkdir(parents=True)
        frames = []
        for frame in tqdm(range(arguments.frames), desc=f"exact renders, {name}", unit="frame"):
            file = f"images/{frame:04d}.png"
            Image.fromarray(photographed(surface, cameras, frame)).save(folder / file)
            pose = cameras.world_from_camera[frame] * torch.tensor([1.0, -1.0, -1.0, 1.0])
            frames.append({"file_path": file, "transform_matrix": [*pose.tolist(), [0.0, 0.0, 0.0, 1.0]]})
        focal = {"fl_x": 1.25 * arguments.size, "fl_y": 1.25 * arguments.size}
        (folder / "transforms.json").write_text(json.dumps({**focal, **lens, "frames": frames}))
        scene = load_scene(SceneFolder(name, folder, ""), ("train", "test"), settings.scene)
        scores[name] = score(scene, settings)
        print(f"{name}: {scores[name]:.2f} dB ({scores[name] - scores['pinhole']:+.2f})", flush=True)


def main() -> None:
    """Runs one of the three."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0], epilog="section.name=value changes a setting")
    parser.add_argument("what", choices=("fox", "video", "lenses"))
    parser.add_argument("scene", type=Path, nargs="?", help="folder with images and transforms.json, for fox")
    parser.add_argument("--folder", type=Path, required=True, help="to work in")
    parser.add_argument("--steps", type=int, default=3000)
    parser.add_argument("--downscale", type=int, default=1)
    parser.add_argument("--frames", type=int, default=100, help="of video and lenses")
    parser.add_argument("--size", type=int, default=400, help="pixels a side of video and lenses")
    arguments, overrides = parser.parse_known_args()
    words = ["train.max_seconds=1", f"train.steps={arguments.steps}", f"scene.downscale={arguments.downscale}"]
    settings = read_settings(None, [*words, *overrides], default_settings(PLACE))
    # Without steps, which fox takes to compare poses alone, the settings would be refused.
    settings = dataclasses.replace(settings, train=dataclasses.replace(settings.train, max_seconds=0.0))
    arguments.folder.mkdir(parents=True, exist_ok=True)
    {"fox": fox, "video": video, "lenses": lenses}[arguments.what](arguments, settings)


if __name__ == "__main__":
    main()
