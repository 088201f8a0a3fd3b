"""Mesh files: .ply, .obj (+ .mtl + .png), .glb, .stl, and the report beside them."""

from __future__ import annotations

import json
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy
import torch

from nerf.color import linear, to_bytes
from nerf.errors import InputError
from nerf.files import check_beside, check_writable, replacing, write_text
from nerf.geometry.origin import NO_ORIGIN, Origin
from nerf.geometry.similarity import NOWHERE, Placement
from nerf.meshing.mesh import Mesh, present
from nerf.meshing.ply import write_ply

if TYPE_CHECKING:
    from trimesh.visual import TextureVisuals

FORMATS = (".ply", ".obj", ".glb", ".stl")
TEXTURED = (".obj", ".glb")


def check_mesh_file(file: Path, textured: bool = False) -> None:
    """Raises InputError now, not after the extraction, if a mesh cannot be written under this name."""
    if file.suffix.lower() not in FORMATS:
        raise InputError(f'{file}: "{file.suffix}" is not a mesh format; use one of {", ".join(FORMATS)}')
    if textured and file.suffix.lower() not in TEXTURED:
        raise InputError(f"{file}: {file.suffix} files have no texture; use {' or '.join(TEXTURED)}")
    if textured and file.suffix.lower() == ".obj":
        if not file.stem.isprintable():
            raise InputError(
                f"{file.name!r}: .obj files name their texture in a line of text; use printable characters"
            )
        _check_texture_files(file)
    check_writable(file)


def write_mesh(file: Path, mesh: Mesh, placed: Placement = NOWHERE) -> None:
    """Writes a mesh, atomically, with its texture, else with its vertex colours; .stl has neither.

    glTF wants linear vertex colours, metres, and y up: its node says how vertices get there, see `Placement.gltf`.

    placed: where the mesh was brought. Its origin is added in double precision: to the numbers of .ply and .obj, as
    the translation of the node in .glb; .stl cannot hold it, and stays relative to it.

    Raises:
        InputError: the file cannot be written.
    """
    suffix, origin = file.suffix.lower(), placed.origin
    if suffix == ".obj":
        return _write_obj(file, mesh, origin)
    if suffix == ".ply" and origin != NO_ORIGIN:
        return write_ply(file, mesh, origin)
    import trimesh
    from trimesh.visual import ColorVisuals

    shape: Any = trimesh.Trimesh(mesh.vertices, mesh.faces, vertex_normals=mesh.normals, process=False)
    if mesh.texture is not None and suffix == ".glb":
        shape.visual = _texture_visuals(mesh, file.stem)
    elif suffix != ".stl":
        rgb = present(mesh.rgb)
        if suffix == ".glb":
            rgb = to_bytes(linear(torch.from_numpy(rgb) / 255)).numpy()
        shape.visual = ColorVisuals(shape, vertex_colors=rgb)

    if suffix == ".glb":
        scene = trimesh.Scene()
        scene.add_geometry(shape, transform=placed.gltf.numpy())
        shape = scene

    options = {".stl": {}, ".ply": {"vertex_normal": True}, ".glb": {"include_normals": True}}
    with replacing(file) as partial:
        shape.export(partial, **options[suffix])


def _texture_visuals(mesh: Mesh, name: str) -> TextureVisuals:
    """Returns trimesh's form of a mesh's texture."""
    from PIL import Image
    from trimesh.visual import TextureVisuals
    from trimesh.visual.material import PBRMaterial

    image = Image.fromarray(present(mesh.texture))
    material = PBRMaterial(name=name, baseColorTexture=image, metallicFactor=0.0, roughnessFactor=1.0)
    return TextureVisuals(uv=mesh.uv, material=material)


def _material(file: Path) -> str:
    """Returns the text of the .mtl file beside a textured .obj file."""
    return f"newmtl surface\nKa 1 1 1\nKd 1 1 1\nKs 0 0 0\nillum 1\nmap_Kd {file.stem}.png\n"


def _check_texture_files(file: Path) -> None:
    """Raises InputError if the .mtl and .png beside a textured .obj would replace others than an earlier mesh's."""
    material = file.with_suffix(".mtl")
    check_beside(material, lambda text: text == _material(file))
    if not material.exists():  # which is written first, so that a picture without it is not ours
        check_beside(file.with_suffix(".png"), lambda text: False)


def _write_obj(file: Path, mesh: Mesh, origin: Origin) -> None:
    """Writes .obj, and the .mtl and .png that it names, all called like the file; its text is never in memory whole.

    None of them appears before all are written.
    """
    table = mesh.vertices if origin == NO_ORIGIN else mesh.vertices.astype(numpy.float64) + origin
    place = " %.8g" if origin == NO_ORIGIN else " %.15g"
    form = "v" + 3 * place
    if mesh.texture is None:
        head = ""
        table = numpy.concatenate([table, present(mesh.rgb) / numpy.float32(255)], axis=1)
        form += 3 * " %.8g"
    else:
        head = f"mtllib {file.stem}.mtl\nusemtl surface\n"
        _check_texture_files(file)

    with ExitStack() as written, open(written.enter_context(replacing(file)), "w", encoding="utf-8") as text:
        text.write(head)
        numpy.savetxt(text, table, form)
        numpy.savetxt(text, present(mesh.normals), "vn %.6g %.6g %.6g")
        if head:
            numpy.savetxt(text, present(mesh.uv), "vt %.8g %.8g")
        corner = " %d/%d/%d" if head else " %d//%d"
        numpy.savetxt(text, numpy.repeat(mesh.faces + 1, 3 if head else 2, axis=1), "f" + corner * 3)
        text.flush()  # here its error is this file's
        if mesh.texture is not None:
            _write_texture(written, file, mesh.texture)


def _write_texture(written: ExitStack, file: Path, texture: numpy.ndarray) -> None:
    """Writes the .png and the .mtl beside an .obj file, which appear when `written` is closed."""
    from PIL import Image

    Image.fromarray(texture).save(written.enter_context(replacing(file.with_suffix(".png"))))
    # Closed first: a .png without it is not ours.
    written.enter_context(replacing(file.with_suffix(".mtl"))).write_text(_material(file), encoding="utf-8")


def mesh_report(mesh: Mesh, how: dict[str, object], placement: Placement) -> dict[str, object]:
    """Returns what is said of a mesh: `how` it was made and joined together, and its extent and units as written."""
    return {
        "triangles": len(mesh.faces),
        **how,
        "extent": mesh.extent.tolist(),
        "lowest": (mesh.vertices.min(0) + numpy.array(placement.origin)).tolist(),
        "highest": (mesh.vertices.max(0) + numpy.array(placement.origin)).tolist(),
        "origin": list(placement.origin),
        "units": placement.words,
    }


def write_report(file: Path, report: dict[str, object]) -> Path:
    """Writes a report beside the file that it is of; returns the report's file.

    Raises:
        InputError: it cannot be written, or another file is there.
    """
    path = file.with_name(f"{file.stem}.report.json")
    check_beside(path, lambda text: text.startswith('{\n "triangles":'))
    write_text(path, json.dumps(report, indent=1) + "\n")
    return path
