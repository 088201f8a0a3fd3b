"""What came of runs, as pages without anything beside them: `report.html` of one, and several side by side."""

from __future__ import annotations

import html
import json
import shlex
from base64 import b64encode
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

import torch
from torch import Tensor

from nerf.capture.page import STYLE
from nerf.config import PLACE, Settings, default_settings
from nerf.errors import InputError
from nerf.files import read_json, write_text
from nerf.runs import RunFolder
from nerf.viewer.page import jpeg, poster
from nerf.workflows.trained import TrainedRun

FILE = "report.html"
WORST = 3  # views that are shown beside their photographs
DRAWING = (620, 200)  # pixels of the drawing of the curves
MOST_POINTS = 400  # of a curve
COLORS = ("#26c", "#d60", "#2a2", "#c2a", "#088", "#a60", "#666", "#e22")
QUALITY = 85  # of JPEG
FITTING = "img,svg{max-width:100%;height:auto}"
LINKS = {
    ".mp4": "film", ".webm": "film", ".mov": "film", ".gif": "film", ".glb": "mesh", ".obj": "mesh",
    ".ply": "mesh or points",
    ".html": "page", ".yaml": "settings", ".json": "record",
}  # fmt: skip


@dataclass(frozen=True)
class Judged:
    """A held-out view beside what the run shows of it."""

    name: str
    psnr: float  # dB
    rgb: Tensor  # (H, W, 3)
    truth: Tensor  # (H, W, 3)


@torch.no_grad()
def write_report(run: TrainedRun, worst: Sequence[Judged] = ()) -> str:
    """Writes the report of a run into its folder, from what lies there; returns the sentence that says so.

    worst: the views that are shown with their pictures, the worst first.
    """
    folder = run.folder
    metrics = _metrics(folder)
    still = f"data:image/jpeg;base64,{b64encode(poster(run.model, run.cameras[:1])).decode()}"
    body = [
        f"<h1>{_text(run.record['name'])}</h1><p><img alt='what the first camera sees' src='{still}'>",
        "<table>",
        *(f"<tr><th>{_text(what)}<td>{_text(how)}" for what, how in _facts(run, metrics)),
        f"</table><h2>Training</h2>{curves({folder.path.name: folder.curve()})}",
        *_views(metrics, worst),
        f"<h2>Files</h2><table>{''.join(_files(folder.path))}</table>",
        f"<h2>Settings that differ from the defaults</h2>{_differences(run)}",
        f"<h2>The same again</h2><pre>{_text(_command(run))}</pre>",
    ]
    write_text(folder.path / FILE, _page(f"Report: {run.record['name']}", body))
    return f"report: {folder.path / FILE}"


def write_comparison(runs: Sequence[RunFolder], file: Path) -> list[list[str]]:
    """Writes a page with several runs side by side; returns its table, the heads of the columns first.

    Raises:
        InputError: one of them holds no run.
    """
    records = [(run.load_settings(), run.load_scene()[0], _metrics(run)) for run in runs]
    facts = [run.load_checkpoint()[1] for run in runs]
    table = [["run", "scene", "steps", "seconds", "PSNR", "SSIM", "worst view"]]
    for run, (_, record, metrics), trained in zip(runs, records, facts):
        scores = [f"{metrics[name]:.{digits}f}" if metrics else "-" for name, digits in (("psnr", 2), ("ssim", 4))]
        worst = f"{min(view['psnr'] for view in metrics['views']):.2f}" if metrics else "-"
        row = [str(run.path), record["name"], str(trained["step"]), f"{trained['seconds']:.1f}", *scores, worst]
        table.append(row)

    names = [str(run.path) for run in runs]
    body = [
        "<h1>Runs compared</h1>",
        _table(table),
        f"<h2>Training</h2>{curves({str(run.path): run.curve() for run in runs})}",
        f"<h2>Held-out views, dB</h2>{_table(_views_beside(names, [metrics for _, _, metrics in records]))}",
        f"<h2>Settings that differ</h2>{_table(_settings_beside(names, [settings for settings, _, _ in records]))}",
    ]
    write_text(file, _page("Runs compared", body))
    return table


def curves(of: dict[str, list[tuple[int, float]]]) -> str:
    """Returns an SVG drawing of figures by steps, a line each, with a legend if there are several."""
    of = {name: points[:: -(-len(points) // MOST_POINTS)] for name, points in of.items() if len(points) > 1}
    if not of:
        return "<p>No figures were logged."
    width, height = DRAWING
    everything = [point for points in of.values() for point in points]
    last = max(1, *(step for step, _ in everything))
    low = min(value for _, value in everything)
    high = max(max(value for _, value in everything), low + 1)

    lines = []
    for color, points in zip(_colors(len(of)), of.values()):
        pixels = " ".join(
            f"{width * step / last:.1f},{height * (1 - (value - low) / (high - low)):.1f}" for step, value in points
        )
        lines.append(f"<polyline points='{pixels}' stroke='{color}' stroke-width='1.5'/>")
    legend = "".join(
        f"<p style='margin:0;color:{color}'>{_text(name)}" for color, name in zip(_colors(len(of)), of) if len(of) > 1
    )
    drawing = f"<svg width={width} height={height} viewBox='0 0 {width} {height}'>{''.join(lines)}</svg>"
    return f"{drawing}<p>{low:.1f} to {high:.1f} dB on training pixels, over {last} steps.{legend}"


def _colors(count: int) -> list[str]:
    return [COLORS[number % len(COLORS)] for number in range(count)]


def _text(text: object) -> str:
    return html.escape(str(text))


def _page(title: str, body: Iterable[str]) -> str:
    head = f"<!doctype html><meta charset=utf-8><title>{_text(title)}</title><style>{STYLE}{FITTING}</style>"
    return "\n".join([head, *body]) + "\n"


def _table(rows: list[list[str]]) -> str:
    """Returns an HTML table whose first row is its head."""
    head, *rest = rows
    lines = ["".join(f"<th>{_text(cell)}" for cell in head)]
    lines += ["".join(f"<td>{_text(cell)}" for cell in row) for row in rest]
    return f"<table>{''.join(f'<tr>{line}' for line in lines)}</table>"


def _metrics(run: RunFolder) -> dict[str, Any] | None:
    """Returns the scores of the test split, if there are any that can be read."""
    file = run.path / "metrics.json"
    if not file.is_file():
        return None
    found = read_json(file, "run nerf evaluate again")
    try:
        views = [
            {"view": str(view["view"]), "psnr": float(view["psnr"]), "ssim": float(view["ssim"])}
            for view in found["views"]
        ]
        if not views:
            raise ValueError("no views")
        return {
            "psnr": float(found["psnr"]),
            "ssim": float(found["ssim"]),
            "views": views,
            "of": str(found["protocol"]),
        }
    except (KeyError, TypeError, ValueError):
        raise InputError(f"{file}: not the scores that nerf evaluate writes; run it again") from None


def _facts(run: TrainedRun, metrics: dict[str, Any] | None) -> list[tuple[str, str]]:
    cameras = run.cameras
    facts = [
        ("pictures", f"{len(cameras)} of {cameras.width} x {cameras.height}, read as {run.record.get('format', '?')}"),
        ("training", f"{run.facts['step']} steps in {run.facts['seconds']:.1f} s, seed {run.settings.train.seed}"),
        ("computed by", f"{run.record['backend']}, {run.record['threads']} threads, nerf {run.facts['version']}"),
    ]
    if metrics is None:
        return [*facts, ("held-out views", "not scored; nerf evaluate scores them")]
    scores = f"{metrics['psnr']:.2f} dB, SSIM {metrics['ssim']:.4f}, mean of {len(metrics['views'])}"
    return [*facts, ("held-out views", scores), ("protocol", metrics["of"])]


def _views(metrics: dict[str, Any] | None, worst: Sequence[Judged]) -> list[str]:
    """Returns the table of the held-out views, the worst first, and the pictures of some."""
    if metrics is None:
        return []
    parts = ["<h2>Held-out views, the worst first</h2>"]
    for view in worst:
        both = b64encode(jpeg(torch.cat([view.truth, view.rgb], dim=1), QUALITY)).decode()
        caption = f"{_text(view.name)}: {view.psnr:.2f} dB; photograph, run"
        parts.append(f"<figure style='margin:0 0 1rem'><img alt='' src='data:image/jpeg;base64,{both}'>")
        parts.append(f"<figcaption>{caption}</figcaption></figure>")
    views = sorted(metrics["views"], key=lambda view: view["psnr"])
    rows = [[view["view"], f"{view['psnr']:.2f}", f"{view['ssim']:.4f}"] for view in views]
    return [*parts, _table([["view", "PSNR, dB", "SSIM"], *rows])]


def _files(folder: Path) -> list[str]:
    """Returns table rows of what lies beside the report, with facts of meshes."""
    rows = []
    for file in sorted(folder.iterdir()):
        if not file.is_file() or file.suffix not in LINKS or file.name == FILE or file.name.startswith("."):
            continue
        facts = ""
        report = file.with_name(f"{file.stem}.report.json")
        if LINKS[file.suffix].startswith("mesh") and report.is_file():
            found = read_json(report, "export the mesh again")
            known = {name: found[name] for name in ("triangles", "pieces", "watertight") if name in found}
            facts = "; " + ", ".join(f"{name}: {json.dumps(value)}" for name, value in known.items())
        name = _text(file.name)
        what = f"{LINKS[file.suffix]}, {file.stat().st_size / 2**20:.1f} MiB{_text(facts)}"
        rows.append(f"<tr><td><a href='./{quote(file.name)}'>{name}</a><td>{what}")
    return rows


def _flat(settings: Settings) -> dict[str, Any]:
    return {f"{section}.{name}": value for section, part in settings.to_dict().items() for name, value in part.items()}


def _differences(run: TrainedRun) -> str:
    """Returns a table of the settings that are not what they would be without a word of the user."""
    ground = PLACE if run.model.box.contraction is not None else ""
    usual = _flat(default_settings(ground))
    other = [
        [name, str(value), str(usual[name])] for name, value in _flat(run.settings).items() if value != usual[name]
    ]
    return _table([["setting", "here", "default"], *other]) if other else "<p>None."


def _command(run: TrainedRun) -> str:
    words = [
        "nerf",
        "train",
        "--scene",
        run.record["name"],
        "--config",
        str(Path(run.folder.path.name) / "repeat.yaml"),
    ]
    return shlex.join([*words, "--out", f"{run.folder.path.name}-again"])


def _views_beside(names: list[str], metrics: list[dict[str, Any] | None]) -> list[list[str]]:
    """Returns rows of the views' figures, a column a run; - where a run has not scored a view."""
    scores = [{view["view"]: view["psnr"] for view in each["views"]} if each else {} for each in metrics]
    views = list(dict.fromkeys(view for each in scores for view in each))
    rows = [[view, *(f"{each[view]:.2f}" if view in each else "-" for each in scores)] for view in views]
    return [["view", *names], *rows]


def _settings_beside(names: list[str], settings: list[Settings]) -> list[list[str]]:
    """Returns rows of the settings in which runs differ, a column a run."""
    flat = [_flat(each) for each in settings]
    differ = [name for name in flat[0] if len({str(each[name]) for each in flat}) > 1]
    return [["setting", *names], *([name, *(str(each[name]) for each in flat)] for name in differ)]
