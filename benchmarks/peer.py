"""The peer: a hash-grid radiance field as people write it in PyTorch, trained on the same pictures.

It follows the usual recipe (Müller et al. 2022 and its many ports): a hash grid of eight levels, 2^18 rows, two small
networks, fixed steps through an occupancy grid, as many rays as give 65,536 samples a step, white background, all
pixels alike, Adam with a decaying rate. Its grid, march and compositing are nerf's plain-torch ones, whose analytic
gradients are several times faster than autograd through indexing; nothing of it is native.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor, nn

from nerf.backends.choice import choose_backend
from nerf.config import Settings
from nerf.geometry.cameras import Cameras, Rays
from nerf.geometry.scene_box import SceneBox
from nerf.ops.composite import Rendering, composite
from nerf.ops.hash_grid import grid_levels, hash_grid
from nerf.ops.march import march
from nerf.ops.spherical_harmonics import spherical_harmonics
from nerf.rendering.model import Picture
from nerf.scenes import Views

SAMPLES, STEPS, CELLS, OCCUPANCY_EVERY = 65536, 512, 128, 16
LEAST_THICKNESS, DECAY, RATE, LAST_RATE = 0.01, 0.95, 1e-2, 3e-4
RAYS_AT_ONCE = 4096


class Peer(nn.Module):
    """The field, the occupancy grid and one step of training."""

    def __init__(self, views: Views, box: SceneBox, seed: int) -> None:
        super().__init__()
        torch.manual_seed(seed)
        self.views, self.box = views, box
        self.levels = grid_levels(8, 16, 1024, 18)
        self.table = nn.Parameter(torch.empty(sum(level.rows for level in self.levels), 4).uniform_(-1e-4, 1e-4))
        self.density = nn.Sequential(nn.Linear(32, 64, bias=False), nn.ReLU(), nn.Linear(64, 16, bias=False))
        sizes = [nn.Linear(32, 64, bias=False), nn.ReLU(), nn.Linear(64, 64, bias=False), nn.ReLU()]
        self.color = nn.Sequential(*sizes, nn.Linear(64, 3, bias=False))
        self.occupancy = torch.ones(CELLS, CELLS, CELLS)
        self.optimizer = torch.optim.Adam(self.parameters(), lr=RATE, eps=1e-15, betas=(0.9, 0.99), fused=True)
        self.rays, self.steps = SAMPLES // STEPS, 0

    def sigma(self, position: Tensor) -> tuple[Tensor, Tensor]:
        """Returns density per scene unit and features at positions in the unit cube."""
        features = self.density(hash_grid(position.clamp(0, 1), self.table, self.levels))
        return torch.exp(features[:, 0].clamp(max=15)) / self.box.side, features

    def render(self, rays: Rays, offset: Tensor) -> tuple[Rendering, int]:
        """Returns what rays see, and the number of samples."""
        step = self.box.diagonal / STEPS
        samples = march(rays, self.box, self.occupancy > 0, step, offset)
        sigma, features = self.sigma(self.box.unit_from_world(samples.positions(rays)))
        basis = spherical_harmonics(rays.direction, 4)[samples.ray]
        rgb = torch.sigmoid(self.color(torch.cat([features, basis], dim=1)))
        return composite(sigma, rgb, samples), len(samples)

    def train_step(self, progress: float) -> int:
        """Takes a step; returns the number of samples."""
        self.optimizer.param_groups[0]["lr"] = RATE * (LAST_RATE / RATE) ** progress
        frames, height, width, _ = self.views.images.shape
        pixel = torch.randint(frames * height * width, (self.rays,))
        frame, row, column = pixel // (height * width), pixel // width % height, pixel % width
        target = self.views.pixels(frame, row, column)
        if target.shape[1] == 4:
            target = target[:, :3] * target[:, 3:] + 1 - target[:, 3:]
        seen, samples = self.render(self.views.cameras.rays(frame, column, row), torch.rand(self.rays))
        loss = (seen.rgb + 1 - seen.opacity[:, None] - target).square().mean()
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()
        self.steps += 1
        if self.steps % OCCUPANCY_EVERY == 0:
            self.update_occupancy()
        self.rays = int(min(65536, max(256, self.rays * min(2.0, SAMPLES / max(samples, 1)))))
        return samples

    @torch.no_grad()
    def update_occupancy(self) -> None:
        """Looks at one random point of an eighth of the cells, decays, and empties those that are thin."""
        if self.steps == OCCUPANCY_EVERY:
            self.value = torch.zeros(CELLS**3)
        cell = torch.randperm(CELLS**3)[: CELLS**3 // 8]
        corner = torch.stack([cell // CELLS**2, cell // CELLS % CELLS, cell % CELLS], dim=1)
        self.value *= DECAY
        sigma = self.sigma((corner + torch.rand(len(cell), 3)) / CELLS)[0]
        self.value[cell] = torch.maximum(self.value[cell], sigma)
        if self.steps >= 2 * OCCUPANCY_EVERY:
            threshold = min(LEAST_THICKNESS / (self.box.diagonal / STEPS), self.value.mean().item())
            self.occupancy = (self.value > threshold).float().view(CELLS, CELLS, CELLS)

    @torch.no_grad()
    def picture(self, cameras: Cameras, frame: int) -> Picture:
        """Returns what one camera sees."""
        rays = cameras.image_rays(frame)
        parts = [rays[start : start + RAYS_AT_ONCE] for start in range(0, len(rays), RAYS_AT_ONCE)]
        seen = [self.render(part, torch.full((len(part),), 0.5))[0] for part in parts]
        size = (cameras.height, cameras.width)
        rgb, opacity, depth = (torch.cat([getattr(one, name) for one in seen]) for name in ("rgb", "opacity", "depth"))
        return Picture(rgb.view(*size, 3), opacity.view(size), depth.view(size))


class Reference:
    """nerf's own reference backend in the peer's place: the engine's algorithm, in plain torch."""

    def __init__(self, views: Views, settings: Settings, seed: int) -> None:
        settings = replace(settings, train=replace(settings.train, seed=seed))
        self.task = choose_backend("reference").task(views, settings)
        self.steps = 0

    def train_step(self, progress: float) -> int:
        """Takes a step; returns the number of samples."""
        self.steps += 1
        return self.task.train_step(self.steps - 1, progress).samples

    def picture(self, cameras: Cameras, frame: int) -> Picture:
        """Returns what a camera sees."""
        return self.task.averaged().picture(cameras, frame)


def curve(peer: Peer | Reference, seconds: float, marks: Sequence[float], score) -> tuple[list[dict], float]:
    """Returns the PSNR at marks of training time (the clock stands while scoring), and samples a second.

    score: (peer, whether it is the last mark) -> dB.
    """
    spent, samples, found = 0.0, 0, []
    for mark in sorted({*(m for m in marks if m < seconds), seconds}):
        while spent < mark:
            start = time.perf_counter()
            samples += peer.train_step(min(1.0, spent / seconds))
            spent += time.perf_counter() - start
        found.append({"seconds": spent, "psnr": score(peer, mark == seconds)})
        print(f"peer: {spent:.0f} s: {found[-1]['psnr']:.2f} dB", flush=True)
    return found, samples / spent
