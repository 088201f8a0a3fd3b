"""Frames of pictures in JSON, as Blender's exporters, instant-ngp and nerfstudio write them.

Cameras look along -z with y up (OpenGL). Intrinsics stand at the top, in a frame, or both; the frame's win. The world
stays as the file has it; nerfstudio's ``applied_transform`` says how it got there and needs no undoing. Whatever is
there and not read is refused if it bends rays, and named in a note otherwise.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy

from nerf.errors import InputError
from nerf.files import read_json
from nerf.geometry.lenses import lens_terms
from nerf.scenes.captures import Photo
from nerf.scenes.depth_files import FARTHEST, MILLIMETRES, DepthFile
from nerf.scenes.picture_names import find_pictures, some
from nerf.scenes.pictures import picture_size
from nerf.scenes.scene import SPLITS
from nerf.text import short

MEND = "copy the file again or correct it"
MODELS = ("OPENCV", "OPENCV_FISHEYE", "PINHOLE", "SIMPLE_PINHOLE", "SIMPLE_RADIAL", "RADIAL", "PERSPECTIVE", "FISHEYE")
ANGLES = ("camera_angle_x", "camera_angle_y")
CONTRADICTORY = 1.25  # times a focal length that an angle beside it may mean
LENS_TERMS = ("k1", "k2", "k3", "k4", "p1", "p2")
INTRINSICS = ("fl_x", "fl_y", "cx", "cy", "w", "h", "camera_model", "is_fisheye", *LENS_TERMS)
SPLIT_LISTS = tuple(f"{split}_filenames" for split in SPLITS)  # not where each split has a file of its own
READ = (
    *INTRINSICS,
    *ANGLES,
    "frames",
    "file_path",
    "transform_matrix",
    "mask_path",
    "depth_file_path",
    "depth_unit_scale_factor",
)

# Keys that bend rays in a way that is not read, unless they are 0 or false.
OTHER_TERMS = ("k5", "k6", "s1", "s2", "s3", "s4")
OTHER_LENSES = (
    "latlong",
    "equirectangular",
    "orthographic",
    "ftheta_p0",
    "ftheta_p1",
    "ftheta_p2",
    "ftheta_p3",
    "ftheta_p4",
)
# Keys that say when pictures were taken, or what other programs make of them.
MOTION = ("rolling_shutter", "time")
UNNEEDED = (
    "aabb", "aabb_scale", "applied_scale", "applied_transform", "auto_scale_poses_override", "colmap_im_id",
    "center", "format_version", "from_na", "generator", "n_extra_learnable_dims", "offset", "orientation_override",
    "original_fname", "ply_file_path",
    "render_aabb", "rotation", "scale", "sharpness", "up",
)  # fmt: skip


def open_frames(file: Path) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Returns the object that a file holds, and its frames.

    Raises:
        InputError: it cannot be read, or has no frames.
    """
    tree = read_json(file, MEND, finite=False)
    frames = tree.get("frames") if isinstance(tree, dict) else None
    if not isinstance(frames, list) or not frames:
        raise InputError(f'{file}: no "frames"; expected a list with one entry per picture')
    for index, frame in enumerate(frames):
        if not isinstance(frame, dict):
            raise InputError(f'{file}: frame {index}: no "file_path"')
    return tree, frames


def says_more(tree: dict[str, Any], frames: list[dict[str, Any]]) -> bool:
    """Returns whether more is said of the pictures than one angle of view for all of them: intrinsics, or masks."""
    beside = {*INTRINSICS, *OTHER_TERMS, *OTHER_LENSES, "camera_angle_y", "mask_path", "depth_file_path"}
    return bool(beside & tree.keys()) or any(({*beside, *ANGLES} & frame.keys()) for frame in frames)


def unread_notes(
    tree: dict[str, Any], frames: list[dict[str, Any]], file: Path, also_read: Sequence[str] = ()
) -> list[str]:
    """Returns notes on what is in a file and not read, one line each.

    also_read: keys that its format reads besides.

    Raises:
        InputError: the cameras have another lens than any that is read.
    """
    there = {**{key: value for frame in frames for key, value in frame.items() if value}, **tree}
    lens = [key for key in OTHER_LENSES if there.get(key)]
    if lens:
        raise InputError(
            f"{file}: {', '.join(lens)}: such cameras are not read; render or cut perspective pictures from them"
        )

    notes = []
    motion = [key for key in MOTION if numpy.any(numpy.array(there.get(key, 0), dtype=bool))]
    if motion:
        notes.append(f"warning: {file.name}: {', '.join(motion)} not used: everything counts as still")
    unknown = sorted({*there} - {*READ, *also_read, *OTHER_TERMS, *OTHER_LENSES, *MOTION, *UNNEEDED})
    if unknown:
        notes.append(f"{file.name}: keys that are not read: {some([short(key) for key in unknown], 8)}")
    return notes


@dataclass(frozen=True)
class Frame:
    """A frame as the file has it."""

    top: dict[str, Any]  # values for all frames
    own: dict[str, Any]  # its own, which win
    name: str  # of its picture, as it is to be sorted
    path: Path  # of its picture
    where: str  # for messages

    @property
    def values(self) -> dict[str, Any]:
        """What is true of the frame."""
        return {**self.top, **self.own}

    def photo(self, folder: Path, size_from: Path, turned: bool) -> Photo:
        """Returns the photograph.

        size_from: the picture that tells the size if the file does not. turned: whether it is turned as EXIF asks for.

        Raises:
            InputError: a value is missing or wrong.
        """
        values = self.values
        lens = self._lens()

        # Intrinsics: pixels of the camera.
        shape_told = "w" in values or "h" in values
        if shape_told:
            width = self._number("w")
            height = self._number("h")
        else:
            width, height, _ = picture_size(size_from, turned=turned)
        focal_x = self._focal("x", width)
        focal_y = self._focal("y", height) if {"fl_y", "camera_angle_y"} & values.keys() else focal_x
        center = (self._number("cx", width / 2), self._number("cy", height / 2))

        mask = values.get("mask_path")
        if mask is not None and not isinstance(mask, str):
            raise InputError(f'{self.where}: "mask_path" is {short(mask)}; expected a file name')
        masked = find_pictures(folder, [mask], self.where, moved=False)[0] if mask else None
        if masked is not None and not masked.is_file():
            raise InputError(f'{self.where}: mask "{mask}" not found; restore it or remove "mask_path"')

        depth = self._depth(folder)
        focal = (focal_x, focal_y or focal_x)
        size = (width, height)
        photo = Photo(
            self.name,
            self.path,
            self._pose(),
            focal,
            center,
            size,
            lens,
            mask=masked,
            depth=depth,
            shape_told=shape_told,
        )
        self._check_angles(photo)
        return photo

    def _depth(self, folder: Path) -> DepthFile | None:
        """Returns the depth map that the frame names; None if it names none."""
        name = self.values.get("depth_file_path")
        if not name:
            return None
        if not isinstance(name, str):
            raise InputError(f'{self.where}: "depth_file_path" is {short(name)}; expected a file name')
        if name.lower().endswith(".exr"):
            raise InputError(f'{self.where}: depth map "{name}": .exr is not read; save it as .npy, in metres')
        path = find_pictures(folder, [name], self.where, moved=False)[0]
        if not path.is_file():
            raise InputError(f'{self.where}: depth map "{name}" not found; restore it or remove "depth_file_path"')
        unit = self._number("depth_unit_scale_factor", 1.0 if path.suffix.lower() == ".npy" else MILLIMETRES)
        if not 0 < unit < FARTHEST:
            raise InputError(f'{self.where}: "depth_unit_scale_factor" is {unit:g}; expected the metres of a count')
        return DepthFile(path, unit)

    def _check_angles(self, photo: Photo) -> None:
        """Refuses a focal length and an angle of view that stand side by side and contradict each other."""
        for axis, focal, side in zip("xy", photo.focal, photo.size):
            keys = {f"fl_{axis}", f"camera_angle_{axis}"}
            # A frame's own focal length says nothing against the angle of another camera at the top.
            beside = self.own if keys & self.own.keys() else self.top
            if not keys <= beside.keys() or photo.lens[0]:
                continue

            by_angle = self._focal_of_angle(axis, side)
            if not 1 / CONTRADICTORY < focal / by_angle < CONTRADICTORY:
                raise InputError(
                    f'{self.where}: "fl_{axis}" is {focal:.6g} pixels, but "camera_angle_{axis}" over {side:g} pixels '
                    f"means {by_angle:.6g}: are the intrinsics those of pictures of another size, or parts of 1? give "
                    f'"w" and "h" of that size, or lengths in pixels, or remove the wrong one of the two'
                )

    def _number(self, key: str, default: float | None = None) -> float:
        value = self.values.get(key, default)
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not abs(value) < 1e30:
            raise InputError(f'{self.where}: "{key}" is {short(value)}; expected a number')
        return float(value)

    def _focal(self, axis: str, side: float) -> float:
        """Returns the focal length along an axis, pixels, which may be given as a field of view over `side` pixels."""
        if f"fl_{axis}" in self.values:
            return self._number(f"fl_{axis}")
        return self._focal_of_angle(axis, side)

    def _focal_of_angle(self, axis: str, side: float) -> float:
        angle = self._number(f"camera_angle_{axis}")
        if not 0 < angle < math.pi:
            raise InputError(f'{self.where}: "camera_angle_{axis}" is {angle}; expected radians below pi')
        return 0.5 * side / math.tan(0.5 * angle)

    def _lens(self) -> list[float]:
        """Returns the lens, see `nerf.geometry.lenses`."""
        model = self.values.get("camera_model") or "OPENCV"
        if not isinstance(model, str) or model.upper() not in MODELS:
            raise InputError(f"{self.where}: camera model {short(model)} is not supported; undistort the pictures")
        model = model.upper()

        fisheye = "FISHEYE" in model or bool(self.values.get("is_fisheye"))
        terms = {key: self._number(key) for key in LENS_TERMS if key in self.values}
        if model in ("PINHOLE", "SIMPLE_PINHOLE"):
            terms = {}
        # k4 is the factor of r^8, as nerfstudio has it; OpenCV's, which comes with k5 and k6, stands in a denominator.
        if not fisheye and {"k5", "k6"} & self.values.keys() and "k4" in terms:
            terms["d1"] = terms.pop("k4")

        unread = [key for key in OTHER_TERMS if self.values.get(key)]
        if unread:
            raise InputError(f"{self.where}: lens terms {', '.join(unread)} are not supported; undistort the pictures")
        return lens_terms(fisheye, terms)

    def _pose(self) -> numpy.ndarray:
        """Returns world_from_camera (3, 4) with the camera's y and z axes turned from OpenGL's."""
        try:
            matrix = numpy.array(self.values.get("transform_matrix"), dtype=numpy.float64)
        except (TypeError, ValueError, OverflowError):
            matrix = numpy.empty(0)
        if matrix.shape not in ((4, 4), (3, 4)):
            raise InputError(f'{self.where}: "transform_matrix" is not a 4 x 4 matrix of numbers')
        return matrix[:3] * numpy.array([1.0, -1.0, -1.0, 1.0])
