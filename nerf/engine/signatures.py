"""The engine's flat C interface for ctypes: every struct and every function, once.

The structs have one text, the C++ sources in ``src/``, where the meaning of every field stands; `fields` reads them.
Pointers to arrays are plain addresses; whoever fills them in keeps the tensors alive. This file needs the standard
library alone: ``build.py`` loads it by its path, because every library is told the `ABI` that it is built for.
"""

from __future__ import annotations

import ctypes
import hashlib
import keyword
import re
from collections.abc import Mapping
from ctypes import POINTER, Structure, c_char_p, c_double, c_float, c_int, c_int32, c_int64, c_uint64, c_void_p
from functools import cache
from pathlib import Path
from typing import Any

SOURCES = Path(__file__).parent / "src"
SCALARS: dict[str, type] = {
    "float": c_float,
    "double": c_double,
    "int32_t": c_int32,
    "int64_t": c_int64,
    "uint64_t": c_uint64,
}
# A type, its stars, and what is declared of it: names, some of them arrays.
DECLARATION = re.compile(r"\s*(\w+)([*\s]+)((?:\w+(?:\[\w+\])?(?:,\s*|\s*$))+)")


@cache
def _text() -> str:
    """Returns the sources without their comments."""
    files = sorted(file for pattern in ("*.h", "*.cpp", "cuda/*.h") for file in SOURCES.glob(pattern))
    return re.sub("//.*", "", "\n".join(file.read_text(encoding="utf-8") for file in files))


@cache
def _bodies() -> dict[str, list[str]]:
    """Returns what stands between the braces of every struct and enum, by its name."""
    found: dict[str, list[str]] = {}
    for name, body in re.findall(r"(?:struct|enum) (\w+)[^;{]*{(.*?)};", _text(), re.DOTALL):
        found.setdefault(name, []).append(body)
    return found


def _body(name: str) -> str:
    """Returns what stands between the braces of a struct or an enum.

    Raises:
        ValueError: the sources do not declare it, or declare it twice.
    """
    found = _bodies().get(name, [])
    if len(found) != 1:
        raise ValueError(f"{SOURCES}: {len(found)} declarations of {name}, expected one")
    return found[0]


def number(name: str) -> int:
    """Returns a whole number that the sources name: ``constexpr int NAME = 4``, or a sum of such names.

    Raises:
        ValueError: none has that name, or several have.
    """
    found = re.findall(rf"\b{name} = ([\w +]+)[,;]", _text())
    if len(found) != 1:
        raise ValueError(f"{SOURCES}: {len(found)} numbers named {name}, expected one")
    return sum(int(term) if term.isdigit() else number(term) for term in found[0].split(" + "))


def enumerators(name: str) -> list[str]:
    """Returns the names of an enum, in their order, in small letters; they count from 0."""
    return [part.partition("=")[0].strip().lower() for part in _body(name).split(",")]


def fields(
    name: str, *parts: type[Structure], real: type = c_float, lengths: Mapping[str, int] | None = None
) -> list[tuple[str, type]]:
    """Returns ctypes' fields of a C++ struct, which come before its functions.

    parts: the structs that it holds, or points at one by one. real: what a template's T stands for. lengths: of arrays,
    by names that `number` does not find. A field named like a word of Python takes an underscore.

    Raises:
        ValueError: there is no such struct, or a field is of a type that is not known here.
    """
    types = SCALARS | {"T": real} | {part.__name__: part for part in parts}
    found: list[tuple[str, type]] = []
    for declaration in _body(name).split(";"):
        if "(" in declaration or not declaration.strip():
            break
        match = DECLARATION.fullmatch(re.sub(r"\bconst\b|<\w+>", "", declaration))
        kind = _kind(match[1], match[2].count("*"), types) if match else None
        if match is None or kind is None:
            raise ValueError(f"{SOURCES}: struct {name}: cannot read {' '.join(declaration.split())}")
        for declared, length in re.findall(r"(\w+)(?:\[(\w+)\])?", match[3]):
            found.append((_python_name(declared), _array(kind, length, lengths or {})))
    return found


def _kind(name: str, stars: int, types: dict[str, type]) -> type | None:
    kind = types.get(name)
    if stars == 0:
        return kind
    return POINTER(kind) if stars == 1 and kind is not None and issubclass(kind, Structure) else c_void_p


def _array(kind: Any, length: str, lengths: Mapping[str, int]) -> type:
    if not length:
        return kind
    return kind * (int(length) if length.isdigit() else lengths[length] if length in lengths else number(length))


def _python_name(name: str) -> str:
    return f"{name}_" if keyword.iskeyword(name) else name


@cache
def limits(kind: Any) -> tuple[int, int] | None:
    """Returns the least and the greatest number that a ctypes integer type holds; None for what is no such type."""
    if kind not in (c_int, c_int32, c_int64, c_uint64):
        return None
    bits = 8 * ctypes.sizeof(kind)
    return (0, 2**bits - 1) if kind(-1).value > 0 else (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1)


def check_fits(name: str, kind: Any, value: object) -> None:
    """Raises ValueError if a value is an integer that ctypes would cut to fit the type."""
    held = limits(kind)
    if held and isinstance(value, int) and not held[0] <= value <= held[1]:
        raise ValueError(f"{name}: {value} is not in {held[0]} .. {held[1]}")


class Struct(Structure):
    """A ctypes struct that refuses what ctypes would take in silence: integers that do not fit, names of no field."""

    def __setattr__(self, name: str, value: object) -> None:
        """Sets a field, as the constructor does with each.

        Raises:
            AttributeError: there is no such field.
            ValueError: an integer does not fit.
        """
        kind = _kinds(type(self)).get(name)
        if kind is None:
            raise AttributeError(f"{type(self).__name__} has no field {name}")
        check_fits(f"{type(self).__name__}.{name}", kind, value)
        super().__setattr__(name, value)


@cache
def _kinds(struct: type[Structure]) -> dict[str, Any]:
    """Returns the types of a struct's fields by their names, those of its anonymous parts among them."""
    kinds = {field[0]: field[1] for field in struct._fields_}
    for part in getattr(struct, "_anonymous_", ()):
        kinds |= _kinds(kinds[part])
    return kinds


MOST_LEVELS = number("MOST_LEVELS")
DENSITY_LAYERS = number("DENSITY_LAYERS")
MOST_COLOR_LAYERS = number("MOST_COLOR_LAYERS")
LARGEST_CODE = number("LARGEST_CODE")
BACKGROUNDS = {name: index for index, name in enumerate(enumerators("Background"))}
STAGES = tuple(enumerators("Stage")[:-1])  # the last counts them


class Level(Struct):
    """One level of the grid, see `nerf.ops.hash_grid.Level`."""

    _fields_ = fields("Level")


class FieldShape(Struct):
    """The sizes of a radiance field."""

    _fields_ = fields("FieldShape", Level)


class Parameters(Struct):
    """Where the parameters of a field are, or things of their shapes."""

    _fields_ = fields("Parameters")


class OccupancyArrays(Struct):
    """Where the arrays of an occupancy grid are."""

    _fields_ = fields("OccupancyArrays")


class RadianceSpec(Struct):
    """A model: its sizes, its arrays and its scene box."""

    _fields_ = fields("RadianceSpec", FieldShape, Parameters, OccupancyArrays)


class Pixels(Struct):
    """Training pictures, their cameras, and the pixels that may be drawn."""

    _fields_ = fields("Pixels")


class DrawnRays(Struct):
    """Where drawn rays go."""

    _fields_ = fields("DrawnRays")


class RayRecords(Struct):
    """Where a step writes what each of its rays was and did."""

    _fields_ = fields("RayRecords")


class StepCall(Struct):
    """One training step, or one half of it."""

    _fields_ = fields("StepCall", Pixels, Parameters, RayRecords)


class StepReport(Struct):
    """What a training step did; seconds by stage, of all threads together. On CUDA nobody counts `reached`."""

    _fields_ = fields("StepReport", lengths={"N_STAGES": len(STAGES)})


class OccupancyCall(Struct):
    """One update of the occupancy grid."""

    _fields_ = fields("OccupancyCall")


class RenderCall(Struct):
    """Rays to render, and where their colours go; or, backward, the gradients by their colours."""

    _fields_ = fields("RenderCall")


class RenderGradients(Struct):
    """Where the gradients of a rendering go, arrays of zeros; null where they are not wanted."""

    _fields_ = fields("RenderGradients", Parameters)


class BakedScene(Struct):
    """A baked model."""

    _fields_ = fields("BakedScene")


class BakedCall(Struct):
    """A camera to render a baked model by, and where its picture goes."""

    _fields_ = fields("BakedCall", Pixels)


class SurfaceCall(Struct):
    """Rays whose surface is sought, and where the distances go."""

    _fields_ = fields("SurfaceCall")


class HashGridCall(Struct):
    """Positions to encode, or the gradients by their features."""

    _fields_ = fields("HashGridCall", Level)


class MlpCall(Struct):
    """Inputs of a multilayer perceptron, or the gradients by its outputs."""

    _fields_ = fields("MlpCall")


class HarmonicsCall(Struct):
    """Directions to expand, or the gradients by their harmonics."""

    _fields_ = fields("HarmonicsCall")


class MarchCallFloat(Struct):
    """Rays to march, in float."""

    _fields_ = fields("MarchCall", real=c_float)


class MarchCallDouble(Struct):
    """Rays to march, in double."""

    _fields_ = fields("MarchCall", real=c_double)


class SplatArrays(Struct):
    """Where splats are, or the gradients by them."""

    _fields_ = fields("SplatArrays")


class SplatCall(Struct):
    """The picture that one camera sees of splats; or, backward, the gradients by the splats."""

    _fields_ = fields("SplatCall", SplatArrays)


class StereoCall(Struct):
    """Pictures whose depths are sought, and where they go."""

    _fields_ = fields("StereoCall")


class SightViews(Struct):
    """What cameras see."""

    _fields_ = fields("SightViews")


class FusionCall(Struct):
    """Points of which all cameras are asked, and where the mean of what they say goes."""

    _fields_ = fields("FusionCall", SightViews)


class WitnessCall(Struct):
    """Points that enough cameras are to see, and where it goes whether they do."""

    _fields_ = fields("WitnessCall", SightViews)


class BestViewsCall(Struct):
    """Points of a surface, and where it goes which cameras see them best."""

    _fields_ = fields("BestViewsCall", SightViews)


class CompositeCall(Struct):
    """Samples to composite, or the gradients by their pixels."""

    _fields_ = fields("CompositeCall")


# name -> (what it returns, what it takes). A function that returns c_int returns 0 unless it failed.
FUNCTIONS: dict[str, tuple[type | None, tuple[type, ...]]] = {
    "nerf_abi": (c_char_p, ()),
    "nerf_last_error": (c_char_p, ()),
    "nerf_processor_has": (c_int, (c_char_p,)),
    "nerf_draw": (c_int, (POINTER(Pixels), c_uint64, c_int64, c_int64, POINTER(DrawnRays))),
    "nerf_radiance_new": (c_void_p, (POINTER(RadianceSpec),)),
    "nerf_radiance_free": (None, (c_void_p,)),
    "nerf_radiance_refresh": (c_int, (c_void_p, c_int)),
    "nerf_radiance_step": (c_int, (c_void_p, POINTER(StepCall), POINTER(StepReport))),
    "nerf_radiance_descend": (c_int, (c_void_p, POINTER(StepCall))),
    "nerf_radiance_update_occupancy": (c_int, (c_void_p, POINTER(OccupancyCall))),
    "nerf_radiance_render": (c_int, (c_void_p, POINTER(RenderCall))),
    "nerf_radiance_render_vjp": (c_int, (c_void_p, POINTER(RenderCall), POINTER(RenderGradients))),
    "nerf_radiance_surface": (c_int, (c_void_p, POINTER(SurfaceCall))),
    "nerf_radiance_density": (c_int, (c_void_p, c_void_p, c_int64, c_void_p, c_int)),
    "nerf_splats": (c_int, (POINTER(SplatCall),)),
    "nerf_stereo": (c_int, (POINTER(StereoCall),)),
    "nerf_fuse": (c_int, (POINTER(FusionCall),)),
    "nerf_find_best_views": (c_int, (POINTER(BestViewsCall),)),
    "nerf_find_witnesses": (c_int, (POINTER(WitnessCall),)),
    "nerf_baked_render": (c_int, (POINTER(BakedScene), POINTER(BakedCall))),
    "nerf_hash_grid_float": (c_int, (POINTER(HashGridCall),)),
    "nerf_hash_grid_double": (c_int, (POINTER(HashGridCall),)),
    "nerf_mlp_float": (c_int, (POINTER(MlpCall), c_int)),
    "nerf_mlp_double": (c_int, (POINTER(MlpCall), c_int)),
    "nerf_march_float": (c_int, (POINTER(MarchCallFloat),)),
    "nerf_march_double": (c_int, (POINTER(MarchCallDouble),)),
    "nerf_composite_float": (c_int, (POINTER(CompositeCall), c_int)),
    "nerf_composite_double": (c_int, (POINTER(CompositeCall), c_int)),
    "nerf_spherical_harmonics_float": (c_int, (POINTER(HarmonicsCall),)),
    "nerf_spherical_harmonics_double": (c_int, (POINTER(HarmonicsCall),)),
}


def _abi() -> str:
    """Returns a hash of all structs, as they lie in memory, of all functions and of the numbers that have names."""
    lines = [
        f"{name} {kind and kind.__name__} {[part.__name__ for part in taken]}"
        for name, (kind, taken) in FUNCTIONS.items()
    ]
    structs = [kind for kind in globals().values() if isinstance(kind, type) and hasattr(kind, "_fields_")]
    for struct in structs:
        layout = [(name, kind.__name__, getattr(struct, name).offset) for name, kind in struct._fields_]
        lines.append(f"{struct.__name__} {ctypes.sizeof(struct)} {layout}")
    text = "\n".join([*lines, repr(BACKGROUNDS), repr(STAGES)])
    return hashlib.sha256(text.encode()).hexdigest()[:16]


# What Python and a library must agree on before a function may be called.
ABI = _abi()
