"""COLMAP's model files: cameras, images and points3D, binary or text.

Binary files are little-endian. Every count is checked against the bytes that are left before anything is made of it.
Newer COLMAP writes rigs and frames beside these files; the images' own poses are still there and are what is read.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy

from nerf.errors import InputError
from nerf.geometry.lenses import COLMAP_MODELS, lens_terms

NAME_OF_NUMBER = {number: name for name, (number, _) in COLMAP_MODELS.items()}
LONGEST_NAME = 4096  # bytes of a picture's name
NO_LENS = "undistort the pictures with COLMAP's image_undistorter, or choose a model such as OPENCV"


@dataclass(frozen=True)
class ColmapCamera:
    """A camera, which pictures may share."""

    size: tuple[int, int]  # width and height, pixels
    focal: tuple[float, float]  # pixels (x, y)
    center: tuple[float, float]  # the principal point, pixels (x, y)
    lens: tuple[float, ...]  # see `nerf.geometry.lenses`


@dataclass(frozen=True)
class ColmapImage:
    """A registered picture."""

    name: str
    camera: int  # its number
    world_from_camera: numpy.ndarray  # (3, 4) float64


@dataclass(frozen=True)
class ColmapPoints:
    """Sparse points of surfaces, and which pictures see them."""

    position: numpy.ndarray  # (N, 3) float64
    error: numpy.ndarray  # (N,) mean reprojection error, pixels
    seen: numpy.ndarray  # (T, 2) int64, pairs: the index of a point, the number of a picture that sees it


def camera_of(model: str, size: tuple[int, int], values: tuple[float, ...], where: str) -> ColmapCamera:
    """Returns the camera of a COLMAP model's name and its parameters.

    Raises:
        InputError: the number of parameters is wrong or the model is not known.
    """
    if model not in COLMAP_MODELS:
        raise InputError(f'{where}: camera model "{model}" is not supported; {NO_LENS}')
    names = COLMAP_MODELS[model][1]
    if len(values) != len(names):
        raise InputError(f"{where}: {model} has {len(names)} parameters, found {len(values)}")

    terms = dict(zip(names, values))
    focal = (terms["f"], terms["f"]) if "f" in terms else (terms["fx"], terms["fy"])
    return ColmapCamera(size, focal, (terms["cx"], terms["cy"]), tuple(lens_terms("FISHEYE" in model, terms)))


def pose_of(quaternion: Sequence[float], translation: Sequence[float], where: str) -> numpy.ndarray:
    """Returns world_from_camera (3, 4) of COLMAP's camera-from-world quaternion (w, x, y, z) and translation.

    Raises:
        InputError: a number is not finite, or the quaternion is zero.
    """
    length = math.sqrt(sum(value * value for value in quaternion)) if all(map(math.isfinite, quaternion)) else 0.0
    if not (0 < length < math.inf and all(map(math.isfinite, translation))):
        raise InputError(f"{where}: its pose is not finite numbers; remove the picture from the model")

    w, x, y, z = (value / length for value in quaternion)
    camera_from_world = numpy.array(
        [
            [1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)],
            [2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)],
            [2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)],
        ]
    )
    rotation = camera_from_world.T
    return numpy.concatenate([rotation, -rotation @ numpy.array(translation)[:, None]], axis=1)


class _Bytes:
    """A binary file that is read from its start: every read is checked against what is left."""

    def __init__(self, file: Path) -> None:
        self.file = file
        self.data = _contents(file)
        self.at = 0  # the byte that is read next

    def take(self, form: str) -> tuple:
        """Returns the next numbers, by a format of `struct`, little-endian without gaps."""
        size = struct.calcsize("<" + form)
        self.need(size)
        values = struct.unpack_from("<" + form, self.data, self.at)
        self.at += size
        return values

    def need(self, size: int) -> None:
        """Refuses a file with fewer than `size` bytes left."""
        if size > len(self.data) - self.at:
            raise InputError(f"{self.file}: cut off at byte {len(self.data)}; copy the file again")

    def count(self, least_size: int, what: str) -> int:
        """Returns the next count, of records of at least `least_size` bytes each."""
        (number,) = self.take("Q")
        if number * least_size > len(self.data) - self.at:
            raise InputError(f"{self.file}: claims {number} {what}, more than its {len(self.data)} bytes can hold")
        return number

    def array(self, dtype: numpy.dtype, number: int) -> numpy.ndarray:
        """Returns the next `number` values."""
        self.need(number * dtype.itemsize)
        found = numpy.frombuffer(self.data, dtype, number, self.at)
        self.at += number * dtype.itemsize
        return found

    def name(self) -> str:
        """Returns the text up to the next zero byte."""
        end = self.data.find(b"\0", self.at, self.at + LONGEST_NAME)
        if end < 0:
            raise InputError(f"{self.file}: a picture's name does not end; the file is damaged, copy it again")
        text = self.data[self.at : end]
        self.at = end + 1
        try:
            return text.decode("utf-8")
        except UnicodeDecodeError:
            raise InputError(f"{self.file}: a picture's name is not text; the file is damaged, copy it again") from None


def _contents(file: Path) -> bytes:
    try:
        return file.read_bytes()
    except OSError as error:
        raise InputError(f"{file}: cannot be read ({error.strerror})") from None


def _binary_cameras(file: Path) -> dict[int, ColmapCamera]:
    data = _Bytes(file)
    cameras = {}
    for _ in range(data.count(24, "cameras")):
        number, model, width, height = data.take("iiQQ")
        where = f"{file}: camera {number}"
        if model not in NAME_OF_NUMBER:
            raise InputError(f"{where}: camera model number {model} is not supported; {NO_LENS}")

        name = NAME_OF_NUMBER[model]
        values = data.take(f"{len(COLMAP_MODELS[name][1])}d")
        cameras[number] = camera_of(name, (width, height), values, where)
    return cameras


def _binary_images(file: Path) -> dict[int, ColmapImage]:
    data = _Bytes(file)
    images = {}
    pair = numpy.dtype("V24")  # x, y and the number of a point
    for _ in range(data.count(73, "pictures")):
        number, *pose, camera = data.take("i7di")
        name = data.name()
        images[number] = ColmapImage(name, camera, pose_of(pose[:4], pose[4:], f'{file}: picture "{name}"'))
        data.array(pair, data.count(24, "points in a picture"))
    return images


def _binary_points(file: Path) -> ColmapPoints:
    data = _Bytes(file)
    position = []
    error = []
    seen = []
    track = numpy.dtype("<i4, <i4")  # a picture and which of its features
    for index in range(data.count(51, "points")):
        _, x, y, z, _, _, _, apart = data.take("Q3d3Bd")
        images = data.array(track, data.count(8, "views of a point"))["f0"]
        position.append((x, y, z))
        error.append(apart)
        seen.append(numpy.stack([numpy.full(len(images), index), images], axis=1))
    return _points(position, error, seen)


def _points(position: list, error: list, seen: list) -> ColmapPoints:
    pairs = numpy.concatenate(seen) if seen else numpy.empty((0, 2))
    return ColmapPoints(numpy.array(position).reshape(-1, 3), numpy.array(error), pairs.astype(numpy.int64))


def _lines(file: Path) -> Iterator[tuple[str, str]]:
    """Yields (file and line number, line) of a text file without its comments; empty lines are kept."""
    try:
        text = _contents(file).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = error.object.count(b"\n", 0, error.start) + 1
        raise InputError(f"{file}: line {line}: not UTF-8; save the file as UTF-8 text") from None
    for number, line in enumerate(text.replace("\r\n", "\n").replace("\r", "\n").split("\n"), 1):
        if not line.startswith("#"):
            yield f"{file}: line {number}", line.strip()


def _words(types: list[Callable], line: str, where: str) -> list:
    """Returns the words of a line as values of `types`; the last type stands for all that are left."""
    words = line.split()
    if len(words) < len(types):
        raise InputError(f"{where}: expected {len(types)} values or more, found {len(words)}")

    types = types + [types[-1]] * (len(words) - len(types))
    try:
        return [convert(word) for convert, word in zip(types, words)]
    except ValueError:
        raise InputError(f'{where}: "{line[:60]}" has a word that is not a number') from None


def _whole(word: str) -> int:
    """Returns a whole number of 64 bits.

    Raises:
        ValueError: it is none.
    """
    number = int(word)
    if not -(2**63) <= number < 2**63:
        raise ValueError
    return number


def _text_cameras(file: Path) -> dict[int, ColmapCamera]:
    cameras = {}
    for where, line in _lines(file):
        if line:
            number, model, width, height, *values = _words([_whole, str, _whole, _whole, float], line, where)
            cameras[number] = camera_of(model, (width, height), tuple(values), where)
    return cameras


def _text_images(file: Path) -> dict[int, ColmapImage]:
    images = {}
    points_next = False  # whether the line may be the points of the picture before it, which some writers leave out
    for where, line in _lines(file):
        if not line or (points_next and _is_points(line.split(), where)):
            points_next = False
            continue

        *head, name = [*line.split(maxsplit=9), *[""] * 9][:10]  # the name may have spaces
        if not name:
            raise InputError(f"{where}: expected a number, a pose of 7 numbers, a camera and a name")
        number, *pose, camera = _words([_whole, *[float] * 7, _whole], " ".join(head), where)
        if number in images:
            raise InputError(f"{where}: picture number {number} is there twice; give each picture its own")
        images[number] = ColmapImage(name, camera, pose_of(pose[:4], pose[4:], where))
        points_next = True
    return images


def _is_points(words: list[str], where: str) -> bool:
    """Returns whether a line after a picture's has its points, triples of numbers, and not the next picture.

    Raises:
        InputError: it can be neither.
    """
    if len(words) >= 10 and (len(words) % 3 or not _is_number(float, words[9])):
        return False
    if len(words) % 3 or not all(_is_number(int, word) for word in words[2:9:3]):
        raise InputError(
            f"{where}: neither the points of the picture before it (x, y, number) nor a picture with a name"
        )
    return True


def _is_number(convert: Callable, word: str) -> bool:
    try:
        convert(word)
    except ValueError:
        return False
    return True


def _text_points(file: Path) -> ColmapPoints:
    position = []
    error = []
    seen = []
    for where, line in _lines(file):
        if line:
            seen_in = [_whole] * (len(line.split()) - 8)
            values = _words([_whole, *[float] * 3, *[_whole] * 3, float, *seen_in], line, where)
            images = numpy.array(values[8::2], dtype=numpy.int64)
            seen.append(numpy.stack([numpy.full(len(images), len(position)), images], axis=1))
            position.append(values[1:4])
            error.append(values[7])
    return _points(position, error, seen)


READERS = {
    ".bin": (_binary_cameras, _binary_images, _binary_points),
    ".txt": (_text_cameras, _text_images, _text_points),
}


def model_suffix(folder: Path) -> str | None:
    """Returns ``.bin`` or ``.txt`` if a folder holds a model in files of that suffix, else None."""
    for suffix in READERS:
        if all((folder / f"{name}{suffix}").is_file() for name in ("cameras", "images")):
            return suffix
    return None


def count_pictures(folder: Path) -> int:
    """Returns how many pictures a folder's model has; 0 if it is damaged, which reading it says."""
    suffix = model_suffix(folder) or ".bin"
    file = folder / f"images{suffix}"
    try:
        return _Bytes(file).count(73, "pictures") if suffix == ".bin" else len(_text_images(file))
    except InputError:
        return 0


def read_model(folder: Path) -> tuple[dict[int, ColmapCamera], dict[int, ColmapImage], ColmapPoints]:
    """Returns the cameras and images by their numbers, and the points, which may be missing.

    Raises:
        InputError: a file is damaged.
    """
    suffix = model_suffix(folder) or ".bin"
    cameras, images, points = READERS[suffix]
    file = folder / f"points3D{suffix}"
    found = points(file) if file.is_file() else _points([], [], [])
    return cameras(folder / f"cameras{suffix}"), images(folder / f"images{suffix}"), found
