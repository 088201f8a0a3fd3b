"""Held-out pictures fitted to a model before they are scored: pose, and gain and offset of their colours.

A scene that was learned together with its pictures' poses or exposures says nothing of those of a picture that it has
not seen: they are found from that picture alone (Lin et al. 2021, section 4; Martin-Brualla et al. 2021, section 5).
Twelve numbers at most cannot learn a picture by heart; what was aligned is stated with every score.
"""

from __future__ import annotations

import dataclasses

import torch
from torch import Tensor

from nerf.color import BACKGROUNDS
from nerf.geometry.cameras import Cameras
from nerf.ops.composite import Rendering
from nerf.rendering.model import Picture, RadianceModel
from nerf.scenes import Views
from nerf.seeding import generator
from nerf.training.camera_optimizer import apply_exposure, perturbed_rays, rotations

STEPS = 150  # of Adam
RAYS = 1024  # of one of its steps
RATE = 2e-3  # at first: radians, and parts of the depth
LAST_RATE = 0.05  # at the end, as a part of the first
FEWEST_OPAQUE = 0.5  # opacity from which a pixel tells the depth


def aligned_camera(model: RadianceModel, views: Views, frame: int, background: str, exposure: bool) -> Cameras:
    """Returns the camera of one picture at the pose from which the model shows the picture best.

    exposure: whether gain and offset of the colours are fitted too, at every step.
    """
    cameras = views.cameras[frame : frame + 1]
    truth = views.picture(frame, background)
    behind = BACKGROUNDS[background]
    height, width, _ = truth.shape
    pixels = torch.arange(height * width)
    if views.used is not None:
        pixels = pixels[views.used[frame, :height, :width].flatten()]

    random = generator(0, "alignment", frame)
    pose = cameras.world_from_camera[0].double()
    distance = _median_depth(model, cameras, width, height)
    change = torch.zeros(6, requires_grad=True)
    adam = torch.optim.Adam([change], RATE, betas=(0.9, 0.99))

    for step in range(STEPS):
        adam.param_groups[0]["lr"] = RATE * LAST_RATE ** (step / STEPS)
        pixel = pixels[torch.randint(len(pixels), (RAYS,), generator=random)]

        # Rays from the pose as it is now, which carry the gradient by its change.
        here = dataclasses.replace(cameras, world_from_camera=_moved(pose, change.detach(), distance)[None])
        rays = here.rays(torch.zeros_like(pixel), pixel % width, pixel // width)
        turn, move = change.split(3)
        # `here` has the change already: what is left of it is a zero that carries the gradient.
        rays = perturbed_rays(
            rays, (turn - turn.detach()).expand(RAYS, 3), distance * (move - move.detach()).expand(RAYS, 3)
        )

        rendering = model.render(rays)
        target = truth.view(-1, 3)[pixel]
        if exposure:
            rendering = apply_exposure(rendering, color_map(rendering, target, behind).expand(RAYS, 6))
        through = (1 - rendering.opacity[:, None]) * behind

        adam.zero_grad()
        (rendering.rgb + through - target).square().mean().backward()
        adam.step()
    return dataclasses.replace(cameras, world_from_camera=_moved(pose, change.detach(), distance)[None])


def _moved(pose: Tensor, change: Tensor, distance: float) -> Tensor:
    """Returns a pose (3, 4) float32, turned and moved; change: (6,), radians and parts of the distance."""
    turn, move = change.double().split(3)
    return torch.cat([rotations(turn[None])[0] @ pose[:, :3], (pose[:, 3] + distance * move)[:, None]], 1).float()


@torch.no_grad()
def _median_depth(model: RadianceModel, cameras: Cameras, width: int, height: int) -> float:
    pixel = torch.cartesian_prod(torch.linspace(0, width - 1, 32).long(), torch.linspace(0, height - 1, 32).long())
    seen = model.render(cameras.rays(torch.zeros(len(pixel), dtype=torch.long), pixel[:, 0], pixel[:, 1]))
    depth = (seen.depth / seen.opacity)[seen.opacity > FEWEST_OPAQUE]
    return depth.median().item() if len(depth) else 1.0


@torch.no_grad()
def color_map(rendering: Rendering, target: Tensor, background: float) -> Tensor:
    """Returns gain and offset (6,) by channel with which R rays come nearest to target (R, 3), least squares.

    Where the target is saturated it does not tell how bright the scene is: those channels are left out.
    """
    wanted = target - (1 - rendering.opacity[:, None]) * background
    found = torch.tensor([1.0, 1, 1, 0, 0, 0])
    for channel in range(3):
        told = target[:, channel] < 1
        basis = torch.stack([rendering.rgb[told, channel], rendering.opacity[told]], 1).double()
        # A picture of one colour tells one number of the two: a small pull towards no change decides.
        normal = basis.mT @ basis + 1e-3 * torch.eye(2)
        solved = torch.linalg.solve(
            normal, basis.mT @ wanted[told, channel].double() + 1e-3 * torch.tensor([1.0, 0.0]).double()
        )
        found[channel], found[channel + 3] = solved.tolist()
    return found


def aligned_colors(picture: Picture, views: Views, frame: int, background: str) -> Picture:
    """Returns a picture with the gain and offset with which it comes nearest to that of a view."""
    truth = views.picture(frame, background)
    rays = Rendering(picture.rgb.reshape(-1, 3), picture.opacity.flatten(), picture.depth.flatten())
    told = slice(None) if views.used is None else views.used[frame, : len(truth), : truth.shape[1]].flatten()
    some = Rendering(rays.rgb[told], rays.opacity[told], rays.depth[told])
    color = color_map(some, truth.reshape(-1, 3)[told], BACKGROUNDS[background]).expand(len(rays.opacity), 6)
    return dataclasses.replace(picture, rgb=apply_exposure(rays, color).rgb.view_as(picture.rgb))
