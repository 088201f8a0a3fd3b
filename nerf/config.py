"""Typed settings: frozen sections with defaults here, differences in YAML files and on the command line.

A setting is named ``section.name``. Later sources win: the defaults below, then the YAML file, then
the ``section.name=value`` arguments of the command line. Unknown names and values of the wrong type
are refused with the nearest right word; nothing is cast silently.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar, overload

from nerf.errors import InputError, nearest
from nerf.files import read_yaml
from nerf.text import short

STEPS_AROUND = 512  # of a march along the diagonal of the scene box
STEPS_ONE_WAY = 320  # the same, if all cameras face one way
FEWEST_STEPS = 16


def setting(
    default: Any, meaning: str, low: float = -math.inf, high: float = math.inf, choices: Sequence[str] = ()
) -> Any:
    """Returns a dataclass field with its meaning (unit included), its closed range or its choices."""
    limits = {"meaning": meaning, "low": low, "high": high, "choices": tuple(choices)}
    return dataclasses.field(default=default, metadata=limits)


@dataclass(frozen=True)
class SceneSettings:
    """What is read from disk, and how."""

    downscale: int = setting(1, "integer factor by which pictures are shrunk, by exact box averages", 1, 8)
    background: str = setting("white", "background of the scene in evaluations and films", choices=("white", "black"))
    # The formats are the rows of a table above this floor, which checks the name; see nerf.scenes.formats.
    format: str = setting("auto", "capture format to read if a folder has several; auto = the first")
    holdout: int = setting(8, "interval N at which photographs, sorted by name, are held out for testing; 0 = none", 0)
    pictures: int = setting(0, "photographs to learn from, evenly spread; the others are held out; 0 = by holdout", 0)
    orientation: str = setting(
        "auto",
        "pictures that EXIF asks to turn, where their cameras' shape does not tell: as stored, or upright; auto = by "
        "what fits the poses",
        choices=("auto", "stored", "upright"),
    )
    bounds: float = setting(0.0, "half side of the scene box about the origin, scene units; 0 = from the data", 0)


@dataclass(frozen=True)
class CaptureSettings:
    """What is learned about the pictures themselves, together with the scene."""

    stereo: str = setting(
        "auto",
        "distances measured by stereo before training: auto = of up to 300 photographs",
        choices=("auto", "always", "never"),
    )
    poses: str = setting("given", "camera poses: as given, or refined with the scene", choices=("given", "refine"))
    pose_rate: float = setting(
        2e-3, "initial learning rate of the poses, radians and fractions of the cameras' distance", 0.0, 0.1
    )
    lens: str = setting(
        "given",
        "lens of all pictures (focal length, principal point, k1, k2): as given, or refined with the scene",
        choices=("given", "refine"),
    )
    exposure: str = setting(
        "equal",
        "exposure of the pictures: equal, or gain and offset by colour channel learned for each",
        choices=("equal", "learn"),
    )
    exposure_rate: float = setting(
        5e-3, "initial learning rate of the exposures, of the logarithm of the gain", 0.0, 0.1
    )
    transients: str = setting(
        "keep",
        "what some pictures show and others do not, as passers-by: keep = learned from like all else, or discounted",
        choices=("keep", "discount"),
    )


@dataclass(frozen=True)
class FieldSettings:
    """The radiance field: hash grid -> density MLP; direction basis + features -> colour MLP."""

    kind: str = setting("hash", "kind of the radiance field (hash)")
    levels: int = setting(8, "levels of the hash grid", 1, 32)
    features_per_level: int = setting(4, "features per grid vertex (1, 2, 4 or 8)", 1, 8)
    log2_table_size: int = setting(17, "log2 of the largest number of vertices stored per level", 8, 24)
    base_resolution: int = setting(16, "resolution of the coarsest level", 2, 1024)
    finest_resolution: int = setting(1024, "resolution of the finest level", 2, 65536)
    density_width: int = setting(32, "width of the hidden layer of the density MLP", 16, 256)
    geometry_features: int = setting(16, "outputs of the density MLP; the first is the log density", 16, 64)
    color_width: int = setting(64, "width of the hidden layers of the colour MLP", 16, 256)
    color_layers: int = setting(1, "number of hidden layers of the colour MLP", 1, 4)
    direction_degree: int = setting(4, "degree of the spherical harmonics of the direction", 1, 4)


@dataclass(frozen=True)
class RenderSettings:
    """How rays are cut into samples."""

    steps: int = setting(
        STEPS_AROUND,
        f"march steps along the scene box's diagonal; 0 = {STEPS_AROUND}, or {STEPS_ONE_WAY} if forward-facing",
        0,
        8192,
    )
    first_steps: int = setting(64, "march steps along the diagonal at the start of training", FEWEST_STEPS, 8192)
    refined_by: float = setting(0.7, "fraction of the training after which the step has its final length", 0.0, 1.0)
    occupancy_resolution: int = setting(128, "cells of the occupancy grid per side", 16, 512)
    occupancy_every: int = setting(32, "training steps between updates of the occupancy grid", 1, 1024)
    occupancy_from: int = setting(200, "training step from which empty cells are pruned", 0)
    minimum_transmittance: float = setting(1e-2, "transmittance below which a ray ends", 0.0, 0.1)
    minimum_weight: float = setting(
        1.4e-2, "weight in its ray's colour below which a sample is skipped, unless the ray is fog", 0.0, 0.1
    )


@dataclass(frozen=True)
class OptimizerSettings:
    """Adam (Kingma and Ba 2015)."""

    learning_rate: float = setting(1.4e-2, "initial learning rate", 0.0)
    final_factor: float = setting(1.0, "final learning rate, as a fraction of the initial one", 0.0, 1.0)
    horizon: int = setting(6000, "length of the schedule: steps over which learning rate and step length anneal", 1)
    beta1: float = setting(0.9, "decay rate of the first moment", 0.0, 0.9999)
    beta2: float = setting(0.95, "decay rate of the second moment", 0.0, 0.99999)
    epsilon: float = setting(1e-15, "constant that keeps Adam's quotient finite for vertices never touched", 0.0)


@dataclass(frozen=True)
class TrainSettings:
    """How long training runs, what it minimizes, and what it writes on the way."""

    steps: int = setting(6000, "steps after which training ends; 0 = no limit", 0)
    max_seconds: float = setting(0.0, "seconds after which training ends, and over which it anneals; 0 = no limit", 0)
    samples: int = setting(12288, "number of samples that a step aims to learn from", 256, 2**24)
    distortion: float = setting(
        0.0, "weight of the distortion loss, which concentrates the light of a ray; 0 = none", 0.0, 1e3
    )
    distance: float = setting(
        0.0, "weight of the distance loss at first, which draws light to where stereo measured it; 0 = none", 0.0, 1e3
    )
    fade_near: float = setting(
        0.0,
        "fraction of the cameras' distance below which gradients fade, against clouds in photographs; 0 = none",
        0.0,
        10.0,
    )
    background: str = setting(
        "random", "background that the loss puts behind pixels with alpha", choices=("random", "white", "black")
    )
    seed: int = setting(0, "seed of all random numbers", 0, 2**63 - 1)
    pace: str = setting("", "schedule of an earlier run, from its repeat.yaml; empty = from the budget")
    checkpoint_seconds: float = setting(30.0, "seconds between checkpoints", 0.0)
    preview_seconds: float = setting(60.0, "seconds between validation images; 0 = none", 0.0)


@dataclass(frozen=True)
class OutputSettings:
    """What is written after training."""

    video: str = setting("orbit.mp4", "film (.mp4, .webm, .mov, .gif) in the run folder; empty = none")
    mesh: str = setting("mesh.glb", "mesh (.ply, .obj, .glb, .stl) in the run folder; empty = none")
    frames: int = setting(90, "number of frames in the film", 2, 100000)
    fps: int = setting(30, "frames per second", 1, 240)
    up: str = setting("", "which way is up in the film: an axis as z or -y, or three numbers as 0.1,0,1; empty = found")
    mesh_resolution: int = setting(256, "lattice cells per side for the mesh", 16, 1024)


@dataclass(frozen=True)
class Settings:
    """Every setting of a run, by section."""

    scene: SceneSettings = SceneSettings()
    capture: CaptureSettings = CaptureSettings()
    field: FieldSettings = FieldSettings()
    render: RenderSettings = RenderSettings()
    optimizer: OptimizerSettings = OptimizerSettings()
    train: TrainSettings = TrainSettings()
    output: OutputSettings = OutputSettings()

    def to_dict(self) -> dict[str, dict[str, Any]]:
        """Returns all settings as plain nested dictionaries, in the order of this file."""
        return dataclasses.asdict(self)


AnySettings = TypeVar("AnySettings")  # Settings, or those of a fit

# What differs for photographs of a whole place: they show more, and finer, than renders of one thing.
PHOTOGRAPHS = {
    "field": {"levels": 9, "log2_table_size": 18, "finest_resolution": 2048},
    # In photographs matter is found as fog at first: a minimum weight of 0.02 costs fern 0.3 dB.
    "render": {
        "steps": 0, "first_steps": 32, "refined_by": 0.4, "occupancy_every": 16, "occupancy_from": 64,
        "minimum_weight": 1e-2,
    },
    "optimizer": {"horizon": 10000},
    "train": {"steps": 10000, "samples": 32768, "distortion": 0.01, "distance": 0.03},
}  # fmt: skip


PLACE = "place"  # a background that is none: the pictures show a whole place


def default_settings(ground: str) -> Settings:
    """Returns the defaults for pictures with some background, see `nerf.scenes.scene.Scene.ground`."""
    if ground == PLACE:
        return settings_from_dict(PHOTOGRAPHS, "defaults for photographs")
    if ground:
        return settings_from_dict({"scene": {"background": ground}, "train": {"background": ground}}, "the background")
    return Settings()


@overload
def read_settings(file: Path | None, overrides: Sequence[str] = ()) -> Settings: ...
@overload
def read_settings(file: Path | None, overrides: Sequence[str], base: AnySettings) -> AnySettings: ...
def read_settings(file: Path | None, overrides: Sequence[str] = (), base: Any = Settings()) -> Any:
    """Returns the defaults, or `base`, changed by a YAML file and then by ``section.name=value`` arguments.

    Raises:
        InputError: the file is missing or not YAML, or a name or value is not known.
    """
    settings = base

    if file is not None:
        tree = read_yaml(file, "give --config an existing YAML file of settings")
        settings = settings_from_dict({} if tree is None else tree, str(file), settings)

    for word in overrides:
        name, equals, text = word.partition("=")
        section, dot, key = name.partition(".")
        if not (equals and dot):
            raise InputError(f'"{word}": expected section.name=value, for example field.levels=16')
        settings = settings_from_dict({section: {key: text}}, f'"{word}"', settings)
    return settings


def describe_settings(settings: type = Settings, sections: Sequence[str] = ()) -> str:
    """Returns one line per setting, of all or some sections: its name, default and meaning."""
    defaults = settings()
    lines = []
    for section in dataclasses.fields(settings):
        if sections and section.name not in sections:
            continue

        values = getattr(defaults, section.name)
        for entry in dataclasses.fields(values):
            photographs = PHOTOGRAPHS.get(section.name, {}).get(entry.name) if settings is Settings else None
            other = "" if photographs is None else f"; {photographs} for photographs"
            name = f"{section.name}.{entry.name}={getattr(values, entry.name)}"
            choices = f" ({', '.join(entry.metadata['choices'])})" if entry.metadata["choices"] else ""
            lines.append(f"  {name:<38} {entry.metadata['meaning']}{choices}{other}".replace("%", "%%"))
    return "\n".join(lines)


@overload
def settings_from_dict(tree: Mapping[str, Any], source: str) -> Settings: ...
@overload
def settings_from_dict(tree: Mapping[str, Any], source: str, base: AnySettings) -> AnySettings: ...
def settings_from_dict(tree: Mapping[str, Any], source: str, base: Any = Settings()) -> Any:
    """Returns `base` changed by a nested dictionary; `source` names it in errors.

    Raises:
        InputError: a section, a name or a value is not known.
    """
    if not isinstance(tree, Mapping):
        raise InputError(f"{source}: expected sections with settings, got {type(tree).__name__}")

    sections = {field.name: getattr(base, field.name) for field in dataclasses.fields(base)}
    for name, values in tree.items():
        if name not in sections:
            raise InputError(f'{source}: no section "{name}"{nearest(str(name), sections)}')
        if not isinstance(values, Mapping):
            raise InputError(f'{source}: section "{name}" expects name: value lines, got {short(values)}')
        sections[name] = _changed(sections[name], str(name), values, source)
    return _validated(type(base)(**sections), source)


def _changed(section: Any, section_name: str, values: Mapping[str, Any], source: str) -> Any:
    known = {field.name: field for field in dataclasses.fields(section)}
    changes = {}
    for name, value in values.items():
        if name not in known:
            raise InputError(f'{source}: no setting "{section_name}.{name}"{nearest(str(name), known)}')
        changes[name] = _checked(value, known[name], f"{source}: {section_name}.{name}")
    return dataclasses.replace(section, **changes)


def _checked(value: Any, field: dataclasses.Field[Any], where: str) -> int | float | str:
    """Returns a value in the type of its setting, after a look at its range or its choices."""
    wanted = type(field.default)
    # YAML 1.1 reads 1e-2 as text and a command line holds nothing but text, so numbers may come as text.
    try:
        if isinstance(value, bool) or not isinstance(value, _TAKEN[wanted]):
            raise ValueError
        found = _TYPES[wanted](value)
    except (ValueError, OverflowError):
        raise InputError(f"{where}: expected {_NAMES[wanted]}, got {short(value)}") from None

    limits = field.metadata
    if isinstance(found, str):
        if limits["choices"] and found not in limits["choices"]:
            raise InputError(f'{where}: "{found}" is not a choice{nearest(found, limits["choices"])}')
    elif not limits["low"] <= found <= limits["high"] or not math.isfinite(found):
        raise InputError(f"{where}: {found} is outside [{limits['low']:g}, {limits['high']:g}]")
    return found


_TYPES: dict[type, Callable[[Any], int | float | str]] = {int: int, float: float, str: str}
_TAKEN = {int: (int, str), float: (float, int, str), str: (str,)}  # what is read as a setting of a type
_NAMES = {int: "a whole number", float: "a number", str: "a word"}


def _validated(settings: Any, source: str) -> Any:
    """Returns `settings` after the checks of several settings together."""
    field = settings.field
    train = settings.train
    if field.features_per_level not in (1, 2, 4, 8):
        raise InputError(f"{source}: field.features_per_level: {field.features_per_level} is not 1, 2, 4 or 8")

    if field.finest_resolution < field.base_resolution:
        raise InputError(
            f"{source}: field.finest_resolution: {field.finest_resolution} is below "
            f"field.base_resolution {field.base_resolution}"
        )

    if isinstance(settings, Settings) and 0 < settings.render.steps < FEWEST_STEPS:
        raise InputError(f"{source}: render.steps: {settings.render.steps} is neither 0 nor at least {FEWEST_STEPS}")

    if train.steps == 0 and train.max_seconds == 0:
        raise InputError(f"{source}: train.steps and train.max_seconds are both 0: training would never end")
    return settings
