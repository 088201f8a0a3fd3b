"""A radiance field as a browser evaluates it: a WebGL2 shader, its layers, and one stream of bytes.

The table of the hash grid has 8 bits a feature; what turns bytes into features is folded into the first layer, which is
exact, as interpolation is linear. The networks are float32, the occupied cells bits. `client/march.glsl` is the march;
constants, blocks of uniforms and products of layers are filled in where a line of it begins with ``//:``.
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib import resources
from itertools import accumulate

import numpy
import torch
from torch import Tensor
from torch.nn.functional import pad

from nerf.errors import InputError
from nerf.fields.radiance import RadianceField
from nerf.geometry.contraction import FAR
from nerf.rendering.model import SURFACE_LEVEL, RadianceModel

WIDE = 4096  # texels of a row of the texture that holds the table: every device has that much
HIGH = 4096  # and its rows at most
MOST_BLOCK = 65536  # bytes of a layer: what nearly every device takes as one block of uniforms
HARMONICS = 4  # vec4 of the spherical harmonics, up to degree 4


@dataclass(frozen=True)
class BrowserField:
    """What a browser evaluates in place of a model."""

    facts: dict  # JSON: sizes of everything, and the shader; the same however the numbers change in training
    stream: bytes  # the table's texels, the layers in the facts' order, and the bits of the occupied cells
    table: Quantised  # what the texels hold


@dataclass(frozen=True)
class Quantised:
    """A table of features in bytes: feature = low + byte / 255 * span."""

    byte: Tensor  # (rows, F) uint8
    low: Tensor  # (L, F) float32, by level
    span: Tensor  # (L, F) float32
    rows: list[int]  # of each level

    @classmethod
    def of(cls, field: RadianceField) -> Quantised:
        """Returns the table of a field's hash grid, each feature of each level with a range of its own."""
        rows = [level.rows for level in field.levels]
        parts = field.encoding.table.detach().split(rows)
        low = torch.stack([part.amin(0) for part in parts])
        span = torch.stack([part.amax(0) for part in parts]) - low
        scale = 255 / span.clamp(min=1e-30)
        byte = [((part - low[n]) * scale[n]).round().to(torch.uint8) for n, part in enumerate(parts)]
        return cls(torch.cat(byte), low, span, rows)

    def features(self) -> Tensor:
        """Returns the features (rows, F) float32 that the bytes stand for."""
        parts = self.byte.split(self.rows)
        return torch.cat([low + part / 255 * span for part, low, span in zip(parts, self.low, self.span)])


def browser_field(model: RadianceModel) -> BrowserField:
    """Returns what a browser evaluates in place of a model.

    Raises:
        InputError: the field is of another kind than the shader evaluates, or too large for it.
    """
    field = plain_field(model)
    table = Quantised.of(field)
    shader, blocks = field_shader(model, field, table)
    cells = numpy.packbits(model.occupancy.occupied.numpy().transpose(2, 1, 0).ravel(), bitorder="little")
    texels = _texels(table.byte)
    stream = b"".join([texels.tobytes(), *(block.tobytes() for block in blocks.values()), cells.tobytes()])

    first = [0, *accumulate(table.rows)]
    facts = {
        "rows": first[-1],
        "texels": texels.shape[1],
        "wide": WIDE,
        "scales": [level.scale for level in field.levels],
        "grids": [[row, level.resolution, level.rows, int(level.hashed)] for row, level in zip(first, field.levels)],
        "cells": model.occupancy.resolution,
        "blocks": {name: block.nbytes for name, block in blocks.items()},
        "background": background(model),
        "shader": shader,
    }
    return BrowserField(facts, stream, table)


def background(model: RadianceModel) -> float:
    """Returns the grey behind a scene: black round photographs of a whole place, else white."""
    return 0.0 if model.box.contraction else 1.0


def plain_field(model: RadianceModel) -> RadianceField:
    """Returns the field with its parameters laid out as the shader reads them.

    Raises:
        InputError: it is of another kind, or too large.
    """
    model.copy_back()
    plain = getattr(model.field, "plain", None)
    field = plain() if plain else model.field
    if type(field) is not RadianceField:
        raise InputError(f"a browser evaluates hash fields, not {type(field).__name__}; leave --page or --view out")
    rows, features = field.encoding.table.shape
    if rows * -(-features // 4) > WIDE * HIGH:
        raise InputError("the table is too large for a browser's texture; train with fewer levels or rows")
    return field


def _texels(table: Tensor) -> numpy.ndarray:
    """Returns the table (rows, F) as texels (rows, T, 4): features beyond F are 0."""
    rows, features = table.shape
    return pad(table, (0, -features % 4)).view(rows, -1, 4).numpy()


def field_shader(model: RadianceModel, field: RadianceField, table: Quantised) -> tuple[str, dict]:
    """Returns the fragment shader, and the blocks of its layers by name, float32.

    A layer is mat4s [input block][output block], each column-major, its widths filled up to fours with zeros.

    Raises:
        InputError: a layer is too large.
    """
    levels = len(field.levels)
    features = field.encoding.table.shape[1]
    texels = -(-features // 4)

    # From bytes to features is part of the first layer.
    weights = [weight.detach() for weight in field.density_mlp.weights]
    bias = _fours(weights[0] @ table.low.flatten(), 0)
    entry = (weights[0] * table.span.flatten()).view(-1, levels, features)
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
            raise InputError(f"the layer {name} is too wide for a browser; train with narrower networks")

    text = resources.files("nerf.viewer").joinpath("client/march.glsl").read_text(encoding="utf-8")
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
