"""Damage: small inputs of every kind, and what can be wrong with a stranger's copy of them.

`write_originals` makes the inputs. `SUBJECTS` are commands upon them. `damaged` changes a copy by random numbers.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import random
import re
import shutil
import struct
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy

STEPS = 3  # of a training
SMALL_RUN = (
    *("field.levels=3", "field.log2_table_size=9", "field.finest_resolution=32", "field.density_width=16"),
    *("field.color_width=16", "render.steps=32", "render.first_steps=32", "render.occupancy_resolution=16"),
    *("train.samples=512", "train.preview_seconds=0", "output.video=", "output.mesh="),
)
SMALL_FIT = ("field.levels=3", "field.log2_table_size=9", "train.samples=256", "field.width=16", "optimizer.horizon=9")


@dataclass(frozen=True)
class Subject:
    """A command upon an input."""

    name: str
    inputs: tuple[str, ...]  # of the originals, that it is given copies of
    words: Callable[[Path, Path], list[object]]  # of the command, by the folders of the inputs and of the outputs
    written: tuple[str, ...] = ()  # inputs that it may write into


def _train(scene: str) -> Subject:
    def words(given: Path, out: Path) -> list[object]:
        return ["train", "--scene", given / scene, "--out", out / "run", "--steps", STEPS, *SMALL_RUN]

    return Subject(f"train {scene}", (scene,), words, (scene,) if scene == "photographs" else ())


def _check(scene: str) -> Subject:
    return Subject(f"check {scene}", (scene,), lambda given, out: ["check", given / scene, "--out", out / "page.html"])


def _fit(kind: str, file: str, *more: str) -> Subject:
    def words(given: Path, out: Path) -> list[object]:
        steps = ["--steps", STEPS, *SMALL_FIT, *more]
        return ["fit", kind, given / "signals" / file, "--out", out / "run", *steps]

    return Subject(f"fit {kind} {file}", (f"signals/{file}",), words)


def _of_run(name: str, *options: str, inputs: tuple[str, ...] = ("run",)) -> Subject:
    """Returns a command upon a run folder; in its options IN and OUT stand for the folders."""

    def words(given: Path, out: Path) -> list[object]:
        places = {"IN": str(given), "OUT": str(out)}
        return [re.sub("IN|OUT", lambda match: places[match[0]], option) for option in options]

    written = ("run",) if name.startswith(("evaluate", "resume")) else ("fitted",) if "refit" in name else ()
    return Subject(name, inputs, words, written)


FORMATS = ("blender", "transforms", "colmap", "colmap_text", "llff")
_FILM = ("--frames", "2", "--size", "12x10")
SUBJECTS = (
    *(_train(scene) for scene in FORMATS),
    *(_check(scene) for scene in FORMATS),
    _fit("image", "picture.png"),
    _fit("image", "picture.jpg"),
    _fit("image", "picture.tif"),
    _fit("audio", "sound.wav"),
    _fit("tomography", "slice.npy", "tomography.views=6", "tomography.sart_iterations=2"),
    _fit("tomography", "scan.nii", "tomography.views=6", "tomography.sart_iterations=2"),
    _fit("mri", "scan.nii.gz"),
    _fit("sdf", "shape.obj"),
    _fit("sdf", "shape.ply"),
    _fit("sdf", "points.ply"),
    _fit("sdf", "points.pcd"),
    _fit("image", "light.exr"),
    _fit("tomography", "slice.dcm", "tomography.views=6", "tomography.sart_iterations=2"),
    _fit("tomography", "sinogram.npz", "tomography.sart_iterations=2"),
    _fit("video", "film.mp4"),
    Subject(
        "compress",
        ("signals/picture.png",),
        lambda given, out: ["compress", given / "signals" / "picture.png", "--out", out / "a.nrfp", "--bpp", 4],
    ),
    Subject(
        "decode a compressed picture",
        ("signals/picture.nrfp",),
        lambda given, out: ["decode", given / "signals" / "picture.nrfp", "--out", out / "a.png"],
    ),
    Subject("decode", ("fitted",), lambda given, out: ["decode", given / "fitted", "--out", out / "a.png"]),
    _of_run(
        "refit", "fit", "image", "IN/signals/picture.png", "--out", "IN/fitted", "--resume", "--steps", "6",
        inputs=("fitted", "signals/picture.png"),
    ),
    _of_run("render", "render", "IN/run", "--out", "OUT/film", *_FILM),
    _of_run("render a preview", "render", "IN/run", "--out", "OUT/film", "--preview", *_FILM),
    _of_run(
        "render along keys", "render", "IN/run", "--out", "OUT/film", "--path", "keys", "--keys", "IN/keys.json",
        *_FILM, inputs=("run", "keys.json"),
    ),
    _of_run(
        "export", "export", "IN/run", "--mesh", "OUT/a.ply", "--resolution", "16", "--points", "OUT/points.ply",
        "--count", "50", "--cameras", "OUT/cameras", "--depth", "OUT/depth",
    ),
    _of_run("evaluate", "evaluate", "IN/run", "--scene", "IN/blender", inputs=("run", "blender")),
    _of_run("evaluate by the record", "evaluate", "IN/run"),
    _of_run(
        "resume", "train", "--scene", "IN/blender", "--out", "IN/run", "--resume", "--steps", "6",
        inputs=("run", "blender"),
    ),
)  # fmt: skip


def write_originals(folder: Path) -> None:
    """Writes small inputs of every kind that `SUBJECTS` name, whole ones, into a new folder."""
    from tests.conftest import write_ball_scene
    from tests.scenes import photo_folder

    write_ball_scene(folder / "blender", size=16, views=4)
    for name, write in {
        "transforms": photo_folder.write_transforms,
        "colmap": lambda scene: photo_folder.write_binary(scene / "sparse" / "0"),
        "colmap_text": lambda scene: photo_folder.write_text(scene / "sparse" / "0"),
        "llff": photo_folder.write_llff,
    }.items():
        photo_folder.write_pictures(folder / name / "images")
        write(folder / name)
    for picture in (folder / "llff" / "images" / "sub").iterdir():  # LLFF knows no folders in folders
        picture.rename(folder / "llff" / "images" / picture.name)
    _write_signals(folder / "signals")

    words = ["train", "--scene", folder / "blender", "--out", folder / "run", "--steps", STEPS, *SMALL_RUN]
    _run(words)
    fit = ["fit", "image", folder / "signals" / "picture.png", "--out", folder / "fitted", "--steps", STEPS, *SMALL_FIT]
    _run(fit)
    nrfp = folder / "signals" / "picture.nrfp"
    _run(["compress", folder / "signals" / "picture.png", "--out", nrfp, "--bpp", 4])
    keys = [{"eye": [2, 0, 1], "target": [0, 0, 0]}, {"eye": [0, 2, 1], "target": [0, 0, 0], "focal": [9, 9]}]
    (folder / "keys.json").write_text(json.dumps({"height": 12, "frames": keys}))


def _run(words: list[object]) -> None:
    from nerf.cli.main import main

    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()) as told:
        status = main([str(word) for word in words])
    assert status == 0, f"{words}: {told.getvalue()}"


def _write_signals(folder: Path) -> None:
    """Writes small signals: pictures, a sound, scans and shapes."""
    import nibabel
    import trimesh
    from PIL import Image
    from scipy.io import wavfile

    folder.mkdir()
    source = numpy.random.default_rng(0)
    row, column = numpy.mgrid[:40, :36]
    picture = numpy.stack([row * 6 % 256, column * 7 % 256, (row + column) % 256], -1).astype(numpy.uint8)
    for suffix in ("png", "jpg", "tif"):
        Image.fromarray(picture).save(folder / f"picture.{suffix}")
    wavfile.write(folder / "sound.wav", 8000, (numpy.sin(numpy.arange(600) / 5) * 9000).astype(numpy.int16))
    grid = numpy.linalg.norm(numpy.mgrid[-8:8, -8:8, -2:2], axis=0)
    scan = nibabel.nifti1.Nifti1Image((grid < 6).astype(numpy.float32), numpy.eye(4))
    nibabel.loadsave.save(scan, folder / "scan.nii")
    nibabel.loadsave.save(scan, folder / "scan.nii.gz")
    numpy.save(folder / "slice.npy", (grid[:, :, 0] < 6) * 0.02)
    ball = trimesh.creation.icosphere(subdivisions=1, radius=0.5)
    ball.export(folder / "shape.obj")
    ball.export(folder / "shape.ply")
    normals = source.normal(size=(80, 3))
    normals /= numpy.linalg.norm(normals, axis=1, keepdims=True)
    head = "\n".join(
        [
            "ply",
            "format ascii 1.0",
            "element vertex 80",
            *(f"property float {c}" for c in ("x", "y", "z", "nx", "ny", "nz")),
        ]
    )
    rows = "\n".join(" ".join(f"{value:.4f}" for value in (*normal * 0.5, *normal)) for normal in normals)
    (folder / "points.ply").write_text(f"{head}\nend_header\n{rows}\n")
    head = "FIELDS x y z normal_x normal_y normal_z\nSIZE 4 4 4 4 4 4\nTYPE F F F F F F\nCOUNT 1 1 1 1 1 1"
    (folder / "points.pcd").write_text(f"VERSION .7\n{head}\nWIDTH 80\nHEIGHT 1\nPOINTS 80\nDATA ascii\n{rows}\n")
    _write_light_film_and_scans(folder)


def _write_light_film_and_scans(folder: Path) -> None:
    """Writes small signals whose readers are others' libraries: linear light, a film, a DICOM slice and a sinogram."""
    import torch
    from imageio_ffmpeg import write_frames

    from nerf.signals.files.pictures import write_float_picture
    from tests.signals.files.test_voxels import write_slice

    write_float_picture(folder / "light.exr", torch.linspace(0, 9, 12 * 20 * 3).reshape(12, 20, 3), hdr=True)
    film = write_frames(str(folder / "film.mp4"), (32, 32), fps=10, macro_block_size=16)
    film.send(None)
    for frame in range(5):
        film.send(numpy.full((32, 32, 3), 50 * frame, numpy.uint8).tobytes())
    film.close()
    disc = numpy.hypot(*numpy.mgrid[-4:5, -4:4]) < 3
    write_slice(folder / "slice.dcm", 0.0, disc * 500 + 12, RescaleSlope=2, PixelSpacing=[2, 2])
    chord = numpy.maximum(0, 16 - (numpy.arange(9) - 4.0) ** 2) ** 0.5 * 0.04
    numpy.savez(folder / "sinogram.npz", sinogram=numpy.tile(chord, (6, 1)), angles=numpy.arange(6) * 30.0)


# What stands for a number, in files of text, of JSON and of YAML; and for anything in JSON.
NUMBERS = (
    *("0", "-1", "1", "-0", "1e-30", "1e30", "1e300", "-1e39", "1e400", "nan", "NaN", "inf", "-Infinity", "2147483648"),
    *("-2147483649", "4294967295", "9223372036854775808", "65536", "1" + "0" * 30, "9" * 5000, "0x10", "1e", "1_0", ""),
)
VALUES: tuple[Any, ...] = (
    *(None, True, False, 0, -1, 2, 0.5, 1e30, -1e300, 10**25, 2**31, 2**63, float("nan"), float("inf"), "", "x", "7"),
    *([], {}, [[]], [1], ["x"], [None] * 3, {"x": 1}, [[1, 2, 3]] * 3, "a" * 5000, "../../x", "/etc/passwd", "\x1b[2J"),
    *("a\nnerf: error: faked", "\udcff", "\ud800", "a\0b", "https://localhost/x", "-x", "é"),
)
BYTES = (
    *(b"\0\0\0\0", b"\xff\xff\xff\xff", b"\xff\xff\xff\x7f", b"\0\0\0\x80", b"\x01\0\0\0", b"\0" * 8, b"\xff" * 8),
    *(struct.pack("<d", value) for value in (float("nan"), float("inf"), -1e300, 1e30, -1.0)),
    *(struct.pack("<f", value) for value in (float("nan"), float("-inf"), 1e30)),
    *(struct.pack("<Q", 2**value) for value in (31, 32, 40, 62, 63)),
    *(struct.pack(">I", value) for value in (2**31 - 1, 2**31, 2**16, 0)),
)
NAMES = ("a\x1b[2Jb.png", "a\nnerf: error: faked", "-x.png", "é\u202e.png", "con", "a b", "x" * 200, "r_0.PNG")


def damaged(folder: Path, outside: Path, chance: random.Random) -> list[str]:
    """Damages the files in a folder, and returns what was done, in words.

    outside: a folder that is nobody's business, to which links are made.
    """
    done = []
    for _ in range(chance.choice((1, 1, 1, 2, 3))):
        files = sorted(path for path in folder.rglob("*") if path.is_file() and not path.is_symlink())
        if not files:
            break
        # Files that say how others are to be understood are worth more than their number.
        telling = [file for file in files if file.suffix not in (".png", ".html", ".jsonl")] or files
        file = chance.choice(telling if chance.random() < 0.75 else files)
        kinds = [*ANY_FILE, *(kind for suffixes, kind in BY_SUFFIX for _ in range(4) if file.name.endswith(suffixes))]
        kind = chance.choice(kinds)
        name = file.relative_to(folder)
        told = kind(file, chance, outside)
        done.append(f"{kind.__name__} {str(name)!r}{f' ({told})' if told else ''}")
    return done


def cut(file: Path, chance: random.Random, outside: Path) -> str:
    data = file.read_bytes()
    size = chance.randrange(len(data) + 1)
    file.write_bytes(data[:size])
    return f"to {size} of {len(data)} bytes"


def emptied(file: Path, chance: random.Random, outside: Path) -> None:
    file.write_bytes(b"")


def flipped(file: Path, chance: random.Random, outside: Path) -> str:
    data = bytearray(file.read_bytes())
    places = [chance.randrange(len(data)) for _ in range(chance.choice((1, 3, 20)))] if data else []
    for place in places:
        data[place] ^= 1 << chance.randrange(8)
    file.write_bytes(data)
    return f"{len(places)} bits"


def overwritten(file: Path, chance: random.Random, outside: Path) -> str:
    data = bytearray(file.read_bytes())
    value = chance.choice(BYTES)
    place = chance.randrange(min(len(data), 400) + 1) & ~3 if chance.random() < 0.7 else chance.randrange(len(data) + 1)
    data[place : place + len(value)] = value
    file.write_bytes(data)
    return f"{value.hex()} at {place}"


def grown(file: Path, chance: random.Random, outside: Path) -> None:
    data = file.read_bytes()
    place = chance.randrange(len(data) + 1)
    more = chance.choice((chance.randbytes(40), b"\0" * 5000, data[:3000], b"[" * 100000, "é\ufeff\u2028".encode()))
    file.write_bytes(data[:place] + more + data[place:])


def missing(file: Path, chance: random.Random, outside: Path) -> None:
    file.unlink()


def renamed(file: Path, chance: random.Random, outside: Path) -> str:
    new = chance.choice(NAMES)
    file.rename(file.with_name(new))
    return f"to {new!r}"


def doubled(file: Path, chance: random.Random, outside: Path) -> None:
    shutil.copyfile(file, file.with_name(f"{file.stem}_2{file.suffix}"))


def swapped(file: Path, chance: random.Random, outside: Path) -> str:
    others = sorted(path for path in file.parent.rglob("*") if path.is_file() and not path.is_symlink())
    other = chance.choice(others)
    data = file.read_bytes()
    file.write_bytes(other.read_bytes())
    other.write_bytes(data)
    return f"with {other.name!r}"


def linked(file: Path, chance: random.Random, outside: Path) -> str:
    target = chance.choice((outside / "secret", outside, file, Path("none"), Path("/dev/zero"), Path("/dev/null")))
    place = file.parent if target == outside and len(file.relative_to(outside.parent).parts) > 3 else file
    if place.is_dir():
        shutil.rmtree(place)
    else:
        place.unlink()
    place.symlink_to(target)
    return f"{place.name!r} to {target.name!r}"


def made_a_folder(file: Path, chance: random.Random, outside: Path) -> None:
    file.unlink()
    file.mkdir()


def made_a_pipe(file: Path, chance: random.Random, outside: Path) -> None:
    file.unlink()
    os.mkfifo(file)


def unreadable_bytes(file: Path, chance: random.Random, outside: Path) -> None:
    file.write_bytes(chance.randbytes(chance.choice((1, 100, 5000))))


ANY_FILE = (
    *(cut, cut, emptied, flipped, flipped, overwritten, grown, missing, renamed, doubled, swapped, linked),
    *(made_a_folder, made_a_pipe, unreadable_bytes),
)


def number_replaced(file: Path, chance: random.Random, outside: Path) -> str:
    text = file.read_text(errors="replace")
    found = list(re.finditer(r"-?\d+(\.\d*)?([eE][-+]?\d+)?", text))
    if not found:
        return "no number"
    for match in sorted(chance.sample(found, min(len(found), chance.choice((1, 1, 3)))), key=lambda m: -m.start()):
        number = chance.choice(NUMBERS)
        text = text[: match.start()] + number + text[match.end() :]
    file.write_text(text, errors="replace")
    return f"the last by {number[:20]!r}"


def line_changed(file: Path, chance: random.Random, outside: Path) -> None:
    lines = file.read_text(errors="replace").split("\n")
    place = chance.randrange(len(lines))
    kind = chance.randrange(4)
    if kind == 0:
        del lines[place]
    elif kind == 1:
        lines.insert(place, chance.choice(lines))
    elif kind == 2:
        lines[place] = " ".join(chance.sample(lines[place].split(), len(lines[place].split())))
    else:
        lines[place] = lines[place].replace(" ", chance.choice(("", "\t", ",", "\n")))
    file.write_text("\n".join(lines), errors="replace")


def _places(tree: Any, depth: int = 0) -> Iterator[tuple[Any, Any]]:
    """Yields (container, key) of everything in a tree; of long lists some."""
    if isinstance(tree, (dict, list)):
        keys = list(tree) if isinstance(tree, dict) else range(len(tree))
        for key in keys:
            yield tree, key
            yield from _places(tree[key], depth + 1)


def _tree_changed(tree: Any, chance: random.Random) -> tuple[Any, str]:
    """Returns a tree in which one place is something else, and what was done."""
    places = list(_places(tree))
    shallow = [place for place in places if isinstance(place[0], dict)] or places
    if not places:
        return chance.choice(VALUES), "whole"
    holder, key = chance.choice(shallow if chance.random() < 0.7 else places)
    kind = chance.randrange(6)
    if kind == 0:
        del holder[key]
        return tree, f"without {key!r}"
    if kind == 1:
        other_holder, other = chance.choice(places)
        if key in (holder if isinstance(holder, dict) else range(len(holder))):
            holder[key] = json.loads(json.dumps(other_holder[other]))
        return tree, f"{key!r} as {other!r}"
    if kind == 2 and isinstance(holder, dict):
        holder[chance.choice(("x", "", "a\nb", "\x1b]0;x\x07", key.upper(), key[:-1]))] = holder.pop(key)
        return tree, f"{key!r} renamed"
    if kind == 3 and isinstance(holder[key], list):
        holder[key] = chance.choice((holder[key][:-1], holder[key] * 2, [holder[key]], [], holder[key][::-1]))
        return tree, f"{key!r} of another length"
    holder[key] = chance.choice(VALUES)
    return tree, f"{key!r} is {str(holder[key])[:30]!r}"


def tree_changed(file: Path, chance: random.Random, outside: Path) -> str:
    import yaml

    text = file.read_text(errors="replace")
    is_yaml = file.suffix == ".yaml"
    try:
        tree = yaml.safe_load(text) if is_yaml else json.loads(text)
    except (ValueError, yaml.YAMLError, RecursionError):
        return "not a tree any more"
    if "*a8" in text:
        return "a tree too large to change"
    tree, told = _tree_changed(tree, chance)
    file.write_text(json.dumps(tree), errors="replace")  # JSON is YAML, nearly
    return told


def nested(file: Path, chance: random.Random, outside: Path) -> str:
    depth = chance.choice((200, 2000, 100000))
    text = file.read_text(errors="replace")
    numbers = list(re.finditer(r"-?\d+\.\d+|\d+", text))
    deep = "[" * depth + "]" * depth if chance.random() < 0.5 else '{"a":' * depth + "1" + "}" * depth
    match = chance.choice(numbers) if numbers else None
    file.write_text(text[: match.start()] + deep + text[match.end() :] if match else deep, errors="replace")
    return f"{depth} deep"


def aliased(file: Path, chance: random.Random, outside: Path) -> None:
    rows = ["a0: &a0 [x, x, x, x, x, x, x, x, x]"]
    rows += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 9)]
    file.write_text("\n".join([*rows, "field:", "  levels: *a8", ""]))


def tensor_changed(file: Path, chance: random.Random, outside: Path) -> str:
    """Changes a tensor or a fact of a checkpoint that stays a whole safetensors file."""
    import torch
    from safetensors import SafetensorError, safe_open
    from safetensors.torch import save_file

    try:
        with safe_open(file, framework="pt") as read:
            header = dict(read.metadata() or {})
            tensors = {name: read.get_tensor(name) for name in read.keys()}  # noqa: SIM118
    except (SafetensorError, OSError):
        return "not a checkpoint any more"
    name = chance.choice(sorted(tensors))
    value = tensors[name]
    kind = chance.randrange(6)
    if kind == 0:
        facts, told = _tree_changed(json.loads(header["facts"]), chance)
        header["facts"] = json.dumps(facts)
        name = f"facts: {told}"
    elif kind == 1:
        del tensors[name]
    elif kind == 2:
        tensors[name] = value.reshape(-1)[:-1] if value.numel() > 1 else torch.zeros(2)
    elif kind == 3:
        other = chance.choice((torch.float16, torch.float64, torch.int8, torch.int64, torch.bool, torch.complex64))
        tensors[name] = value.to(other)
    elif kind == 4:
        tensors[chance.choice(sorted(tensors))] = value.clone()
    else:
        changed = value.double()
        number = chance.choice((float("nan"), float("inf"), 0.0, -1.0, 1e30, 2.0**31, 1e-30, 2.0**62))
        if changed.numel():
            changed.view(-1)[chance.randrange(changed.numel())] = number
        tensors[name] = changed.to(value.dtype)
    save_file({key: tensor.contiguous().clone() for key, tensor in tensors.items()}, file, header)
    return f"{name}, kind {kind}"


def array_changed(file: Path, chance: random.Random, outside: Path) -> str:
    """Changes numbers, the shape or the type of an array that stays a whole .npy file."""
    try:
        values = numpy.load(file)
    except Exception:  # NumPy has an error of its own for every kind of damage
        return "not an array any more"
    kind = chance.randrange(5)
    numpy.seterr(all="ignore")
    if kind == 0 and values.size:
        values = values.astype(numpy.float64)
        values.flat[chance.randrange(values.size)] = chance.choice((numpy.nan, numpy.inf, -1e300, 1e30, 0, -1))
    elif kind == 1:
        values = values.astype(chance.choice(("f2", "i1", "u8", "c16", "S3", "?", ">f8")))
    elif kind == 2:
        values = chance.choice((values[:1], values[:0], values[None], values.reshape(-1), values.T, values[:, :-1]))
    elif kind == 3:
        values = values * chance.choice((0, -1, 1e30, 1e-30))
    else:
        values = numpy.zeros(chance.choice(((), (0,), (1, 1), (3, 0, 2), (2, 17), (2, 2, 2, 2))))
    numpy.save(file, values)
    return f"kind {kind}"


def header_changed(file: Path, chance: random.Random, outside: Path) -> str:
    """Changes a PNG's header and mends its check sum, as a hostile writer would."""
    data = bytearray(file.read_bytes())
    if len(data) < 33:
        return "no header any more"
    place = chance.choice((16, 20, 24, 25, 28))
    value = chance.choice((0, 1, 3, 6, 16, 255)) if place >= 24 else chance.choice((0, 1, 70000, 2**31 - 1, 2**32 - 1))
    data[place : place + (1 if place >= 24 else 4)] = value.to_bytes(1 if place >= 24 else 4, "big")
    data[29:33] = zlib.crc32(data[12:29]).to_bytes(4, "big")
    file.write_bytes(data)
    return f"{value} at {place}"


_TREES = (".json", ".yaml")
_TEXTS = (*_TREES, ".txt", ".obj", ".ply", ".pcd")
BY_SUFFIX = (
    (_TREES, tree_changed),
    (_TREES, tree_changed),
    (_TREES, nested),
    (_TEXTS, number_replaced),
    (_TEXTS, line_changed),
    ((".yaml",), aliased),
    ((".safetensors",), tensor_changed),
    ((".npy",), array_changed),
    ((".png",), header_changed),
    ((".bin", ".wav", ".nii", ".nrfp", ".safetensors", ".exr", ".dcm", ".npz", ".mp4"), overwritten),
)
