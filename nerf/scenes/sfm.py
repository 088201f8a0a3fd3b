"""Bare photographs or a video -> a COLMAP model beside them, by pycolmap (Schönberger and Frahm 2016).

The model is written into ``sparse/0`` of the scene's folder, where every other tool finds it; nothing is computed
twice. Pictures that share a size and an EXIF focal length share a camera.
"""

from __future__ import annotations

import os
import re
import signal
import threading
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any

from nerf.config import SceneSettings
from nerf.errors import InputError
from nerf.files import working_folder
from nerf.report import say
from nerf.scenes.colmap import find_models, open_colmap, picture_folder
from nerf.scenes.colmap_model import model_suffix, read_model
from nerf.scenes.films import FRAME_PATTERN, films_in, take_frames
from nerf.scenes.picture_names import PICTURE_FOLDERS, picture_files, unread_note
from nerf.scenes.pictures import exif_tags, open_picture
from nerf.scenes.scene import Capture

FEWEST_PHOTOS = 3
LARGEST_SIDE = 1600  # pixels of the pictures in which features are found; more costs time and finds no more cameras
EXHAUSTIVE = 150  # pictures up to which every pair is matched; beyond, and for video, only neighbours by name
ENOUGH = 0.9  # of the pictures registered: no further attempt is made
FEW_FEATURES = 200  # a picture with fewer shows too little to be matched
FEW_INLIERS = 15  # a picture that shares fewer with each of the others matches none of them
DEEPEST = 4  # folders down, in which models are looked for that are not where one is read from
MOST_LOOKED_AT = 1000  # folders in all
STRANGE_TO_COLMAP = ("WEBP", "AVIF", "HEIF")  # formats, in Pillow's words, that pycolmap does not read
FOCAL_TAGS = (0x920A, 0xA405)  # EXIF FocalLength, FocalLengthIn35mmFilm
MISSING = "finding camera poses needs pycolmap: pip install 'nerf[sfm]', or give poses (see data/README.md)"


@dataclass(frozen=True)
class Attempt:
    """One method of finding a model."""

    name: str
    features: int  # a picture
    at_once: bool  # whether all poses are found together (global mapping), not one after the other


ATTEMPTS = (
    Attempt("usual", 4096, False),
    Attempt("more features", 16384, False),
    Attempt("all poses at once", 16384, True),
)


def is_photos(folder: Path) -> bool:
    """Returns whether a folder holds photographs or films and no poses that could be read."""
    pictures, _ = picture_folder(folder, 1)
    photos = len(photo_names(pictures)) >= FEWEST_PHOTOS or len(films_in(folder)) > 0
    return photos or len(_unread(pictures)) > 0  # which opening says


def open_photos(folder: Path, settings: SceneSettings) -> Capture:
    """Returns the capture in a folder, which is a COLMAP model from then on: see `find_poses`."""
    notes = find_poses(folder)
    capture = open_colmap(folder, settings)
    return replace(capture, notes=[*notes, *capture.notes])


def photo_names(pictures: Path) -> list[str]:
    """Returns the names of the picture files in a folder and its sub-folders, sorted."""
    return picture_files(pictures, deep=pictures.name in PICTURE_FOLDERS)


def _unread(pictures: Path) -> list[str]:
    """Returns a note on files that look like photographs and are not read, if there are such."""
    return unread_note(pictures, deep=pictures.name in PICTURE_FOLDERS)


def _film_to_use(folder: Path, photos: list[str]) -> Path | None:
    """Returns the film whose frames are the capture, None if photographs are; says so if there are both.

    photos: their names. Those of frames that were taken before leave nothing to be said.

    Raises:
        InputError: there are several films and too few photographs.
    """
    films = films_in(folder)
    names = ", ".join(film.name for film in films)
    if len(photos) >= FEWEST_PHOTOS:
        if films and not all(re.fullmatch(FRAME_PATTERN, name) for name in photos):
            say(
                "scene", f"warning: {names} not used, as there are {len(photos)} pictures; move them away to use a film"
            )
        return None
    if len(films) > 1:
        raise InputError(f"{folder}: {len(films)} films ({names}); keep one, or join them")
    if films and photos:
        say("scene", f"warning: {', '.join(photos)} not used: the frames of {names} are the capture")
    return films[0] if films else None


def find_poses(folder: Path) -> list[str]:
    """Writes a COLMAP model into ``sparse/0`` of a folder with photographs or a video; returns notes for the user.

    Raises:
        InputError: pycolmap is missing, or the pictures cannot be put together.
    """
    try:
        _load_pycolmap()
    except ImportError:
        raise InputError(f"{folder}: {MISSING}") from None
    target = folder / "sparse" / "0"
    if target.exists():
        raise InputError(f"{target}: there, but not a whole COLMAP model; restore or remove it")
    for model in _models_elsewhere(folder):
        say(
            "scene",
            f"warning: {model}: a COLMAP model, but not where one is looked for: camera poses are found anew; "
            f"to use it, stop, and move it to {target}",
        )
    pictures, _ = picture_folder(folder, 1)
    film = _film_to_use(folder, photo_names(pictures))
    if film is not None:
        pictures = folder / "images"
        take_frames(film, pictures)
    names = photo_names(pictures)
    notes = _unread(pictures)
    if len(names) < FEWEST_PHOTOS:
        unread = "".join(f"; {note.removeprefix('warning: ')}" for note in notes)
        raise InputError(f"{pictures}: {len(names)} photographs, {FEWEST_PHOTOS} are needed{unread}")

    # The model appears under its name only when it is whole.
    try:
        with working_folder(".sfm-", folder) as work:
            best, reasons = _best_model(pictures, names, work, in_order=film is not None)
            _keep_model(best, work / "best", target)
    except OSError as error:
        raise InputError(f"{folder}: the model of the cameras cannot be written there ({error.strerror})") from None

    notes.append(
        f"poses: found for {best.num_reg_images()} of {len(names)} pictures, reprojection error "
        f"{best.compute_mean_reprojection_error():.2f} pixels, {best.num_points3D()} points; kept in {target}"
    )
    if reasons:
        listed = "; ".join(f"{name}: {why}" for name, why in sorted(reasons.items()))
        notes.append(f"warning: no pose for {len(reasons)} of {len(names)} pictures: {listed}")
    return notes


def _load_pycolmap() -> None:
    """Loads pycolmap, and sees to it that it leaves the terminal and SIGTERM alone. ImportError: it is not there."""
    import pycolmap

    pycolmap.logging.minloglevel = 3  # its progress would drown ours, and what fails is said in our words
    # Loading it makes SIGTERM print a page of addresses and end the process at once, with its files left behind.
    handler = signal.getsignal(signal.SIGTERM)
    if handler is not None and threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, handler)


def _models_elsewhere(folder: Path) -> list[Path]:
    """Returns the folders of COLMAP models that lie in a folder where none is read from."""
    found: list[Path] = []
    read = find_models(folder)
    for place, inner, _ in islice(os.walk(folder), MOST_LOOKED_AT):
        depth = len(Path(place).relative_to(folder).parts)
        inner[:] = [name for name in sorted(inner) if not name.startswith(".") and depth < DEEPEST]
        found += [Path(place)] if model_suffix(Path(place)) and Path(place) not in read else []
    return found


def _for_colmap(pictures: Path, names: list[str], work: Path) -> Path:
    """Returns a folder in which pycolmap can read all pictures: that of the photographs, or a new one.

    The new one holds pictures of the formats that it does not read as JPEG, under the names that they have, beside
    links to the others.
    """
    strange = []
    for name in names:
        with open_picture(pictures / name) as image:
            if image.format in STRANGE_TO_COLMAP:
                strange.append(name)
    if not strange:
        return pictures

    say("scene", f"{len(strange)} of {len(names)} pictures are converted to JPEG for pycolmap ...")
    for name in names:
        (work / name).parent.mkdir(parents=True, exist_ok=True)
        if name not in strange:
            (work / name).symlink_to((pictures / name).absolute())
            continue
        with open_picture(pictures / name) as image:
            exif = image.info.get("exif") or b""
            image.convert("RGB").save(work / name, "JPEG", quality=95, subsampling=0, exif=exif)
    return work


def _keep_model(best: Any, written: Path, target: Path) -> None:
    """Writes a model into a new folder, reads it back, and only then gives the folder its name.

    Raises:
        InputError: it cannot be written. pycolmap itself does not say so when a disk is full.
    """
    try:
        written.mkdir()
        best.write(written)
        for file in written.iterdir():
            with open(file, "rb") as part:
                os.fsync(part.fileno())

        cameras, images, points = read_model(written)
        counts = (len(cameras), len(images), len(points.position))
        if counts != (best.num_cameras(), best.num_images(), best.num_points3D()):
            raise InputError(f"{written}: {counts} cameras, images and points were written")
        target.parent.mkdir(exist_ok=True)
        written.rename(target)
    except (OSError, InputError, RuntimeError) as error:
        reason = getattr(error, "strerror", None) or "the model was not written whole"
        raise InputError(f"{target}: cannot be written ({reason}); free some space and try again") from None


def _best_model(pictures: Path, names: list[str], work: Path, in_order: bool) -> tuple[Any, dict[str, str]]:
    """Returns the model with most pictures among the attempts, and why each of the other pictures is not in it."""
    import pycolmap

    readable = _for_colmap(pictures, names, work / "pictures")
    best = None
    reasons = {}
    for number, attempt in enumerate(ATTEMPTS):
        database = work / f"{attempt.features}.db"
        models = work / f"models_{number}"
        models.mkdir()
        if not database.exists():
            say("scene", f"finding camera poses of {len(names)} pictures ({attempt.name}) ...")
            _match(database, readable, names, attempt.features, in_order)

        mapping = pycolmap.global_mapping if attempt.at_once else pycolmap.incremental_mapping
        found = mapping(database, readable, models)
        for model in found.values():
            if best is None or model.num_reg_images() > best.num_reg_images():
                best = model
                reasons = _reasons(database, names, model)
        if best is not None and best.num_reg_images() >= ENOUGH * len(names):
            break

    if best is None or best.num_reg_images() < FEWEST_PHOTOS:
        raise InputError(
            f"{pictures}: no camera poses found in {len(names)} pictures; take sharp pictures of a textured, still "
            "scene that overlap by two thirds, from places apart from each other"
        )
    return best, reasons


def _match(database: Path, pictures: Path, names: list[str], features: int, in_order: bool) -> None:
    """Writes features and matches of pictures into a new database. in_order: only neighbours by name are matched."""
    import pycolmap

    extraction = pycolmap.FeatureExtractionOptions()
    extraction.max_image_size = LARGEST_SIDE
    extraction.sift.max_num_features = features
    reader = pycolmap.ImageReaderOptions()
    reader.camera_model = "OPENCV" if len(names) >= 10 else "SIMPLE_RADIAL"
    for group in _same_camera(pictures, names):
        pycolmap.extract_features(
            database, pictures, group, pycolmap.CameraMode.SINGLE, reader, extraction, pycolmap.Device.cpu
        )

    if in_order or len(names) > EXHAUSTIVE:
        pycolmap.match_sequential(database, device=pycolmap.Device.cpu)
    else:
        pycolmap.match_exhaustive(database, device=pycolmap.Device.cpu)


def _same_camera(pictures: Path, names: list[str]) -> Iterator[list[str]]:
    """Yields the names of pictures of one size and one EXIF focal length."""
    groups: dict[tuple, list[str]] = {}
    for name in names:
        with open_picture(pictures / name) as image:
            tags = exif_tags(image).get_ifd(0x8769)
            key = (*image.size, *(str(tags.get(tag)) for tag in FOCAL_TAGS))
        groups.setdefault(key, []).append(name)
    yield from groups.values()


def _reasons(database: Path, names: list[str], model: Any) -> dict[str, str]:
    """Returns, by name, why pictures are not in a model."""
    import pycolmap

    registered = {model.image(number).name for number in model.reg_image_ids()}
    reasons = {}
    with pycolmap.Database.open(database) as data:
        # The most inliers that each picture shares with another.
        pairs, inliers = data.read_two_view_geometry_num_inliers()
        numbers = {image.name: image.image_id for image in data.read_all_images()}
        best = dict.fromkeys(numbers.values(), 0)
        for pair, count in zip(pairs, inliers):
            for number in pycolmap.pair_id_to_image_pair(pair) if isinstance(pair, int) else pair:
                best[number] = max(best[number], int(count))

        for name in names:
            if name in registered:
                continue
            number = numbers.get(name)
            features = 0 if number is None else data.num_keypoints_for_image(number)
            if number is None or features < FEW_FEATURES:
                reasons[name] = f"only {features} features (blurred, dark or without texture)"
            elif best[number] < FEW_INLIERS:
                reasons[name] = "matches no other picture (too far from the rest)"
            else:
                reasons[name] = "does not fit to the others (moved, or seen from too few)"
    return reasons
