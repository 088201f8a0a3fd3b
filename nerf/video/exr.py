"""Frames of a film for compositing: an OpenEXR picture each, with light, opacity, depth and normals.

R, G, B, A: linear light, times opacity, as half floats. Z: along the camera's axis, scene units, float, `FAR` where
light goes through. N.X, N.Y, N.Z: unit normals in the frame of the input poses, 0 where there is no surface.
"""

from __future__ import annotations

from pathlib import Path

import numpy
import torch

from nerf.color import linear
from nerf.errors import InputError
from nerf.files import check_new_folder, openexr, write_exr
from nerf.video.frames import LEAST_OPACITY, RenderedFrame, normals_seen

FRAME_NAME = "{:05d}.exr"
FAR = 1e10  # of depths, as Blender writes what is infinitely far


def check_exr(folder: Path, preview: bool) -> None:
    """Raises InputError now, not after the rendering, if a film's frames cannot be written into a folder as .exr."""
    openexr(folder)
    check_new_folder(folder)
    if preview:
        raise InputError("--exr takes exact pictures: leave out --preview")


def write_frame(folder: Path, rendered: RenderedFrame) -> None:
    """Writes a frame as .exr, atomically."""
    cameras = rendered.cameras
    picture = rendered.picture
    straight = (picture.rgb / picture.opacity.clamp(min=LEAST_OPACITY)[..., None]).clamp(0, 1)
    light = torch.cat([linear(straight) * picture.opacity[..., None], picture.opacity[..., None]], dim=2)

    axis = cameras.world_from_camera[rendered.frame, :, 2]
    cosine = (cameras.image_rays(rendered.frame).direction @ axis).view(rendered.distance.shape)
    depth = torch.where(rendered.distance.isfinite(), rendered.distance * cosine, FAR)
    normal = normals_seen(cameras, rendered.frame, rendered.distance)

    halves = torch.cat([light, normal], dim=2).detach().numpy().astype(numpy.float16)
    names = ("R", "G", "B", "A", "N.X", "N.Y", "N.Z")
    channels = {name: halves[..., number] for number, name in enumerate(names)}
    write_exr(folder / FRAME_NAME.format(rendered.frame), {**channels, "Z": depth.numpy()})
