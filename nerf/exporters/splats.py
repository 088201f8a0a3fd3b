"""The output `--splats`: Gaussian splats, which other programs render."""

from __future__ import annotations

from pathlib import Path

from nerf.exporters.context import ExportContext, ExportRequest
from nerf.geometry.origin import NO_ORIGIN
from nerf.splatting.files import check_splats_file, write_splats
from nerf.splatting.fitting import fit_splats


def check(path: Path, request: ExportRequest) -> None:
    """Raises InputError now if splats cannot be written under this name."""
    check_splats_file(path)


def write(context: ExportContext, path: Path) -> str:
    """Fits and writes splats; returns the sentence that tells of them."""
    fit = fit_splats(context.model(), context.cameras, context.request.count)
    placed = context.placement
    write_splats(path, fit.splats.moved(placed.turn, placed.scale), placed)

    plain, antialiased = fit.psnr
    where = placed.words
    if placed.origin != NO_ORIGIN and path.suffix.lower() in (".splat", ".spz"):
        where += f", relative to {placed.origin}, which {path.suffix} cannot hold"
    megabytes = path.stat().st_size / 2**20
    return (
        f"splats: {path} ({len(fit.splats)} splats, {megabytes:.1f} MiB; against the field, from places between the "
        f"cameras: {plain:.1f} dB, antialiased {antialiased:.1f} dB; {where})"
    )
