"""Mesh files: .ply, .obj (+ .mtl + .png), .glb, .stl, and the report beside them."""

from __future__ import annotations

import json
from pathlib import Path

import numpy

from nerf.errors import InputError
from nerf.files import check_writable, replacing, write_text
from nerf.geometry.similarity import METRES, Placement
from nerf.meshing.mesh import Mesh

FORMATS = (".ply", ".obj", ".glb", ".stl")
TEXTURED = (".obj", ".glb")


def check_mesh_file(file: Path, textured: bool = False) -> None:
    """Raises InputError now, not after the extraction, if a mesh cannot be written under this name."""
    if file.suffix.lower() not in FORMATS:
        raise InputError(f'{file}: "{file.suffix}" is not a mesh format; use one of {", ".join(FORMATS)}')
    if textured and file.suffix.lower() not in TEXTURED:
        raise InputError(f"{file}: {file.suffix} files have no texture; use {' or '.join(TEXTURED)}")
    check_writable(file)


def write_mesh(file: Path, mesh: Mesh, unit: str = "") -> None:
    """Writes a mesh, atomically, with its texture, else with its vertex colours; .stl has neither.

    glTF wants linear vertex colours, and metres: lengths in a named unit are turned into them.

    Raises:
        InputError: the file cannot be written.
    """
    kind = file.suffix.lower()
    if kind == ".obj":
        return _write_obj(file, mesh)
    import trimesh

    shape = trimesh.Trimesh(mesh.vertices, mesh.faces, vertex_normals=mesh.normals, process=False)
    if kind == ".glb":
        shape.vertices = mesh.vertices * METRES.get(unit, 1.0)
        shape.vertex_normals = mesh.normals
    if mesh.texture is not None and kind == ".glb":
        shape.visual = _texture_visuals(mesh, file.stem)
    elif kind != ".stl":
        shape.visual = trimesh.visual.ColorVisuals(
            shape, vertex_colors=_linear(mesh.rgb) if kind == ".glb" else mesh.rgb
        )
    options = {} if kind == ".stl" else {"vertex_normal": True} if kind == ".ply" else {"include_normals": True}
    with replacing(file) as partial:
        shape.export(partial, **options)


def _linear(rgb: numpy.ndarray) -> numpy.ndarray:
    value = rgb / 255.0
    linear = numpy.where(value <= 0.04045, value / 12.92, ((value + 0.055) / 1.055) ** 2.4)
    return (linear * 255 + 0.5).astype(numpy.uint8)


def _texture_visuals(mesh: Mesh, name: str):
    import trimesh
    from PIL import Image

    material = trimesh.visual.material.PBRMaterial(
        name=name, baseColorTexture=Image.fromarray(mesh.texture), metallicFactor=0.0, roughnessFactor=1.0
    )
    return trimesh.visual.TextureVisuals(uv=mesh.uv, material=material)


def _write_obj(file: Path, mesh: Mesh) -> None:
    """Writes .obj, and the .mtl and .png that it names, all called like the file; its text is never in memory whole."""
    from PIL import Image

    if mesh.texture is None:
        head, place = "", numpy.concatenate([mesh.vertices, mesh.rgb / numpy.float32(255)], axis=1)
    else:
        with replacing(file.with_suffix(".png")) as partial:
            Image.fromarray(mesh.texture).save(partial)
        material = f"newmtl surface\nKa 1 1 1\nKd 1 1 1\nKs 0 0 0\nillum 1\nmap_Kd {file.stem}.png\n"
        write_text(file.with_suffix(".mtl"), material)
        head, place = f"mtllib {file.stem}.mtl\nusemtl surface\n", mesh.vertices
    with replacing(file) as partial, open(partial, "w", encoding="utf-8") as text:
        text.write(head)
        numpy.savetxt(text, place, "v" + " %.8g" * place.shape[1])
        numpy.savetxt(text, mesh.normals, "vn %.6g %.6g %.6g")
        if head:
            numpy.savetxt(text, mesh.uv, "vt %.8g %.8g")
        corner = " %d/%d/%d" if head else " %d//%d"
        numpy.savetxt(text, numpy.repeat(mesh.faces + 1, 3 if head else 2, axis=1), "f" + corner * 3)


def mesh_report(mesh: Mesh, how: dict[str, object], placed: Placement) -> dict[str, object]:
    """Returns what is said of a mesh: `how` it was made and joined together, and its extent and units as written."""
    return {
        "triangles": len(mesh.faces),
        **how,
        "extent": mesh.extent.tolist(),
        "lowest": mesh.vertices.min(0).tolist(),
        "highest": mesh.vertices.max(0).tolist(),
        "units": placed.words,
    }


def write_report(file: Path, report: dict[str, object]) -> Path:
    """Writes a report beside the file that it is of; returns the report's file."""
    path = file.with_name(f"{file.stem}.report.json")
    write_text(path, json.dumps(report, indent=1) + "\n")
    return path
