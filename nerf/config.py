"""Typed settings: frozen sections with defaults here, differences in YAML files and on the command line.

A setting is named ``section.name``. The order of authority is: defaults below, then the YAML file, then
``section.name=value`` words of the command line. Unknown names and values of the wrong kind are refused
with the nearest right word; nothing is cast silently.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from nerf.errors import InputError, nearest

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

STEPS_AROUND, STEPS_ONE_WAY = 512, 320  # of a march along the diagonal; the latter if all cameras face one way
FEWEST_STEPS = 16

Sections = TypeVar("Sections", bound="DataclassInstance")  # `Settings`, or another frozen dataclass of sections


def setting(
    default: Any, meaning: str, low: float = -math.inf, high: float = math.inf, choices: Sequence[str] = ()
) -> Any:
    """Returns a dataclass field with its meaning (unit included), its closed range or its choices."""
    limits = {"meaning": meaning, "low": low, "high": high, "choices": tuple(choices)}
    return dataclasses.field(default=default, metadata=limits)


@dataclass(frozen=True)
class SceneSettings:
    """What is read from disk."""

    downscale: int = setting(1, "integer factor; images are box-averaged by it exactly", 1, 8)
    background: str = setting(
        "white", "what lies behind the scene when it is evaluated and filmed", choices=("white", "black")
    )
    format: str = setting(
        "auto", "which to read if a folder has several", choices=("auto", "blender", "transforms", "colmap", "llff")
    )
    holdout: int = setting(8, "of photographs every N-th by name is kept for testing; 0 = none", 0)
    bounds: float = setting(0.0, "half side of the cube that holds the scene, scene units; 0 = from the data", 0)


@dataclass(frozen=True)
class CaptureSettings:
    """What is learned of the pictures themselves, beside the scene."""

    poses: str = setting("given", "refine: the pictures' poses are learned too", choices=("given", "refine"))
    pose_rate: float = setting(2e-3, "radians a step, and parts of the cameras' distance, at the start", 0.0, 0.1)
    exposure: str = setting(
        "equal", "learn: each picture's gain and offset by colour channel are learned", choices=("equal", "learn")
    )
    exposure_rate: float = setting(5e-3, "of the logarithm of the gain, a step, at the start", 0.0, 0.1)


@dataclass(frozen=True)
class FieldSettings:
    """The radiance field: hash grid -> density MLP; direction basis + features -> colour MLP."""

    levels: int = setting(8, "levels of the hash grid", 1, 32)
    features_per_level: int = setting(4, "features of a grid vertex (1, 2, 4 or 8)", 1, 8)
    log2_table_size: int = setting(17, "log2 of the largest number of vertices stored in a level", 8, 24)
    base_resolution: int = setting(16, "resolution of the coarsest level", 2, 1024)
    finest_resolution: int = setting(1024, "resolution of the finest level", 2, 65536)
    density_width: int = setting(32, "neurons of the hidden layer of the density MLP", 16, 256)
    geometry_features: int = setting(16, "outputs of the density MLP; the first is the log density", 16, 64)
    color_width: int = setting(64, "neurons of a hidden layer of the colour MLP", 16, 256)
    color_layers: int = setting(1, "hidden layers of the colour MLP", 1, 4)
    direction_degree: int = setting(4, "degree of the spherical harmonics of the direction", 1, 4)


@dataclass(frozen=True)
class RenderSettings:
    """How rays are cut into samples."""

    steps: int = setting(
        STEPS_AROUND,
        f"steps along the diagonal of the cube; 0 = {STEPS_AROUND}, or {STEPS_ONE_WAY} if all cameras face one way",
        0,
        8192,
    )
    first_steps: int = setting(64, "the same, at the start of training", FEWEST_STEPS, 8192)
    refined_by: float = setting(0.7, "part of the training after which the step is at its final length", 0.0, 1.0)
    occupancy_resolution: int = setting(128, "cells of the occupancy grid along a side", 16, 512)
    occupancy_every: int = setting(32, "training steps between updates of the occupancy grid", 1, 1024)
    occupancy_from: int = setting(200, "training step from which empty cells are pruned", 0)
    minimum_transmittance: float = setting(1e-2, "a ray ends where less than this part of it goes on", 0.0, 0.1)
    minimum_weight: float = setting(
        1.4e-2, "samples that weigh less in their ray's colour are left out, unless the ray is fog", 0.0, 0.1
    )


@dataclass(frozen=True)
class OptimizerSettings:
    """Adam (Kingma and Ba 2015)."""

    learning_rate: float = setting(1.4e-2, "at the start", 0.0)
    final_factor: float = setting(1.0, "learning rate at the end, as a part of the first", 0.0, 1.0)
    horizon: int = setting(6000, "steps over which learning rate and step length anneal", 1)
    beta1: float = setting(0.9, "decay of the first moment", 0.0, 0.9999)
    beta2: float = setting(0.95, "decay of the second moment", 0.0, 0.99999)
    epsilon: float = setting(1e-15, "keeps Adam's quotient finite for vertices never touched", 0.0)


@dataclass(frozen=True)
class TrainSettings:
    """How long and how training goes, and what it leaves on the way."""

    steps: int = setting(6000, "training ends after this step; 0 = no limit", 0)
    max_seconds: float = setting(0.0, "training ends after these seconds and anneals over them; 0 = no limit", 0)
    samples: int = setting(12288, "samples to learn from that a step aims at", 256, 2**24)
    distortion: float = setting(0.0, "weight of the loss that draws a ray's light together; 0 = none", 0.0, 1e3)
    fade_near: float = setting(
        0.0,
        "photographs: nearer than this part of the cameras' distance gradients fade, against clouds; 0 = none",
        0.0,
        10.0,
    )
    background: str = setting(
        "random", "what the loss puts behind pixels with alpha", choices=("random", "white", "black")
    )
    seed: int = setting(0, "of every random number", 0, 2**63 - 1)
    pace: str = setting("", "knots of an earlier run's annealing, from its repeat.yaml; empty = by the budget")
    checkpoint_seconds: float = setting(30.0, "seconds between checkpoints", 0.0)
    preview_seconds: float = setting(60.0, "seconds between validation images; 0 = none", 0.0)


@dataclass(frozen=True)
class OutputSettings:
    """What is written when training has ended."""

    video: str = setting("orbit.mp4", "film (.mp4, .webm, .mov, .gif), in the run folder; empty = none")
    mesh: str = setting("mesh.glb", "mesh (.ply, .obj, .glb, .stl), in the run folder; empty = none")
    frames: int = setting(90, "frames of the film", 2, 100000)
    fps: int = setting(30, "frames a second", 1, 240)
    mesh_resolution: int = setting(256, "cells along a side of the mesh's lattice", 16, 1024)


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


# What differs for photographs of a whole place: they show more, and finer, than renders of one thing.
PHOTOGRAPHS = {
    "field": {"levels": 9, "log2_table_size": 18, "finest_resolution": 2048},
    # Fog is how photographs' places are found at first: leaving out 0.02 costs fern 0.3 dB.
    "render": {
        "steps": 0, "first_steps": 32, "refined_by": 0.4, "occupancy_every": 16, "occupancy_from": 64,
        "minimum_weight": 1e-2,
    },
    "optimizer": {"horizon": 10000},
    "train": {"steps": 10000, "samples": 32768, "distortion": 0.01},
}  # fmt: skip


def photograph_settings() -> Settings:
    """Returns the defaults for photographs."""
    return settings_from_dict(PHOTOGRAPHS, "defaults for photographs")


def read_settings(file: Path | None, overrides: Sequence[str] = (), base: Sections = Settings()) -> Sections:
    """Returns the defaults, or `base`, changed by a YAML file and then by ``section.name=value`` words.

    Raises:
        InputError: the file is missing or not YAML, or a name or value is not known.
    """
    import yaml

    settings = base
    if file is not None:
        try:
            tree = yaml.safe_load(file.read_text(encoding="utf-8"))
        except OSError as error:
            raise InputError(
                f"{file}: cannot be read ({error.strerror}); give --config an existing YAML file"
            ) from None
        except (yaml.YAMLError, ValueError) as error:
            raise InputError(f"{file}: not valid YAML ({' '.join(str(error).split())})") from None
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
    lines = []
    for section in dataclasses.fields(settings):
        if sections and section.name not in sections:
            continue
        for entry in dataclasses.fields(section.default):
            photographs = PHOTOGRAPHS.get(section.name, {}).get(entry.name) if settings is Settings else None
            other = "" if photographs is None else f"; {photographs} for photographs"
            name = f"{section.name}.{entry.name}={getattr(section.default, entry.name)}"
            choices = f" ({', '.join(entry.metadata['choices'])})" if entry.metadata["choices"] else ""
            lines.append(f"  {name:<38} {entry.metadata['meaning']}{choices}{other}".replace("%", "%%"))
    return "\n".join(lines)


def settings_from_dict(tree: Mapping[str, Any], source: str, base: Sections = Settings()) -> Sections:
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
            raise InputError(f'{source}: section "{name}" expects name: value lines, got {values!r}')
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


def _checked(value: Any, field: dataclasses.Field, where: str) -> Any:
    kind = type(field.default)
    # YAML 1.1 reads 1e-2 as text and a command line holds nothing but text, so numbers may come as text.
    try:
        if isinstance(value, bool) or not isinstance(value, _TAKEN[kind]):
            raise ValueError
        number = kind(value)
    except (ValueError, OverflowError):
        raise InputError(f"{where}: expected {_KINDS[kind]}, got {value!r}") from None
    limits = field.metadata
    if kind is str:
        if limits["choices"] and number not in limits["choices"]:
            raise InputError(f'{where}: "{number}" is not a choice{nearest(number, limits["choices"])}')
    elif not limits["low"] <= number <= limits["high"] or not math.isfinite(number):
        raise InputError(f"{where}: {number} is outside [{limits['low']:g}, {limits['high']:g}]")
    return number


_TAKEN = {int: (int, str), float: (float, int, str), str: (str,)}
_KINDS = {int: "a whole number", float: "a number", str: "a word"}


def _validated(settings: Any, source: str) -> Any:
    """Returns `settings` after the checks that join two of them."""
    field, train = settings.field, settings.train
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
