"""Shared by the tests: a small scene with a known shape, written as files; instruction sets and threads in turn."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from pathlib import Path

import numpy
import pytest
import torch
from PIL import Image

from nerf import engine
from nerf.config import Settings, settings_from_dict
from nerf.engine.build import instruction_sets
from nerf.geometry.cameras import look_at

torch.set_num_threads(1)  # the tests' tensors are too small to share
RADIUS, DISTANCE, ANGLE = 0.5, 2.0, 0.9  # of the ball and of the cameras, scene units; field of view, radians


def write_ball_scene(
    folder: Path, size: int = 48, views: int = 12, splits: tuple[str, ...] = ("train", "val", "test")
) -> Path:
    """Writes pictures of a ball of radius 0.5 coloured by its normal, in Blender format; returns the folder."""
    for turn, split in enumerate(splits):
        frames = []
        (folder / split).mkdir(parents=True)
        for view in range(views if split == "train" else 2):
            azimuth = 2.39996 * view + turn  # the golden angle spreads any number of views
            height = 0.9 - 1.5 * (view + 0.5) / views
            across = math.sqrt(1 - height**2)
            eye = DISTANCE * torch.tensor([across * math.cos(azimuth), across * math.sin(azimuth), height])
            pose = look_at(eye, torch.zeros(3), torch.tensor([0.0, 0.0, 1.0])).double()
            Image.fromarray(_ball_picture(pose.numpy(), size)).save(folder / split / f"r_{view}.png")
            matrix = torch.eye(4, dtype=torch.float64)
            matrix[:3] = pose * torch.tensor([1.0, -1.0, -1.0, 1.0])
            frames.append({"file_path": f"./{split}/r_{view}", "transform_matrix": matrix.tolist()})
        tree = {"camera_angle_x": ANGLE, "frames": frames}
        (folder / f"transforms_{split}.json").write_text(json.dumps(tree))
    return folder


def ball_color(normal: numpy.ndarray) -> numpy.ndarray:
    """Returns RGB (..., 3) of the ball by its normal: a smooth hue, and a pattern by which views can find its depth."""
    pattern = numpy.sin(9 * normal).prod(-1, keepdims=True)
    return (normal * 0.4 + 0.5) * (0.7 + 0.3 * numpy.tanh(6 * pattern))


def _ball_picture(pose: numpy.ndarray, size: int) -> numpy.ndarray:
    fine = 4 * size  # 4 x 4 samples a pixel
    slope = (numpy.arange(fine) + 0.5) / fine * 2 - 1
    x, y = numpy.meshgrid(slope * math.tan(ANGLE / 2), slope * math.tan(ANGLE / 2))
    direction = numpy.stack([x, y, numpy.ones_like(x)], -1) @ pose[:, :3].T
    direction /= numpy.linalg.norm(direction, axis=-1, keepdims=True)
    middle = direction @ pose[:, 3]
    inside = middle**2 - (pose[:, 3] @ pose[:, 3] - RADIUS**2)
    hit = inside > 0
    point = pose[:, 3] + (-middle - numpy.sqrt(numpy.where(hit, inside, 0)))[..., None] * direction
    rgb = numpy.where(hit[..., None], ball_color(point / RADIUS), 0)
    alpha = hit.reshape(size, 4, size, 4).mean((1, 3))
    rgb = rgb.reshape(size, 4, size, 4, 3).mean((1, 3)) / numpy.maximum(alpha, 1e-9)[..., None]
    return (numpy.concatenate([rgb, alpha[..., None]], -1).clip(0, 1) * 255 + 0.5).astype(numpy.uint8)


SMALL = [
    "field.levels=4", "field.log2_table_size=12", "field.finest_resolution=64", "field.density_width=16",
    "field.color_width=16", "render.steps=96", "render.first_steps=48", "render.occupancy_resolution=32",
    "render.occupancy_from=32", "render.occupancy_every=16", "train.samples=2048",
    "train.preview_seconds=0", "optimizer.horizon=300", "output.frames=3", "output.mesh_resolution=32",
]  # fmt: skip


def small_settings(*words: str) -> Settings:
    """Returns settings under which the ball is learned in seconds, and others, section.name=value."""
    tree: dict[str, dict] = {}
    for word in [*SMALL, *words]:
        name, _, value = word.partition("=")
        section, _, key = name.partition(".")
        tree.setdefault(section, {})[key] = value
    return settings_from_dict(tree, "test")


@pytest.fixture
def ball_scene(tmp_path: Path) -> Path:
    return write_ball_scene(tmp_path / "ball")


@pytest.fixture(scope="session")
def ball_run(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A run folder trained on the ball for 300 steps, with its scene beside it; whoever writes into it takes a copy."""
    from nerf.cli.main import main

    root = tmp_path_factory.mktemp("ball_run")
    scene = write_ball_scene(root / "ball")
    words = [
        "train",
        "--scene",
        str(scene),
        "--out",
        str(root / "run"),
        "--steps",
        "300",
        "--backend",
        "reference",
        *SMALL,
    ]
    assert main(words) == 0
    run = root / "run"
    files = {path: path.read_bytes() for path in run.rglob("*") if path.is_file()}
    yield run
    left = {path: path.read_bytes() for path in run.rglob("*") if path.is_file()}
    assert left == files, "a test wrote into the run that all tests share"


@pytest.fixture(params=[entry.name for entry in instruction_sets()])
def isa(request, monkeypatch) -> str:
    """Forces one instruction set; skips where the processor, or the build, lacks it."""
    if request.param not in engine.available():
        pytest.skip(f"this processor or build has no {request.param}")
    monkeypatch.setenv("NERF_ISA", request.param)
    return request.param


@pytest.fixture(params=[1, 2])
def threads(request) -> int:
    """Runs torch and the engine on so many threads."""
    before = torch.get_num_threads()
    torch.set_num_threads(request.param)
    yield request.param
    torch.set_num_threads(before)
