"""A scene small enough for tests: a soft, coloured ball."""

from __future__ import annotations

import dataclasses
from functools import partial

import torch

from nerf.backends.choice import Backend
from nerf.backends.cuda_engine import CudaEngine
from nerf.config import Settings, settings_from_dict
from nerf.engine.kernels import Launcher
from nerf.geometry.cameras import Cameras, look_at
from nerf.geometry.lenses import lens_terms
from nerf.rendering.model import RadianceModel, new_model
from nerf.scenes import Views
from nerf.training.radiance import RadianceTask

SIDE = 24  # pixels


def ball_views(channels: int = 4) -> Views:
    """Returns six pictures of a soft, coloured ball of radius 0.6 about the origin."""
    poses = [
        look_at(torch.tensor(eye), torch.zeros(3), torch.tensor([0.1, 0.2, 1.0]))
        for eye in ([2.0, 0, 0], [-2.0, 0, 0.3], [0, 2.0, 0], [0, -2.0, 0.2], [1.2, 1.2, 1.0], [-1.0, 1.0, -1.4])
    ]
    n = len(poses)
    cameras = Cameras(torch.stack(poses), torch.full((n, 2), SIDE * 1.1), torch.full((n, 2), SIDE / 2), SIDE, SIDE)
    images = torch.zeros(n, SIDE, SIDE, channels, dtype=torch.uint8)
    for frame in range(n):
        rays = cameras.image_rays(frame)
        nearest = rays.origin - (rays.origin * rays.direction).sum(1, keepdim=True) * rays.direction
        inside = (1 - nearest.norm(dim=1) / 0.6).clamp(0, 1).sqrt()
        image = torch.cat([(nearest * 0.5 + 0.5).clamp(0, 1), inside[:, None]], dim=1)[:, :channels]
        images[frame] = (image * 255).to(torch.uint8).view(SIDE, SIDE, channels)
    return Views(tuple(f"view_{i}" for i in range(n)), images, 255, cameras)


def ball_photographs() -> Views:
    """Returns the pictures over black as of an unbounded scene, taken through two lenses that bend them."""
    views = ball_views(3)
    lens = torch.tensor([lens_terms(False, {"k1": -0.1, "k2": 0.03, "p1": 0.004, "s2": 0.002, "d1": 0.05})] * 6)
    lens[1::2] = torch.tensor(lens_terms(True, {"k1": 0.04, "k4": -0.01, "p2": 0.003}))
    cameras = dataclasses.replace(views.cameras, lens=lens)
    return dataclasses.replace(views, cameras=cameras, unbounded=True)


def ball_task(
    channels: int = 4, changes: dict[str, dict[str, object]] | None = None, views: Views | None = None
) -> RadianceTask:
    """Returns a native task on the ball, small enough for tests."""
    tree = {
        "scene": {"bounds": 0.8},
        "field": {"levels": 4, "log2_table_size": 12, "finest_resolution": 128},
        "render": {"steps": 96, "first_steps": 48, "occupancy_resolution": 32},
        "train": {"samples": 2048},
    }
    for section, values in (changes or {}).items():
        tree.setdefault(section, {}).update(values)
    return native_task(views or ball_views(channels), settings_from_dict(tree, "test"))


def native_task(views: Views, settings: Settings) -> RadianceTask:
    """Returns a task that the native engine computes."""
    return Backend("native", "").task(views, settings)


def reference_task(views: Views, settings: Settings) -> RadianceTask:
    """Returns a task that plain torch computes."""
    return Backend("reference", "").task(views, settings)


def cuda_model(settings: Settings, launcher: Launcher, *space, code_size: int = 0) -> RadianceModel:
    """Returns a model that the CUDA kernels render, launched by `launcher`. space: its box, and its hull if any."""
    return new_model(settings, *space, code_size=code_size, make_engine=partial(CudaEngine, launcher=launcher))


def cuda_task(views: Views, settings: Settings, launcher: Launcher) -> RadianceTask:
    """Returns a task that the CUDA kernels compute, launched by `launcher`."""
    return RadianceTask(views, settings, lambda settings, *space: cuda_model(settings, launcher, *space))
