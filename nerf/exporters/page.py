"""The output `--page`: one HTML file that is the scene, rendered by a shader that evaluates the field itself.

The file holds a poster, a head of facts (JSON), the field (one stream of bytes, deflated), and a client in JavaScript.
Nothing in it is a photograph, asks a network for anything, or tells where it was made. The table of the hash grid has 8
bits a feature; what turns bytes into features is folded into the first layer, which is exact, as interpolation is
linear. The networks are float32, the occupied cells bits.
"""

from __future__ import annotations

import copy
import hashlib
import json
import zlib
from base64 import b64encode
from importlib import resources
from io import BytesIO
from pathlib import Path

import numpy
import torch
from torch import Tensor
from torch.nn.functional import pad

from nerf import __version__
from nerf.color import to_bytes
from nerf.errors import InputError
from nerf.exporters.context import ExportContext, ExportRequest
from nerf.fields.radiance import RadianceField
from nerf.files import check_writable, write_text
from nerf.geometry.cameras import Cameras
from nerf.geometry.contraction import FAR
from nerf.geometry.up import find_up
from nerf.rendering.metrics import psnr
from nerf.rendering.model import SURFACE_LEVEL, RadianceModel
from nerf.rendering.witnesses import thumbnails
from nerf.video.plan import CameraPath, FilmRequest, plan

FORMAT = "nerf page 1"
WIDE = 4096  # texels of a row of the texture that holds the table: every device has that much
HIGH = 4096  # and its rows at most
MOST_BLOCK = 65536  # bytes of a layer: what nearly every device takes as one block of uniforms
HARMONICS = 4  # vec4 of the spherical harmonics, up to degree 4
TRACK = 90  # frames of the path that the page plays
VIEWS = 12  # named views, of training cameras
POSTER = 480  # pixels of the longer side
COMPARED = (3, 160)  # frames of the path, and the longer side of the pictures, that tell what 8 bits cost
DIGITS = 7  # of numbers in the head


def check(path: Path, request: ExportRequest) -> None:
    """Raises InputError now if the page cannot be written under this name."""
    if path.suffix.lower() not in (".html", ".htm"):
        raise InputError(f"{path}: a page is a .html file")
    check_writable(path)


def write(context: ExportContext, path: Path) -> str:
    """Writes the page; returns the sentence that tells of it.

    Raises:
        InputError: the field is of another kind than the page evaluates, or too large for it.
    """
    film = plan(context.model(), context.cameras, FilmRequest(frames=TRACK, floor=context.floor), _no_test_cameras)
    model = film.witnesses.model
    field = page_field(model)
    table, low, span = quantised(field)
    shader, blocks = field_shader(model, field, low, span)

    cells = numpy.packbits(model.occupancy.occupied.numpy().transpose(2, 1, 0).ravel(), bitorder="little")
    stream = b"".join([_texels(table).tobytes(), *(block.tobytes() for block in blocks.values()), cells.tobytes()])
    facts = head(context, film, field, shader, {name: block.nbytes for name, block in blocks.items()})
    text = page_text(facts, stream, poster(model, film.cameras[:1]))
    write_text(path, text)

    megabytes = len(text) / 2**20
    loss = bits_quality(model, low + table.double().float() / 255 * span, film.cameras)
    return f"page: {path} ({megabytes:.1f} MiB; its 8 bits against the exact pictures: {loss:.1f} dB)"


def _no_test_cameras() -> Cameras:
    raise AssertionError("the path of a page asks for no test cameras")


def page_field(model: RadianceModel) -> RadianceField:
    """Returns the field with its parameters as the page lays them out.

    Raises:
        InputError: it is of another kind, or too large.
    """
    model.copy_back()
    plain = getattr(model.field, "plain", None)
    field = plain() if plain else model.field
    if type(field) is not RadianceField:
        raise InputError(f"--page: the page evaluates hash fields, not {type(field).__name__}; leave it out")
    rows, features = field.encoding.table.shape
    if rows * -(-features // 4) > WIDE * HIGH:
        raise InputError("--page: the table is too large for a browser's texture; train with fewer levels or rows")
    return field


def quantised(field: RadianceField) -> tuple[Tensor, Tensor, Tensor]:
    """Returns the table in bytes, and the low ends and spans of its features: table = low + bytes / 255 * span.

    The bytes are (rows, F) uint8, low and span (rows, F) float32, the same in all rows of a level.
    """
    made = []
    for part in field.encoding.table.detach().split([level.rows for level in field.levels]):
        low = part.amin(0)
        span = part.amax(0) - low
        byte = ((part - low) / span.clamp(min=1e-30) * 255).round().to(torch.uint8)
        made.append((byte, low.expand_as(part), span.expand_as(part)))
    table, low, span = (torch.cat(parts) for parts in zip(*made))
    return table, low, span


def _texels(table: Tensor) -> numpy.ndarray:
    """Returns the table (rows, F) as texels (rows, T, 4): features beyond F are 0."""
    rows, features = table.shape
    return pad(table, (0, -features % 4)).view(rows, -1, 4).numpy()


def field_shader(model: RadianceModel, field: RadianceField, low: Tensor, span: Tensor) -> tuple[str, dict]:
    """Returns the fragment shader, and the blocks of its layers by name, float32.

    A layer is mat4s [input block][output block], each column-major, its widths filled up to fours with zeros.

    Raises:
        InputError: a layer is too large.
    """
    levels = len(field.levels)
    features = field.encoding.table.shape[1]
    texels = -(-features // 4)
    first = torch.cumsum(torch.tensor([0] + [level.rows for level in field.levels[:-1]]), 0)

    # From bytes to features is part of the first layer.
    weights = [weight.detach() for weight in field.density_mlp.weights]
    bias = _fours(weights[0] @ low[first].flatten(), 0)
    entry = (weights[0] * span[first].flatten()).view(-1, levels, features)
    entry = pad(entry, (0, -features % 4)).flatten(1)

    # The colour network sees the features, the harmonics and, which is zero here, a code.
    color = [weight.detach() for weight in field.color_mlp.weights]
    geometry = weights[1].shape[0]
    sides = color[0][:, : geometry + field.degree**2].split([geometry, field.degree**2], dim=1)
    color[0] = torch.cat([_fours(sides[0], 1), pad(sides[1], (0, 4 * HARMONICS - field.degree**2))], dim=1)

    layers = {"density0": entry, "density1": weights[1]}
    layers |= {f"color{number}": weight for number, weight in enumerate(color[:-1])}
    blocks = {name: _mat4s(layer) for name, layer in layers.items()}
    widths = {name: -(-layer.shape[0] // 4) for name, layer in layers.items()}
    blocks["density0"] = numpy.concatenate([blocks["density0"], bias.numpy()])
    blocks["last"] = _fours(color[-1], 1).numpy().ravel()
    for name, block in blocks.items():
        if block.nbytes > MOST_BLOCK:
            raise InputError(f"--page: the layer {name} is too wide for a browser; train with narrower networks")

    text = resources.files("nerf.exporters").joinpath("scene_page/march.glsl").read_text(encoding="utf-8")
    text = text.replace("//: constants", _constants(model, levels, texels))
    text = text.replace("//: layers", _layers(blocks, widths["density0"]))
    return text.replace("//: networks", _networks(widths, len(color) - 1, texels)), blocks


def _fours(value: Tensor, dim: int) -> Tensor:
    """Returns a tensor with zeros after its end along a dimension, up to a multiple of four."""
    size = [0, 0] * (value.dim() - 1 - dim) + [0, -value.shape[dim] % 4]
    return pad(value, size)


def _mat4s(layer: Tensor) -> numpy.ndarray:
    """Returns a layer (outputs, inputs) as mat4s [input block][output block], flat."""
    full = _fours(_fours(layer, 0), 1)
    return full.view(full.shape[0] // 4, 4, -1, 4).permute(2, 0, 3, 1).reshape(-1).numpy()


def _number(value: float) -> str:
    text = f"{value:.9g}"
    return text if {".", "e"} & {*text} else f"{text}.0"


def _vector(value: Tensor) -> str:
    return f"vec3({', '.join(_number(part) for part in value.tolist())})"


def _constants(model: RadianceModel, levels: int, texels: int) -> str:
    box = model.box
    ball = box.contraction
    floats = {
        "SIDE": box.side,
        "STEP": model.step_length(),
        "LEAST_LIGHT": model.settings.minimum_transmittance,
        "LEAST_WEIGHT": model.settings.minimum_weight,
        "SURFACE": SURFACE_LEVEL,
        "RADIUS": ball.radius if ball else 0.0,
        "NEAR": ball.near if ball else 0.0,
        "FAR": FAR,
    }
    whole = {"LEVELS": levels, "TEXELS": texels, "WIDE": WIDE, "CELLS": model.occupancy.resolution}
    lines = [f"const float {name} = {_number(value)};" for name, value in floats.items()]
    lines += [f"const int {name} = {value};" for name, value in whole.items()]
    center = ball.center if ball else torch.zeros(3)
    lines += [f"const vec3 CORNER = {_vector(box.corner)};", f"const vec3 CENTER = {_vector(center)};"]
    return "\n".join(lines)


def _layers(blocks: dict[str, numpy.ndarray], hidden: int) -> str:
    """Returns the declarations of the layers: a block of uniforms each."""
    lines = []
    for name, block in blocks.items():
        if name == "last":
            parts = f"vec4 last[{block.size // 4}];"
        elif name == "density0":
            parts = f"mat4 density0[{(block.size - 4 * hidden) // 16}]; vec4 bias[{hidden}];"
        else:
            parts = f"mat4 {name}[{block.size // 16}];"
        lines.append(f"layout(std140) uniform block_{name} {{ {parts} }};")
    return "\n".join(lines)


def _networks(widths: dict[str, int], hidden_layers: int, texels: int) -> str:
    """Returns the functions harmonics, log_density and radiance: the networks, in vectors of four neurons."""
    density, geometry, color = widths["density0"], widths["density1"], widths["color0"]

    def names(letter: str, count: int) -> list[str]:
        return [f"{letter}{number}" for number in range(count)]

    def product(layer: str, width: int, output: int | str, inputs: list[str]) -> str:
        return " + ".join(f"{layer}[{block * width} + {output}] * {name}" for block, name in enumerate(inputs))

    def rectified(layer: str, width: int, outputs: list[str], inputs: list[str]) -> list[str]:
        return [f"    {out} = max({product(layer, width, j, inputs)}, 0.0);" for j, out in enumerate(outputs)]

    h = names("h", density)
    g = names("g", geometry)
    sides = g + names("y", HARMONICS)
    lines = [f"vec4 {', '.join(h + sides)};", HARMONICS_TEXT, "float log_density(vec3 place) {"]
    lines += [f"    {name} = bias[{j}];" for j, name in enumerate(h)]
    lines += [
        "    for (int l = 0; l < LEVELS; ++l) {",
        "        vec3 at = place * scale[l] + 0.5;",
        "        vec3 lower = floor(at);",
        "        ivec4 below, above;",
        "        corners(ivec3(lower), grid[l], below, above);",
    ]
    for part in range(texels):
        lines += [
            f"        vec4 f{part} = blended(below, above, at - lower, {part});",
            f"        int k{part} = (l * TEXELS + {part}) * {density};",
        ]
        lines += [f"        {name} += density0[k{part} + {j}] * f{part};" for j, name in enumerate(h)]
    lines += ["    }", *(f"    {name} = max({name}, 0.0);" for name in h)]
    lines += [f"    g0 = {product('density1', geometry, 0, h)};", "    return g0.x;", "}"]

    lines += ["vec3 radiance() {"]
    lines += [f"    {name} = {product('density1', geometry, j, h)};" for j, name in enumerate(g) if j > 0]
    inputs = sides
    for number in range(hidden_layers - 1):
        outputs = names("ab"[number % 2] + "_", color)
        if number < 2:
            lines += [f"    vec4 {', '.join(outputs)};"]
        lines += rectified(f"color{number}", color, outputs, inputs)
        inputs = outputs
    lines += [
        "    vec3 sum = vec3(0.0);",
        f"    for (int j = 0; j < {color}; ++j) {{",
        f"        vec4 v = max({product(f'color{hidden_layers - 1}', color, 'j', inputs)}, 0.0);",
        f"        sum += vec3(dot(last[j], v), dot(last[{color} + j], v), dot(last[{2 * color} + j], v));",
        "    }",
        "    return 1.0 / (1.0 + exp(-sum));",
        "}",
    ]
    return "\n".join(lines)


# As in `nerf.ops.spherical_harmonics`; weights of degrees that a field lacks are 0.
HARMONICS_TEXT = """void harmonics(vec3 d) {
    float x = d.x, y = d.y, z = d.z, xx = x * x, yy = y * y, zz = z * z;
    y0 = vec4(0.28209479, -0.48860251 * y, 0.48860251 * z, -0.48860251 * x);
    y1 = vec4(1.09254843 * x * y, -1.09254843 * y * z, 0.94617470 * zz - 0.31539157, -1.09254843 * x * z);
    y2 = vec4(0.54627422 * (xx - yy), 0.59004359 * y * (yy - 3.0 * xx), 2.89061144 * x * y * z,
              0.45704580 * y * (1.0 - 5.0 * zz));
    y3 = vec4(0.37317633 * z * (5.0 * zz - 3.0), 0.45704580 * x * (1.0 - 5.0 * zz), 1.44530572 * z * (xx - yy),
              0.59004359 * x * (3.0 * yy - xx));
}"""


def head(context: ExportContext, film: CameraPath, field: RadianceField, shader: str, blocks: dict[str, int]) -> dict:
    """Returns what the page knows beside the field's numbers."""
    model = film.witnesses.model
    rows = [0]
    for level in field.levels:
        rows.append(rows[-1] + level.rows)

    # Depths that are coloured, and the views that have names.
    seen = film.witnesses.views.distance
    met = seen[seen.isfinite()]
    near, far = torch.quantile(met[:: max(1, len(met) // 100_000)], torch.tensor([0.02, 0.98])).tolist()
    some = torch.linspace(0, len(context.cameras) - 1, min(VIEWS, len(context.cameras))).round().long()

    return {
        "format": FORMAT,
        "version": __version__,
        "rows": rows[-1],
        "texels": -(-field.encoding.table.shape[1] // 4),
        "wide": WIDE,
        "scales": [level.scale for level in field.levels],
        "grids": [[first, level.resolution, level.rows, int(level.hashed)] for first, level in zip(rows, field.levels)],
        "cells": model.occupancy.resolution,
        "blocks": blocks,
        "background": 0.0 if model.box.contraction else 1.0,
        "range": [near, max(far, near * 1.001)],
        "up": find_up(context.cameras, context.floor).direction.tolist(),
        "track": _poses(film.cameras),
        "views": _poses(context.cameras[some]),
        "shader": shader,
    }


def _poses(cameras: Cameras) -> list[list[float]]:
    """Returns right, down, ahead and place of cameras, and their heights over focal lengths: 13 numbers each."""
    pose = cameras.world_from_camera.transpose(1, 2).reshape(len(cameras), 12)
    view = cameras.size[:, 1:] / cameras.focal[:, 1:]
    return [[float(f"{value:.{DIGITS}g}") for value in row] for row in torch.cat([pose, view], dim=1).tolist()]


def poster(model: RadianceModel, camera: Cameras) -> bytes:
    """Returns a JPEG of what a camera sees: what there is where a browser has no WebGL2, and before it is ready."""
    from PIL import Image

    rgb = model.picture(thumbnails(camera, POSTER), 0).over(0.0 if model.box.contraction else 1.0)
    file = BytesIO()
    Image.fromarray(to_bytes(rgb).numpy()).save(file, "JPEG", quality=85)
    return file.getvalue()


def bits_quality(model: RadianceModel, table: Tensor, cameras: Cameras) -> float:
    """Returns the PSNR of pictures of the field with another table, against its own."""
    other = copy.copy(model)
    other._modules = {**model._modules, "field": copy.deepcopy(model.field)}
    other.field.load_tensors({**dict(page_field(model).named_parameters()), "encoding.table": table})
    other.forget_engine()
    count, side = COMPARED
    some = thumbnails(cameras[torch.linspace(0, len(cameras) - 1, count).round().long()], side)
    pictures = [[each.picture(some, frame).over(0.0) for frame in range(count)] for each in (model, other)]
    return psnr(torch.stack(pictures[0]), torch.stack(pictures[1]))


def page_text(facts: dict, stream: bytes, jpeg: bytes) -> str:
    """Returns the page: everything in one text, with the hashes of its style and client, which alone may run."""
    folder = resources.files("nerf.exporters").joinpath("scene_page")
    page, style, client = (
        folder.joinpath(name).read_text(encoding="utf-8").strip() for name in ("page.html", "page.css", "client.js")
    )
    parts = {
        "STYLE-HASH": _hash(style),
        "CLIENT-HASH": _hash(client),
        ">STYLE<": f">{style}<",
        ">CLIENT<": f">{client}<",
        "POSTER": f"data:image/jpeg;base64,{b64encode(jpeg).decode()}",
        ">HEAD<": ">" + json.dumps(facts, allow_nan=False).replace("<", "\\u003c") + "<",
        ">STREAM<": f">{b64encode(zlib.compress(stream, 9)).decode()}<",
    }
    for word, text in parts.items():
        page = page.replace(word, text, 1)
    return page + "\n"


def _hash(text: str) -> str:
    return b64encode(hashlib.sha256(text.encode()).digest()).decode()
