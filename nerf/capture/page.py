"""The capture check as one HTML page without anything beside it: warnings, facts, a drawing, the pictures' ranking."""

from __future__ import annotations

import html
from base64 import b64encode
from collections.abc import Mapping
from io import BytesIO
from pathlib import Path

import torch
from torch import Tensor

from nerf.capture.quality import BLURRED, CaptureCheck
from nerf.capture.space import SceneSpace
from nerf.capture.stereo import MeasuredDistances
from nerf.files import write_text
from nerf.geometry.cameras import Cameras
from nerf.geometry.scene_box import SceneBox
from nerf.geometry.up import find_up

MOST_MAPS = 6  # of measured distances are drawn
BRIGHTEST = 0.98  # quantile of the inverse distances that is drawn white
PANEL = 420  # pixels a side of a drawing
MOST_POINTS = 3000
NEAREST = 0.95  # of the points are drawn: the rest lie far out
FRUSTUM = 0.04  # length of a drawn camera, of the drawing
STYLE = (
    "body{font:15px/1.5 sans-serif;max-width:62rem;margin:2rem auto;padding:0 1rem;color:#222}"
    "td,th{text-align:left;padding:.1rem .8rem .1rem 0;vertical-align:top}"
    ".warning{background:#fff3d6;border-left:4px solid #d90;padding:.4rem .8rem;margin:.4rem 0}"
    ".learned{stroke:#26c}.held{stroke:#2a2}"
    "svg{border:1px solid #ccc;margin-right:.6rem;background:#fff}svg *{fill:none}"
)


def write_page(
    file: Path, title: str, check: CaptureCheck, cameras: dict[str, Cameras], points: Tensor | None, space: SceneSpace
) -> None:
    """Writes the page.

    cameras: by split, in the order of the pictures' names. points: (N, 3) sparse points, or None. space: where it is.
    """
    blurred = {(facts.split, facts.name) for facts in check.pictures if facts.detail < BLURRED}
    drawing = drawings(cameras, {} if points is None else {"#999": points}, space.box)

    rows = "".join(
        f"<tr{' style=color:#d22' if (facts.split, facts.name) in blurred else ''}><td>{html.escape(facts.name)}"
        f"<td>{facts.split}<td>{facts.detail:.2f}<td>{'' if facts.points is None else facts.points}"
        f"<td>{'' if facts.error is None else f'{facts.error:.2f}'}"
        for facts in check.pictures
    )

    body = [
        f"<h1>{html.escape(title)}</h1>",
        *(f"<p class=warning>{html.escape(warning)}" for warning in check.warnings),
        "<table>",
        *(f"<tr><th>{html.escape(what)}<td>{html.escape(how)}" for what, how in check.facts),
        f"</table><h2>Cameras, points and bounds</h2>{drawing}",
        "<p>Blue: learned from; green: held out; grey: points; orange: bounds.",
        *_measured(space.measured),
        "<h2>Pictures, the softest first</h2>",
        "<table><tr><th>picture<th>split<th>detail, of the median<th>points<th>reprojection, pixels",
        f"{rows}</table>",
    ]
    head = f"<!doctype html><meta charset=utf-8><title>{html.escape(title)}</title><style>{STYLE}</style>"
    write_text(file, "\n".join([head, *body]) + "\n")


def _measured(measured: MeasuredDistances | None) -> list[str]:
    """Returns the drawing of what stereo measured in some pictures, if it measured any: near is bright."""
    import numpy
    from PIL import Image

    if measured is None:
        return []
    drawn = []
    for frame in torch.linspace(0, len(measured.distance) - 1, min(MOST_MAPS, len(measured.distance))).round().long():
        distance = measured.distance[frame]
        inverse = torch.where(distance > 0, 1 / distance.clamp(min=1e-12), 0)
        greatest = inverse[inverse > 0].quantile(BRIGHTEST) if (inverse > 0).any() else 1.0
        grey = (255 * (inverse / greatest).clamp(max=1).sqrt()).to(torch.uint8)
        png = BytesIO()
        Image.fromarray(numpy.ascontiguousarray(grey.numpy())).save(png, "png")
        drawn.append(f"<img alt='' src='data:image/png;base64,{b64encode(png.getvalue()).decode()}'>")
    return [f"<h2>Distances measured before training</h2>{' '.join(drawn)}", "<p>Bright: near; black: not measured."]


def drawings(cameras: Mapping[str, Cameras], points: Mapping[str, Tensor], box: SceneBox) -> str:
    """Returns the scene drawn from above and from the side.

    Args:
        cameras: by split; those of "train" are blue, all others green, and of "suggested" have their numbers.
        points: (N, 3) by their colour.
        box: the bounds.
    """
    # Axes of the drawings.
    up = find_up(next(iter(cameras.values()))).direction
    side = torch.nn.functional.normalize(torch.linalg.cross(up, torch.eye(3)[up.abs().argmin()]), dim=0)
    ahead = torch.linalg.cross(up, side)

    # What is drawn: the bounds and all cameras, with a little room round them.
    everyone = torch.cat([views.world_from_camera for views in cameras.values()])
    middle = box.corner + box.side / 2 if box.contraction is None else box.contraction.center
    half = box.side / 2 if box.contraction is None else box.contraction.radius
    reach = 1.1 * max((everyone[:, :, 3] - middle).norm(dim=1).max().item(), half)
    drawn = {color: _sparse(some, middle) for color, some in points.items() if len(some)}

    found = ""
    for caption, right, upwards in (("from above", side, ahead), ("from the side", side, up)):
        plane = torch.stack([right, -upwards], 1) * (PANEL / 2 / reach)
        parts = [_bounds(box, middle, half, plane)]
        parts += [_points((some - middle) @ plane, color) for color, some in drawn.items()]
        for split, views in cameras.items():
            parts += [_camera(views, frame, middle, plane, reach, split == "train") for frame in range(len(views))]
        if "suggested" in cameras:
            parts += _numbers((cameras["suggested"].world_from_camera[:, :, 3] - middle) @ plane)
        view_box = f"width={PANEL} height={PANEL} viewBox='{-PANEL / 2} {-PANEL / 2} {PANEL} {PANEL}'"
        svg = f"<svg {view_box}>{''.join(parts)}</svg>"
        found += f"<figure style='display:inline-block;margin:0'>{svg}<figcaption>{caption}</figcaption></figure>"
    return found


def _sparse(points: Tensor, middle: Tensor) -> Tensor:
    """Returns at most MOST_POINTS of the points, those far out left out."""
    distance = (points - middle).norm(dim=1)
    # torch.quantile takes at most 16 million values; 100000 tell as much.
    farthest = torch.quantile(distance[:: -(-len(distance) // 10**5)], NEAREST)
    points = points[distance <= farthest]
    return points[:: -(-len(points) // MOST_POINTS)]


def _numbers(pixel: Tensor) -> list[str]:
    """Returns the SVG of numbers from 1 beside places (N, 2)."""
    return [f"<text x='{x + 6:.1f}' y='{y - 6:.1f}'>{number}</text>" for number, (x, y) in enumerate(pixel.tolist(), 1)]


def _points(pixel: Tensor, color: str) -> str:
    """Returns the SVG path of points (N, 2)."""
    dots = "".join(f"M{x:.1f} {y:.1f}h.01" for x, y in pixel.tolist())
    return f"<path d='{dots}' stroke='{color}' stroke-width='1.5' stroke-linecap='round'/>"


def _bounds(box: SceneBox, middle: Tensor, half: float, plane: Tensor) -> str:
    """Returns the SVG of the bounds: the circle outside which space is contracted, or the twelve edges of a box."""
    if box.contraction is not None:
        radius = half * plane[:, 0].norm().item()
        return f"<circle r='{radius:.1f}' stroke='#e80' stroke-dasharray='4 3'/>"

    corner = torch.cartesian_prod(*[torch.tensor([-half, half])] * 3)
    pixel = (corner + box.corner + box.side / 2 - middle) @ plane
    edges = [(a, b) for a in range(8) for b in range(a) if (corner[a] != corner[b]).sum() == 1]
    lines = "".join("M{:.1f} {:.1f}L{:.1f} {:.1f}".format(*pixel[a].tolist(), *pixel[b].tolist()) for a, b in edges)
    return f"<path d='{lines}' stroke='#e80'/>"


def _camera(cameras: Cameras, frame: int, middle: Tensor, plane: Tensor, reach: float, learned: bool) -> str:
    """Returns the SVG of a camera: a pyramid from its eye over its picture."""
    width, height = cameras.size[frame].tolist()
    slope = torch.tensor([width, height]) / 2 / cameras.focal[frame]
    corner = torch.tensor([[0.0, 0, 0], [-1, -1, 1], [1, -1, 1], [1, 1, 1], [-1, 1, 1]])
    corner = corner * torch.tensor([*slope.clamp(max=1).tolist(), 1.0]) * FRUSTUM * reach

    pose = cameras.world_from_camera[frame]
    pixel = (corner @ pose[:, :3].T + pose[:, 3] - middle) @ plane
    eye, *border = ["{:.1f} {:.1f}".format(*point) for point in pixel.tolist()]
    style = "learned" if learned else "held"
    return f"<path class={style} d='M{'L'.join(border)}Z{''.join(f'M{eye}L{point}' for point in border)}'/>"
