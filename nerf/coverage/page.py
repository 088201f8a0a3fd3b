"""The survey of a trained scene as one HTML page without anything beside it, which prints as a sheet to take along."""

from __future__ import annotations

import html
import math
from base64 import b64encode
from pathlib import Path

import torch
from torch import Tensor

from nerf.capture.page import STYLE, drawings
from nerf.coverage.sights import CLASSES, GOOD
from nerf.coverage.survey import Survey
from nerf.files import write_text
from nerf.rendering.witnesses import thumbnails
from nerf.viewer.page import DIGITS, jpeg, poses
from nerf.viewer.shader import background

COLORS = ("#d7191c", "#f0921e", "#3f8fd2", "#8e4bb5", "#b9b9b9")  # by class; what is good is quiet
MEANINGS = (
    "no photograph sees it: what the scene shows there is invented",
    "fewer than three photographs see it, or all from one side: its depth is a guess",
    "no photograph sees it from as near as most of the surface: it is blurred",
    "photographs see it, and the scene does not look as they do: gloss, something that moved, poses that are off",
    "three photographs and more, from different sides and near enough",
)
CAVEAT = (
    "Coverage is not the whole of error: plain walls, gloss and thin parts can be wrong where many photographs see "
    "them. Shares are of what is to be seen from where one might stand, not of the area."
)
MOST_SPOTS = 3000  # in a page of the scene itself
FINDER = 320  # pixels of the longer side of what the finder should show
TINT = 0.6  # of the class's colour, over what is not good
SHEET = (
    ".shot{display:flex;gap:1rem;align-items:center;margin:1rem 0;break-inside:avoid}.shot img{max-width:17rem}"
    ".shot b{font-size:1.6rem;min-width:2rem}.swatch{display:inline-block;width:.8rem;height:.8rem;margin-right:.4rem}"
    "svg text{fill:#181;stroke:none;font:bold 15px sans-serif}"
)


def write_page(file: Path, title: str, survey: Survey) -> None:
    """Writes the page. title: of the scene."""
    shares = zip(COLORS, CLASSES, survey.shares.values(), MEANINGS)
    rows = "".join(
        f"<tr><td><span class=swatch style=background:{color}></span>{name}<td>{share:.1%}<td>{meaning}"
        for color, name, share, meaning in shares
    )
    cameras = {"train": survey.photographs.cameras}
    if survey.suggested is not None:
        cameras["suggested"] = survey.suggested
    points = {color: survey.surface.point[survey.classes == number] for number, color in enumerate(COLORS)}
    drawing = drawings(cameras, points, survey.model.box)
    body = [
        f"<h1>Coverage: {html.escape(title)}</h1><p><b>{html.escape(verdict(survey))}</b>",
        f"<table><tr><th>how photographs see it<th>share<th>that is{rows}</table><p>{CAVEAT}",
        f"<h2>Where</h2>{drawing}<p>Blue: photographs; green, with numbers: suggested.",
        *(["<h2>Photographs to take</h2>"] if survey.suggestions else []),
        *(_shot(survey, number) for number in range(len(survey.suggestions))),
    ]
    head = f"<!doctype html><meta charset=utf-8><title>Coverage: {html.escape(title)}</title>"
    write_text(file, "\n".join([f"{head}<style>{STYLE}{SHEET}</style>", *body]) + "\n")


def class_colors(classes: Tensor) -> Tensor:
    """Returns the colours of classes (N,), (N, 3) uint8."""
    return torch.tensor([[*bytes.fromhex(color[1:])] for color in COLORS], dtype=torch.uint8)[classes]


def verdict(survey: Survey) -> str:
    """Returns what to make of a survey, in one sentence."""
    good = f"{survey.shares[CLASSES[GOOD]]:.0%} of what is to be seen is seen well"
    if survey.suggestions:
        return f"{good}; with the {len(survey.suggestions)} photographs that are suggested, {survey.after:.0%}"
    if survey.unasked:
        return f"{good}; no photograph is suggested, since {survey.unasked}"
    return f"{good}; these photographs are enough: a further one would hardly tell more than each of them does"


def layer(survey: Survey) -> dict[str, object]:
    """Returns what a page of the scene itself shows of a survey: points of what is not good, with normals, by class."""
    bad = range(len(CLASSES) - 1)
    share = (survey.classes != GOOD).sum().item() / MOST_SPOTS
    kept = [(survey.classes == number).nonzero().squeeze(1)[:: max(1, math.ceil(share))] for number in bad]
    spots = [torch.cat([survey.surface.point[some], survey.surface.normal[some]], dim=1) for some in kept]
    return {
        "colors": COLORS[:-1],
        "points": [[float(f"{value:.{DIGITS}g}") for value in some.flatten().tolist()] for some in spots],
        "suggested": [] if survey.suggested is None else poses(survey.suggested),
        "words": [suggestion.sentence for suggestion in survey.suggestions],
        "verdict": verdict(survey),
    }


def _shot(survey: Survey, number: int) -> str:
    """Returns a suggestion, counted from 0: what the finder should show, what of that is not seen well, and words."""
    pictures = "".join(
        f"<img alt='' src='data:image/jpeg;base64,{b64encode(jpeg(rgb, 85)).decode()}'>"
        for rgb in finder(survey, number)
    )
    words = html.escape(survey.suggestions[number].sentence)
    return f"<div class=shot><b>{number + 1}</b>{pictures}<p>{words}.</div>"


@torch.no_grad()
def finder(survey: Survey, number: int) -> tuple[Tensor, Tensor]:
    """Returns what a suggested camera shows, (H, W, 3), and the same with what is not seen well in colours.

    number: of the suggestion, from 0.
    """
    if survey.suggested is None:
        raise ValueError("finder: nothing is suggested")
    small = thumbnails(survey.suggested[number : number + 1], FINDER)
    rgb = survey.model.picture(small, 0).over(background(survey.model))
    distance = survey.model.distances(small, 0).flatten()
    met = distance.isfinite()
    rays = small.image_rays(0)[met]
    classes = survey.nearest_class(rays.origin + distance[met, None] * rays.direction)
    tinted = rgb.reshape(-1, 3).clone()
    tint = torch.where(classes == GOOD, 0.0, TINT)[:, None]
    tinted[met] = torch.lerp(tinted[met], class_colors(classes) / 255, tint)
    return rgb, tinted.view_as(rgb)
