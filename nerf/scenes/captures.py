"""What the photo formats have in common: photographs with poses and lenses -> splits that can be read."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy
import torch
from torch import Tensor

from nerf.config import SceneSettings
from nerf.errors import InputError
from nerf.geometry.cameras import Cameras
from nerf.geometry.lenses import TERMS, distort, undistort
from nerf.geometry.origin import near_origin
from nerf.scenes.depth_files import DepthFile
from nerf.scenes.masks import read_mask
from nerf.scenes.picture_names import file_names, plain_name, some
from nerf.scenes.pictures import PictureStack, doubtful_turn, picture_size, read_pictures
from nerf.scenes.scene import SPLITS, Capture, Views

UPRIGHT = "upright"  # value of scene.orientation
FEWEST_TO_HOLD_OUT = 10  # pictures; with fewer, every one is needed for training
ASPECT_SLACK = 0.02  # by which a picture's shape may differ from its camera's: what integer sizes round away
LEAST_LENS_ERROR = 1e-3  # pixels within which a ray must project back


@dataclass(frozen=True)
class Photo:
    """A photograph as a format describes it.

    focal, center and size are those of the camera; the file may hold the picture at another scale.
    """

    name: str  # unique, as the format sorts it
    path: Path
    world_from_camera: numpy.ndarray  # (3, 4) float64
    focal: tuple[float, float]  # pixels (x, y)
    center: tuple[float, float]  # the principal point, pixels (x, y)
    size: tuple[float, float]  # width and height, pixels
    lens: Sequence[float] = (0.0,) * len(TERMS)  # see `nerf.geometry.lenses`
    depths: tuple[float, float] | None = None  # least and greatest depth of what it shows, scene units
    mask: Path | None = None  # a picture that is black where the photograph is not to be used
    mask_hides: bool = False  # whether it is white there instead
    tracked: tuple[int, float] | None = None  # known points that it sees; their mean error, pixels
    split: str = ""  # which the format says; empty: none
    depth: DepthFile | None = None  # how far what it shows is, as the camera measured it
    shape_told: bool = True  # False: size is the picture's own, for want of another


def photo_capture(
    kind: str,
    photos: list[Photo],
    notes: list[str],
    settings: SceneSettings,
    downscale: int,
    points: Tensor | None = None,
) -> Capture:
    """Returns the capture that photographs make, with the splits that `settings` ask for.

    What the format says of the splits goes first. Without a split "val" it is the test split, and the other way round;
    splits that would be empty are left out. Reading a split raises InputError where a photograph or a camera is
    damaged, or they contradict each other.

    kind: the format. notes: what the format says of itself. downscale: the factor that is left to shrink the files
    by. points: see `Capture`.

    Raises:
        InputError: there are fewer pictures than scene.pictures asks for.
    """
    photos = sorted(photos, key=lambda photo: photo.name)
    if any(photo.split for photo in photos):
        parts, split_note = _given_split(photos, settings.pictures)
    elif settings.pictures:
        parts, split_note = _some(photos, settings.pictures)
    else:
        parts, split_note = _every(photos, settings.holdout)
    lens_note = _lens_note(photos[0], len({tuple(photo.lens) for photo in photos}))
    turned = settings.orientation == UPRIGHT
    read = {split: partial(_views, part, downscale, turned) for split, part in parts.items() if part}
    return Capture(kind, read, points, [*notes, split_note, lens_note])


def evenly_spread(pictures: int, wanted: int) -> list[int]:
    """Returns which of a number of pictures are learned from where scene.pictures asks for so many, in order.

    Raises:
        InputError: there are fewer.
    """
    if wanted > pictures:
        raise InputError(f"scene.pictures={wanted}: there are {pictures} to learn from; give that or fewer")
    return [(2 * index + 1) * pictures // (2 * wanted) for index in range(wanted)]


def _some(photos: list[Photo], wanted: int) -> tuple[dict[str, list[Photo]], str]:
    """Returns the splits where a number of pictures is learned from, and what to say of them."""
    chosen = set(evenly_spread(len(photos), wanted))
    learned = [photo for index, photo in enumerate(photos) if index in chosen]
    held_out = [photo for index, photo in enumerate(photos) if index not in chosen]
    note = f"learned from: {wanted} of {len(photos)} pictures, evenly spread by name; the others are held out"
    return {"train": learned, "test": held_out, "val": held_out}, note


def _every(photos: list[Photo], holdout: int) -> tuple[dict[str, list[Photo]], str]:
    """Returns the splits where the format names none, and what to say of them."""
    if holdout == 0 or len(photos) < FEWEST_TO_HOLD_OUT:
        return {"train": photos, "test": [], "val": []}, f"no picture held out ({len(photos)} in all)"

    held_out = photos[::holdout]
    note = f"held out for testing: every {holdout}th of {len(photos)} pictures by name, {len(held_out)} in all"
    learned = [photo for index, photo in enumerate(photos) if index % holdout]
    return {"train": learned, "test": held_out, "val": held_out}, note


def _given_split(photos: list[Photo], wanted: int) -> tuple[dict[str, list[Photo]], str]:
    """Returns the splits that the format names, that to learn from thinned to a number, and what to say of them."""
    parts = {split: [photo for photo in photos if photo.split == split] for split in SPLITS}
    counts = ", ".join(f"{len(part)} {split}" for split, part in parts.items())
    left = len(photos) - sum(map(len, parts.values()))
    note = f"splits as the file names them: {counts}{f'; {left} in none, left out' if left else ''}"
    if wanted:
        parts["train"] = [parts["train"][index] for index in evenly_spread(len(parts["train"]), wanted)]
        note += f"; {wanted} of train are learned from"

    # Either of the two serves as the other.
    held_out = parts["test"] or parts["val"]
    parts["val"] = parts["val"] or held_out
    parts["test"] = held_out
    return parts, note


def _lens_note(photo: Photo, n_lenses: int) -> str:
    """Returns what to say of the photographs' lenses, of which `photo` has the first."""
    terms = [f"{name} {value:.4g}" for name, value in zip(TERMS[1:], photo.lens[1:]) if value]
    kind = "fisheye" if photo.lens[0] else "perspective"
    each = "" if n_lenses == 1 else f"; {n_lenses} lenses, the first"
    return f"lens: {kind}{each}{', '.join(['', *terms]) if terms else ', no distortion'}"


def _views(photos: list[Photo], downscale: int, turned: bool) -> Views:
    """Returns the pictures of photographs with their cameras, shrunk by `downscale`.

    turned: whether what EXIF asks for is done where the cameras do not tell.
    """
    shapes = [picture_size(photo.path, photo.size[0] / photo.size[1], turned) for photo in photos]
    scale = torch.stack([_scale(photo, shape) for photo, shape in zip(photos, shapes)]) / downscale
    stack = read_pictures([photo.path for photo in photos], shapes, downscale, turned)
    height, width = stack.images.shape[1:3]

    poses, origin = near_origin(numpy.stack([photo.world_from_camera for photo in photos]))
    cameras = Cameras(
        poses,
        torch.tensor([photo.focal for photo in photos], dtype=torch.float32) * scale,
        torch.tensor([photo.center for photo in photos], dtype=torch.float32) * scale,
        width,
        height,
        torch.tensor([list(photo.lens) for photo in photos], dtype=torch.float32),
        stack.size,
        origin,
    )

    # What only some photographs tell is not known of the split.
    depths = None
    if all(photo.depths is not None for photo in photos):
        depths = torch.tensor([photo.depths for photo in photos], dtype=torch.float32)
    tracked = None
    if all(photo.tracked is not None for photo in photos):
        tracked = torch.tensor([photo.tracked for photo in photos], dtype=torch.float32)

    names = file_names([photo.name for photo in photos])
    used, notes = _used(photos, stack, turned)
    files = tuple(str(photo.path) for photo in photos)
    said = (*stack.notes, *_stretched(photos, shapes), *notes)
    turns = {} if turned else _doubtful_turns(photos)
    maps = tuple(photo.depth for photo in photos)
    return Views(names, stack.images, stack.white, cameras, used, True, depths, tracked, files, said, turns, maps)


def _doubtful_turns(photos: list[Photo]) -> dict[int, int]:
    """Returns how EXIF asks to turn photographs, by number, where the cameras do not tell whether they saw them so."""
    turns = {frame: doubtful_turn(photo.path, photo.shape_told) for frame, photo in enumerate(photos)}
    return {frame: turn for frame, turn in turns.items() if turn != 1}


def _scale(photo: Photo, shape: tuple[int, int, int]) -> Tensor:
    """Returns pixels of the file per pixel of the camera, (2,)."""
    width, height, _ = shape
    scale = torch.tensor([width / photo.size[0], height / photo.size[1]], dtype=torch.float32)
    slack = ASPECT_SLACK + 1 / min(width, height)
    if not 1 - slack < (scale[0] / scale[1]).item() < 1 + slack:
        raise InputError(
            f"{photo.path}: {width} x {height} pixels, but its camera has {photo.size[0]:g} x {photo.size[1]:g}: "
            "the picture was cut or belongs to another camera"
        )
    return scale


def _stretched(photos: list[Photo], shapes: list[tuple[int, int, int]]) -> list[str]:
    """Returns what to say of pictures whose shape differs from their cameras' by more than whole pixels make."""
    other = [
        f"{photo.path.name} has {width} x {height} pixels, its camera {photo.size[0]:g} x {photo.size[1]:g}"
        for photo, (width, height, _) in zip(photos, shapes)
        if abs(width / photo.size[0] * photo.size[1] / height - 1) > 1 / min(width, height)
    ]
    if not other:
        return []
    return [
        f"warning: {len(other)} of {len(photos)} pictures have another shape than their cameras ({other[0]}): they are "
        "taken as stretched; if they were cut, give the size and the principal point of the cut pictures"
    ]


def _used(photos: list[Photo], stack: PictureStack, turned: bool) -> tuple[Tensor | None, list[str]]:
    """Returns (F, H, W) bool of the pixels that are pictures and not masked, None if all are; and notes on masks.

    Raises:
        InputError: masks leave nothing.
    """
    masks = [photo for photo in photos if photo.mask is not None]
    height, width = stack.images.shape[1:3]
    if not masks and not stack.holes and (stack.size == torch.tensor([width, height])).all():
        return None, []

    used = torch.zeros(len(photos), height, width, dtype=torch.bool)
    empty = []
    left_out = 0.0
    for frame, (photo, (columns, rows)) in enumerate(zip(photos, stack.size.tolist())):
        kept = torch.ones(rows, columns, dtype=torch.bool)
        if photo.mask is not None:
            kept, greatest = read_mask(photo, columns, rows, turned)
            left_out += 1 - kept.float().mean().item()
            if not kept.any():
                empty.append(f"{photo.mask} (greatest value {greatest})")
        used[frame, :rows, :columns] = (
            kept & stack.holes.get(frame, torch.ones(1, 1, dtype=torch.bool))[:rows, :columns]
        )

    if empty and not used.any():
        raise InputError(f"{empty[0]}: masks leave no pixel of any picture; white is what is used")
    notes = [f"masks: {len(masks)} of {len(photos)} pictures, {left_out / len(masks):.1%} left out"] if masks else []
    if empty:
        notes.append(f"warning: masks leave no pixel of {len(empty)} pictures: {some(empty)}")
    return used, notes


def checked_photo(photo: Photo, where: str) -> Photo:
    """Returns a photograph whose camera can be used.

    Raises:
        InputError: a number is not finite, the pose is no rotation, or sizes and focal lengths are not positive.
    """
    numbers = [*photo.world_from_camera.flatten(), *photo.focal, *photo.center, *photo.size, *photo.lens]
    if not numpy.isfinite(numbers).all() or max(map(abs, numbers)) > 1e30:
        raise InputError(f'{where}: camera of "{photo.name}" has a value that is not finite; remove the picture')

    if min(*photo.focal, *photo.size) <= 0:
        raise InputError(
            f'{where}: camera of "{photo.name}": focal length {photo.focal} and size {photo.size} must be positive'
        )

    rotation = photo.world_from_camera[:, :3]
    if not numpy.allclose(rotation @ rotation.T, numpy.eye(3), atol=1e-3) or numpy.linalg.det(rotation) < 0:
        raise InputError(f'{where}: pose of "{photo.name}" is not a rotation (orthonormal, right-handed)')
    return photo


def lens_reach(photo: Photo) -> float:
    """Returns the part of a photograph's border that its lens model reaches: rays there project back."""
    # Points on the four sides, pixels.
    along = torch.linspace(0, 1, 33)
    horizontal = torch.cat([torch.stack([along, edge * torch.ones(33)], 1) for edge in (0.0, 1.0)])
    border = torch.cat([horizontal, horizontal.flip(1)]) * torch.tensor(photo.size, dtype=torch.float32)

    focal = torch.tensor(photo.focal, dtype=torch.float32)
    drawn = (border - torch.tensor(photo.center, dtype=torch.float32)) / focal
    lens = torch.tensor(list(photo.lens), dtype=torch.float32).expand(len(drawn), -1)
    error = (distort(lens, undistort(lens, drawn))[0] - drawn) * focal
    return (error.norm(dim=1) < LEAST_LENS_ERROR).float().mean().item()


def found_photos(photos: list[Photo], notes: list[str], where: str) -> list[Photo]:
    """Returns the photographs whose files exist; the missing ones are named in one note.

    Raises:
        InputError: none exists.
    """
    found = [photo for photo in photos if photo.path.is_file()]
    missing = [photo.name for photo in photos if not photo.path.is_file()]

    if not found:
        looked = f" (looked for {photos[0].path})" if photos else ""
        raise InputError(f"{where}: none of its {len(photos)} pictures was found{looked}")
    if missing:
        notes.append(f"warning: {len(missing)} of {len(photos)} pictures are missing and skipped: {', '.join(missing)}")

    # Names are compared as they end: what is before is the folder that they are relative to. Suffixes may be left out.
    ends = [(photo, plain_name(photo.name, where)) for photo in found]
    other = [
        photo for photo, end in ends
        if not photo.path.as_posix().endswith(end) and not photo.path.with_suffix("").as_posix().endswith(end)
    ]  # fmt: skip
    if other:
        notes.append(
            f"{len(other)} of {len(photos)} pictures were found under other names: {other[0].path} for "
            f'"{other[0].name}"' + (" and so on" if len(other) > 1 else "")
        )

    least = min(lens_reach(photo) for photo in {tuple(photo.lens): photo for photo in found}.values())
    if least < 1:
        notes.append(
            f"warning: the lens model folds within the picture ({1 - least:.0%} of the border is beyond its reach)"
        )
    return found
