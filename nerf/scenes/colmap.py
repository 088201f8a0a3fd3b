"""COLMAP's folders: a sparse model beside the photographs it was made from."""

from __future__ import annotations

import os
import re
from pathlib import Path

import numpy
import torch

from nerf.config import SceneSettings
from nerf.errors import InputError
from nerf.scenes.captures import Photo, checked_photo, found_photos, photo_capture
from nerf.scenes.colmap_model import ColmapImage, ColmapPoints, count_pictures, model_suffix, read_model
from nerf.scenes.masks import with_masks
from nerf.scenes.picture_names import find_pictures, picture_files, some
from nerf.scenes.scene import Capture

# Where models lie, as patterns of `Path.glob`: the first row that holds any is taken.
MODEL_FOLDERS = (
    "sparse/*", "sparse", "colmap/sparse/*", "colmap/sparse", "", "*sparse*/*", "*sparse*", "*text*", "dense/*/sparse",
    "dense/*/sparse/*", "dense/sparse", "distorted/sparse/*", "distorted/sparse",
)  # fmt: skip
PICTURES = r"images(_\d+)?|input"  # folders that hold pictures alone, also in sub-folders
FEWEST_VIEWS = 3  # pictures that see a point that can be trusted
LARGEST_ERROR = 2.0  # of a point that can be trusted, pixels
NEAREST = 0.005  # quantile of the points' depths that is a picture's least depth
FARTHEST = 0.995  # and that is its greatest


def is_colmap(folder: Path) -> bool:
    """Returns whether the folder holds this format."""
    return bool(find_models(folder))


def find_models(folder: Path) -> list[Path]:
    """Returns the folders of the models that a scene's folder holds, or that it is itself; the one to take first.

    Of models side by side that is the one with most pictures.
    """
    found: list[Path] = []
    for pattern in MODEL_FOLDERS:
        places = sorted(folder.glob(pattern)) if pattern else [folder]
        row = [place for place in places if place not in found and model_suffix(place)]
        found += sorted(row, key=count_pictures, reverse=True) if len(row) > 1 else row
    return found


def _scene_of(model: Path, folder: Path) -> Path:
    """Returns the folder in which a model's pictures lie: one that holds the model or, if none fits, `folder`."""
    inside = [model, *model.parents]
    above = folder.resolve().parents[:3] if model == folder else []
    places = [*inside[: inside.index(folder) + 1], *above]
    return next((place for place in places if _picture_folders(place)), folder)


def _picture_folders(folder: Path) -> dict[int, Path]:
    """Returns the folders ``images``, ``images_2`` ... by how much their pictures are shrunk."""
    names = {1: "images", 2: "images_2", 4: "images_4", 8: "images_8"}
    found = {factor: folder / name for factor, name in names.items() if (folder / name).is_dir()}
    return found or ({1: folder / "input"} if (folder / "input").is_dir() else {})


def picture_folder(folder: Path, downscale: int) -> tuple[Path, int]:
    """Returns the folder with the pictures, and the factor that is left to shrink them by.

    ``images_4`` serves --downscale 4 as it is; without ``images`` the least shrunk folder there is counts as whole.
    """
    found = _picture_folders(folder)
    if 1 in found and downscale in found:
        return found[downscale], 1
    return (found[min(found)], downscale) if found else (folder, downscale)


def open_colmap(folder: Path, settings: SceneSettings) -> Capture:
    """Returns the capture in a folder.

    Raises:
        InputError: a file of the model is damaged, its files belong to different models, or no picture is there.
    """
    model, *others = find_models(folder) or [folder]
    scene = _scene_of(model, folder)
    cameras, images, points = read_model(model)
    pictures, left = picture_folder(scene, settings.downscale)
    paths = find_pictures(pictures, [image.name for image in images.values()], str(model))

    photos = []
    depths = _depths(images, points)
    tracked = _tracked(images, points)
    for (number, image), path in zip(images.items(), paths):
        if image.camera not in cameras:
            raise InputError(
                f'{model}: picture "{image.name}" has camera {image.camera}, which the cameras file lacks: '
                "the files belong to different models"
            )

        camera = cameras[image.camera]
        photo = Photo(
            image.name, path, image.world_from_camera, camera.focal, camera.center, camera.size, camera.lens,
            depths.get(number), tracked=tracked.get(number),
        )  # fmt: skip
        photos.append(checked_photo(photo, str(model)))
    if not photos:
        raise InputError(f"{model}: the model has no picture")

    place = model.name if model == folder else model.relative_to(folder)
    notes = [
        f"format: COLMAP model {place} ({len(cameras)} cameras, {len(images)} pictures, {len(points.position)} points)"
        f", pictures in {pictures.name}",
        *_left_note(pictures, paths),
    ]
    if others:
        listed = [f"{other.relative_to(folder)} has {count_pictures(other)}" for other in others]
        notes.append(f"other COLMAP models are not read: {some(listed)} pictures; give --scene one of them to read it")
    photos = with_masks(found_photos(photos, notes, str(model)), scene, notes)

    position = torch.from_numpy(points.position[trusted(points)])
    return photo_capture("colmap", photos, notes, settings, left, position)


def _left_note(pictures: Path, paths: list[Path]) -> list[str]:
    """Returns what to say of the pictures in a folder that have no pose, if there are such."""
    files = picture_files(pictures, deep=re.fullmatch(PICTURES, pictures.name) is not None)
    posed = {os.path.realpath(path) for path in paths}
    left = [name for name in files if os.path.realpath(pictures / name) not in posed]
    if not left:
        return []
    return [f"warning: {len(left)} of {len(files)} pictures in {pictures.name} have no pose: {some(left)}"]


def trusted(points: ColmapPoints) -> numpy.ndarray:
    """Returns which points (N,) are finite, seen by enough pictures and near their features."""
    views = numpy.bincount(points.seen[:, 0], minlength=len(points.position))
    finite = numpy.isfinite(points.position).all(axis=1)
    return finite & (views >= FEWEST_VIEWS) & (points.error <= LARGEST_ERROR)


def _depths(images: dict[int, ColmapImage], points: ColmapPoints) -> dict[int, tuple[float, float]]:
    """Returns the least and greatest depth of the trusted points that each picture sees, by the picture's number."""
    # The pairs of a point and a picture, picture by picture.
    pairs = points.seen[trusted(points)[points.seen[:, 0]]] if len(points.seen) else points.seen
    pairs = pairs[numpy.argsort(pairs[:, 1], kind="stable")]

    depths = {}
    for number, image in images.items():
        first, last = numpy.searchsorted(pairs[:, 1], [number, number + 1])
        pose = image.world_from_camera
        depth = (points.position[pairs[first:last, 0]] - pose[:, 3]) @ pose[:, 2]
        if (depth > 0).sum() >= 2:
            near, far = numpy.quantile(depth[depth > 0], [NEAREST, FARTHEST])
            depths[number] = (float(near), float(far))
    return depths


def _tracked(images: dict[int, ColmapImage], points: ColmapPoints) -> dict[int, tuple[int, float]]:
    """Returns how many points each picture sees and their mean error, pixels, by the picture's number."""
    has_error = numpy.isfinite(points.error)[points.seen[:, 0]] if len(points.seen) else numpy.zeros(0, bool)
    seen = points.seen[has_error]

    numbers, which = numpy.unique(seen[:, 1], return_inverse=True)
    counts = numpy.bincount(which)
    sums = numpy.bincount(which, points.error[seen[:, 0]])
    known = {int(number): (int(n), float(total / n)) for number, n, total in zip(numbers, counts, sums)}
    return {number: known.get(number, (0, 0.0)) for number in images} if known else {}
