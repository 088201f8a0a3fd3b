"""A run folder: everything that a training leaves, readable on another machine without the pictures.

settings.yaml     every setting of the run
scene.json        what was read: name, format, folder, and the training cameras (of a fitted signal: signal.json)
checkpoint.safetensors   tensors, and in its header the step, the training seconds and the schedule
crop.json         the box outside of which outputs leave everything out; only where one is kept
scale.json        how long a scene unit is in metres, and what told it; only where that is known
log.jsonl         one JSON object a line
repeat.yaml       settings that repeat the run step for step, whatever the clock says
.lock             only while a process writes into the folder: its number
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from itertools import count
from pathlib import Path
from typing import Any, BinaryIO

import torch
from torch import Tensor

from nerf import __version__
from nerf.checkpoints import misfit
from nerf.config import Settings, settings_from_dict
from nerf.errors import InputError
from nerf.files import (
    mark,
    opened_in_place,
    parsed_json,
    read_json,
    read_yaml,
    replacing,
    sweep,
    unwritable,
    write_text,
)
from nerf.geometry.cameras import Cameras
from nerf.geometry.origin import NO_ORIGIN
from nerf.geometry.scale import Scale, checked_scale
from nerf.geometry.scene_box import CropBox, crop_box
from nerf.report import say
from nerf.text import short

CHECKPOINT_FORMAT = 1
MOST_STEPS = 2**30  # of a training
FARTHEST = 1e30  # coordinate of a crop box
CAMERA_ARRAYS = ("world_from_camera", "focal", "center", "lens", "size")


@dataclass(frozen=True)
class RunFolder:
    """Paths and readers of one run folder."""

    path: Path

    @property
    def checkpoint(self) -> Path:
        return self.path / "checkpoint.safetensors"

    @property
    def log(self) -> Path:
        return self.path / "log.jsonl"

    @property
    def lock(self) -> Path:
        return self.path / ".lock"

    @contextmanager
    def held(self) -> Iterator[None]:
        """Inside, no other process writes into the folder, which must exist: each takes this lock first.

        The system lets go of the lock when its process ends, however it ends; a file that is left behind is no lock.

        Raises:
            InputError: another process writes into the folder, or it cannot be written to.
        """
        try:
            import fcntl
        except ImportError:
            say("training", f"{self.path}: not locked, for want of flock; write into it from one process at a time")
            yield
            return

        with _opened_lock(self.lock) as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                writer = file.read().decode("ascii", "replace").strip()
                raise InputError(
                    f"{self.path}: {f'process {writer}' if writer.isdigit() else 'another process'} is writing into "
                    "it; wait until it has ended, or choose another folder with --out"
                ) from None
            except OSError as error:  # a file system of another machine may know no locks
                say("training", f"{self.path}: not locked ({error.strerror}); write into it from one process at a time")
                yield
                return
            if not _is_at(file.fileno(), self.lock):
                raise InputError(f"{self.path}: another process has just written into it; try again")

            try:
                try:
                    file.truncate(0)
                    file.write(f"{os.getpid()}\n".encode("ascii"))
                except OSError as error:
                    raise unwritable(self.lock, error) from None
                yield
            finally:
                if _is_at(file.fileno(), self.lock):
                    with suppress(OSError):
                        self.lock.unlink()

    def save_settings(self, settings: Any, name: str = "settings.yaml") -> None:
        """Writes every setting."""
        import yaml

        write_text(self.path / name, yaml.safe_dump(settings.to_dict(), sort_keys=False))

    def load_settings(self, base: Any = None) -> Any:
        """Returns the settings of the run, of the type of `base` (`nerf.config.Settings` if None).

        Raises:
            InputError: the folder holds no run, or its settings are damaged.
        """
        file = self.path / "settings.yaml"
        if not file.is_file():
            raise InputError(
                f"{self.path}: no run in it (settings.yaml is missing); give the folder that train.py wrote"
            )
        tree = read_yaml(file, "copy the whole run folder")
        return settings_from_dict(tree, str(file), base or Settings())

    def save_checkpoint(self, tensors: dict[str, Tensor], facts: dict[str, Any]) -> None:
        """Writes tensors and facts as one safetensors file, atomically."""
        from safetensors.torch import save

        header = {"format": "nerf", "facts": json.dumps({"version": __version__, "layout": CHECKPOINT_FORMAT, **facts})}
        with replacing(self.checkpoint) as partial:
            partial.write_bytes(save({name: value.contiguous() for name, value in tensors.items()}, header))

    @contextmanager
    def _opened_checkpoint(self) -> Iterator[Any]:
        """Yields the last checkpoint as safetensors opens it; what is wrong with it is an InputError."""
        from safetensors import SafetensorError, safe_open

        if not self.checkpoint.is_file():
            raise InputError(f"{self.checkpoint}: not found; train first")
        try:
            with safe_open(self.checkpoint, framework="pt") as file:
                yield file
        except (SafetensorError, OSError, ValueError, RecursionError) as error:
            raise InputError(f"{self.checkpoint}: damaged ({error}); restore it or train again") from None

    def check_shapes(self, expected: Mapping[str, torch.Size]) -> None:
        """Holds the header of the last checkpoint against the shapes that settings ask for, before they take memory.

        Raises:
            InputError: a tensor is missing or has another shape, or the checkpoint is damaged.
        """
        with self._opened_checkpoint() as file:
            found = {name: torch.Size(file.get_slice(name).get_shape()) for name in file.keys()}  # noqa: SIM118
        for name, shape in expected.items():
            if found.get(name) != shape:
                raise misfit(name, shape, found.get(name))

    def load_checkpoint(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """Returns the tensors and the facts of the last checkpoint.

        Raises:
            InputError: there is none, or it is damaged or of another kind.
        """
        with self._opened_checkpoint() as file:
            facts = parsed_json((file.metadata() or {}).get("facts", "{}"))
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118

        if not isinstance(facts, dict) or not {"step", "seconds", "pace", "version", "layout"} <= facts.keys():
            raise InputError(f"{self.checkpoint}: not a checkpoint of nerf; restore it or train again")
        if facts["layout"] != CHECKPOINT_FORMAT:
            raise InputError(
                f"{self.checkpoint}: layout {short(facts['layout'])}, this version reads {CHECKPOINT_FORMAT}; "
                "use the version that wrote it"
            )
        ranges = {"step": (0, MOST_STEPS, int), "seconds": (0, MOST_STEPS, (int, float))}
        for name, (low, high, kind) in ranges.items():
            value = facts[name]
            if not isinstance(value, kind) or isinstance(value, bool) or not low <= value <= high:
                raise InputError(
                    f"{self.checkpoint}: {name} is {short(value)}, expected a number from {low} to {high}; "
                    "restore it or train again"
                )
        if not all(isinstance(facts[name], str) for name in ("pace", "version")):
            raise InputError(f"{self.checkpoint}: not a checkpoint of nerf; restore it or train again")
        return tensors, facts

    def append_log(self, line: dict[str, Any]) -> None:
        """Adds one line to the log."""
        try:
            with os.fdopen(opened_in_place(self.log, os.O_WRONLY | os.O_APPEND), "a", encoding="utf-8") as log:
                log.write(json.dumps(line) + "\n")
        except OSError as error:
            raise unwritable(self.log, error) from None

    def remove_leftovers(self) -> None:
        """Removes what a killed run was writing."""
        sweep(self.path)

    def truncate_log(self, step: int) -> None:
        """Drops the lines of later steps, and a line that was cut off."""
        if not self.log.is_file():
            return
        kept = [line for line in self._log_lines() if isinstance(line.get("step"), int) and line["step"] <= step]
        write_text(self.log, "".join(json.dumps(line) + "\n" for line in kept))

    def curve(self) -> list[tuple[int, float]]:
        """Returns the steps and the figures (psnr or snr, dB) that the log has; lines that are damaged are left out."""
        found = []
        for line in self._log_lines():
            value = line.get("psnr", line.get("snr"))
            if isinstance(line.get("step"), int) and isinstance(value, (int, float)) and math.isfinite(value):
                found.append((line["step"], float(value)))
        return found

    def _log_lines(self) -> Iterator[dict[str, Any]]:
        """Yields the whole lines of the log: a kill in the middle of a write leaves half a line."""
        if not self.log.is_file():
            return
        for text in self.log.read_text(encoding="utf-8", errors="replace").splitlines():
            with suppress(ValueError, RecursionError):
                line = json.loads(text)
                if isinstance(line, dict):
                    yield line

    def keep_earlier(self) -> None:
        """Moves a run that lies in the folder to a numbered one beside it: training again must not lose it.

        The caller holds the folder, see `held`, and holds the new one afterwards: the lock stays, the run moves.
        """
        if not (self.path / "settings.yaml").exists():
            return
        number = next(n for n in count(1) if not self.path.with_name(f"{self.path.name}.{n}").exists())
        kept = self.path.with_name(f"{self.path.name}.{number}")
        self.remove_leftovers()
        sweep(self.path.parent, f".{self.path.name}.fresh-")
        fresh = self.path.with_name(f".{self.path.name}.fresh-{mark()}")
        try:
            # The new folder appears with the lock in it. Should another process make one first, the last rename fails.
            fresh.mkdir()
            os.rename(self.path, kept)
            if (kept / self.lock.name).exists():
                os.rename(kept / self.lock.name, fresh / self.lock.name)
            os.rename(fresh, self.path)
        except OSError as error:
            raise unwritable(kept, error) from None
        finally:
            with suppress(OSError):
                fresh.rmdir()
        say("training", f"{self.path} held an earlier run: kept as {kept}")

    def save_repeat(self, settings: Any, step: int, schedule: str) -> None:
        """Writes settings that take the same steps again without looking at the clock."""
        changes = {"train": {"steps": step, "max_seconds": 0, "pace": schedule}}
        self.save_settings(settings_from_dict(changes, "repeat", settings), "repeat.yaml")

    def save_signal(self, record: dict[str, Any]) -> None:
        """Writes what a signal is: its kind and all that its field does not hold."""
        write_text(self.path / "signal.json", json.dumps(record, indent=1))

    def load_signal(self) -> dict[str, Any]:
        """Returns what `save_signal` wrote.

        Raises:
            InputError: it is missing or damaged.
        """
        file = self.path / "signal.json"
        record = read_json(file, "give a folder that nerf fit wrote")
        if not isinstance(record, dict) or not isinstance(record.get("kind"), str):
            raise InputError(f"{file}: damaged (no kind in it); give a folder that nerf fit wrote")
        return record

    def save_scene(self, record: dict[str, Any], cameras: Cameras) -> None:
        """Writes what was read and the training cameras."""
        views = {
            "width": cameras.width,
            "height": cameras.height,
            "focal": cameras.focal.tolist(),
            "center": cameras.center.tolist(),
            "lens": cameras.lens.tolist(),
            "size": cameras.size.tolist(),
            "world_from_camera": cameras.world_from_camera.tolist(),
            "origin": list(cameras.origin),
        }
        write_text(self.path / "scene.json", json.dumps({**record, "cameras": views}))

    def save_scale(self, scale: Scale) -> None:
        """Writes how long a scene unit is."""
        write_text(self.path / "scale.json", json.dumps(asdict(scale), indent=1) + "\n")

    def load_scale(self) -> Scale | None:
        """Returns what `save_scale` wrote; None if it did not.

        Raises:
            InputError: the file is damaged.
        """
        found = self._kept("scale.json")
        if found is None:
            return None
        return checked_scale(found.get("metres"), found.get("reason"), str(self.path / "scale.json"))

    def save_crop(self, numbers: Sequence[float] | None) -> None:
        """Writes the crop box that outputs obey, six numbers in the frame of the input poses; None: forgets it."""
        file = self.path / "crop.json"
        if numbers is not None:
            crop_box(numbers, str(file))
            return write_text(file, json.dumps({"crop": list(numbers)}) + "\n")
        try:
            file.unlink(missing_ok=True)
        except OSError as error:
            raise unwritable(file, error) from None

    def load_crop(self) -> CropBox | None:
        """Returns what `save_crop` wrote; None if there is none.

        Raises:
            InputError: the file is damaged.
        """
        found = self._kept("crop.json")
        if found is None:
            return None
        file = self.path / "crop.json"
        numbers = found.get("crop")
        if not isinstance(numbers, list) or len(numbers) != 6 or not all(map(_is_coordinate, numbers)):
            raise InputError(f"{file}: not a crop box of six numbers; remove it")
        return crop_box(numbers, str(file))

    def _kept(self, name: str) -> dict[str, Any] | None:
        """Returns what a file that need not be there holds, None without it; of other JSON than an object nothing."""
        file = self.path / name
        if not file.is_file():
            return None
        found = read_json(file, "remove it")
        return found if isinstance(found, dict) else {}

    def load_scene(self) -> tuple[dict[str, Any], Cameras]:
        """Returns what was read and the training cameras.

        Raises:
            InputError: the record is missing or damaged.
        """
        file = self.path / "scene.json"
        record = read_json(file, "copy the whole run folder")

        try:
            views = record.pop("cameras")
            for name in ("name", "folder", "backend"):
                if not isinstance(record[name], str):
                    raise TypeError(f"{name} is no word")
            if not isinstance(record["threads"], int):
                raise TypeError("threads is no whole number")
            found = {name: torch.tensor(views[name]) for name in CAMERA_ARRAYS if name in views}
            x, y, z = map(float, views.get("origin", NO_ORIGIN))
            if not all(map(math.isfinite, (x, y, z))):
                raise ValueError("origin is not finite")
            cameras = Cameras(width=views["width"], height=views["height"], **found, origin=(x, y, z))
            names = record["views"]
            if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
                raise TypeError("views are no list of names")
            if len(names) != len(cameras) or len(cameras) == 0:
                raise ValueError(f"{len(names)} names of {len(cameras)} cameras")
        except KeyError as error:
            raise InputError(f"{file}: damaged ({error} is missing); copy the whole run folder") from None
        except (ValueError, AttributeError, TypeError, RuntimeError, OverflowError, InputError) as error:
            text = " ".join(str(error).split())
            raise InputError(f"{file}: damaged ({text}); copy the whole run folder") from None
        return record, cameras


def _is_coordinate(value: object) -> bool:
    return isinstance(value, int | float) and abs(value) <= FARTHEST


def _opened_lock(file: Path) -> BinaryIO:
    """Returns a lock's file, which is made if there is none, open to be read and written: at once, on a full disk too.

    Raises:
        InputError: it cannot be written.
    """
    return os.fdopen(opened_in_place(file, os.O_RDWR), "r+b", buffering=0)


def _is_at(descriptor: int, path: Path) -> bool:
    """Returns whether an open file is the one at a path: the writer before may have removed or moved it."""
    try:
        return os.path.samestat(os.fstat(descriptor), os.lstat(path))
    except OSError:
        return False
