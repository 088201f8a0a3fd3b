"""A trained scene looked over: where its photographs tell little, and which further ones would tell most."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy

from nerf.coverage.page import CAVEAT, class_colors, verdict, write_page
from nerf.coverage.suggestions import told_apart
from nerf.coverage.survey import Survey, survey
from nerf.errors import InputError
from nerf.exporters.cameras import transforms_frames
from nerf.files import check_beside, check_writable, write_text
from nerf.geometry.up import find_up
from nerf.meshing.mesh import Mesh
from nerf.meshing.ply import write_ply
from nerf.report import say
from nerf.scenes import Views
from nerf.workflows.recorded import known_files, recorded_scene
from nerf.workflows.trained import TrainedRun


def look_back(run: TrainedRun, page: Path, count: int) -> list[str]:
    """Writes what photographs tell of a run's scene: a page and, beside it, .json and .ply; returns what to say of it.

    count: of further photographs, at most.

    Raises:
        InputError: no ray meets anything, or a file cannot be written.
    """
    if page.suffix.lower() not in (".html", ".htm"):
        raise InputError(f"{page}: a page is a .html file")
    table = page.with_suffix(".json")
    points = page.with_suffix(".points.ply")
    check_writable(page)
    check_beside(table, lambda text: text.startswith('{\n "verdict":'))
    check_beside(points, lambda text: text.startswith("ply\n") and "end_header" in text and "element face" not in text)
    up = find_up(run.cameras, run.floor)
    files = known_files(run.record)
    found = survey(run.model, run.cameras, told_apart(files or run.record["views"]), up, _photographs(run), count)

    write_page(page, run.record["name"], found)
    write_text(table, json.dumps(record(found), indent=1) + "\n")
    cloud = Mesh(
        vertices=found.surface.point.numpy(),
        faces=numpy.empty((0, 3), numpy.int32),
        normals=found.surface.normal.numpy(),
        rgb=class_colors(found.classes).numpy(),
    )
    write_ply(points, cloud, run.cameras.origin)

    wide = max(map(len, found.shares))
    lines = [f"{name:<{wide}}  {share:.1%}" for name, share in found.shares.items()]
    lines += [f"{number}: {suggestion.sentence}" for number, suggestion in enumerate(found.suggestions, 1)]
    return [*lines, verdict(found), CAVEAT, f"page: {page}; {table.name} and {points.name} beside it"]


def record(found: Survey) -> dict[str, object]:
    """Returns a survey for programs: shares of the surface, and the suggestions as frames of transforms.json."""
    names = [f"suggestion_{number}.jpg" for number in range(1, len(found.suggestions) + 1)]
    poses = [] if found.suggested is None else transforms_frames(found.suggested, names)
    frames = [
        pose
        | {
            "nearest": suggestion.nearest,
            "degrees_left": round(suggestion.left, 1),
            "degrees_higher": round(suggestion.higher, 1),
            "times_the_distance": round(suggestion.farther, 2),
            "photographs_on_the_way": suggestion.bridges,
            "times_what_others_tell": round(suggestion.tells, 1) if math.isfinite(suggestion.tells) else None,
            "words": suggestion.sentence,
        }
        for pose, suggestion in zip(poses, found.suggestions)
    ]

    return {
        "verdict": verdict(found),
        "caveat": CAVEAT,
        "shares": {name: round(share, 4) for name, share in found.shares.items()},
        "good_with_suggestions": round(found.after, 4),
        "frames": frames,
    }


def _photographs(run: TrainedRun) -> Views | None:
    """Returns the training pictures, if they are where the run's record says; says so if they are not."""
    try:
        return recorded_scene(run, (), "where photographs and scene disagree is not told").splits["train"]
    except InputError as error:
        say("check", str(error))
        return None
