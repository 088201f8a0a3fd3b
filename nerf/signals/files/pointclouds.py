"""Point clouds with normals in .ply, .pcd and .xyzn files, by numpy: what a header claims is checked, never trusted."""

from __future__ import annotations

import re
import warnings
from dataclasses import dataclass
from pathlib import Path

import numpy

from nerf.errors import InputError

MOST_HEADER = 2**20  # bytes
MOST_COLUMNS = 4096
PLY_TYPES = {
    **{"char": "i1", "uchar": "u1", "short": "i2", "ushort": "u2", "int": "i4", "uint": "u4"},
    **{"int8": "i1", "uint8": "u1", "int16": "i2", "uint16": "u2", "int32": "i4", "uint32": "u4"},
    **{"float": "f4", "double": "f8", "float32": "f4", "float64": "f8"},
}
PLY_ORDERS = {"ascii": "", "binary_little_endian": "<", "binary_big_endian": ">"}
PCD_TYPES = {"F": "f", "I": "i", "U": "u"}
XYZN = ("x", "y", "z", "nx", "ny", "nz")


@dataclass(frozen=True)
class Table:
    """Where the points of a file stand: rows of numbers of one kind after another."""

    start: int  # bytes before the first row
    rows: int
    names: list[str]  # of the columns
    types: list[str]  # of the columns as numpy names them, with the order of their bytes
    text: bool  # whether numbers are written out, a row a line

    def read(self, path: Path, wanted: list[str]) -> numpy.ndarray:
        """Returns the wanted columns (rows, W) float64.

        Raises:
            ValueError: a column is missing, or the file has fewer rows than its header claims.
        """
        if not 0 < len(self.names) <= MOST_COLUMNS:
            raise ValueError(f"{len(self.names)} columns")
        columns = [self.names.index(name) for name in wanted]
        kind = numpy.dtype([(str(column), type_) for column, type_ in enumerate(self.types)])

        # A number in words takes two bytes at least, with the blank behind it.
        a_row = 2 * len(self.names) if self.text else kind.itemsize
        if not 0 <= self.rows * a_row <= path.stat().st_size - self.start + self.text:
            raise ValueError(f"its header claims {self.rows} points, which the file is too short for")
        if self.text:
            return _numbers(path, self.start, columns, self.rows)
        rows = numpy.fromfile(path, kind, self.rows, offset=self.start)
        return numpy.stack([rows[str(column)].astype(numpy.float64) for column in columns], axis=1)


def read_point_cloud(path: Path) -> tuple[numpy.ndarray, numpy.ndarray]:
    """Returns points (N, 3) and normals (N, 3), float64; normals (0, 3) if the file has none.

    Raises:
        InputError: the file cannot be read, or its header claims what it does not hold.
    """
    suffix = path.suffix.lower()
    try:
        if suffix == ".xyzn":
            numbers = _numbers(path, 0, [*range(6)])
            return numbers[:, :3], numbers[:, 3:]

        table = {".ply": _ply_table, ".pcd": _pcd_table}[suffix](path)
        normals = [name for name in XYZN[3:] if name in table.names]
        numbers = table.read(path, [*XYZN[:3], *normals] if len(normals) == 3 else [*XYZN[:3]])
        return numbers[:, :3], numbers[:, 3:] if numbers.shape[1] == 6 else numpy.empty((0, 3))
    except (OSError, ValueError, IndexError, KeyError) as error:
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise InputError(f"{path}: cannot be read as a point cloud ({reason}); restore the file") from None


def _header(path: Path, last: bytes) -> tuple[list[list[str]], int]:
    """Returns the words of a header's lines up to the line that matches `last`, and the bytes it takes."""
    with open(path, "rb") as file:
        head = file.read(MOST_HEADER)
    end = re.search(rb"^" + last + rb"[ \t]*\r?\n", head, re.MULTILINE)
    if end is None:
        raise ValueError("its header does not end")
    lines = head[: end.end()].decode("latin-1").split("\n")
    return [words for line in lines if (words := line.split())], end.end()


def _ply_table(path: Path) -> Table:
    """Returns where the vertices of a .ply file stand."""
    lines, start = _header(path, rb"end_header")
    if lines[0] != ["ply"]:
        raise ValueError("not a .ply file")

    order = ""
    element = ""
    rows = 0
    names: list[str] = []
    types: list[str] = []
    for words in lines[1:]:
        if words[0] == "format":
            order = PLY_ORDERS[words[1]]
        elif words[0] == "element":
            if words[1] != "vertex" and element == "":
                raise ValueError(f"its vertices come after its element {words[1][:40]}")
            element = words[1]
            rows = int(words[2]) if element == "vertex" else rows
        elif words[0] == "property" and element == "vertex":
            types.append(order + PLY_TYPES[words[1]])  # a list is no type
            names.append(words[2])
    return Table(start, rows, names, types, order == "")


def _pcd_table(path: Path) -> Table:
    """Returns where the points of a .pcd file stand."""
    lines, start = _header(path, rb"DATA[ \t]+\w+")
    head = {words[0]: words[1:] for words in lines}
    data = head["DATA"][0]
    if data not in ("ascii", "binary"):
        raise ValueError(f'"{data[:40]}" is not read; save it as .ply, or as .pcd with DATA ascii or binary')

    counts = [int(count) for count in head.get("COUNT", ["1"] * len(head["FIELDS"]))]
    if min(counts) < 1 or sum(counts) > MOST_COLUMNS:
        raise ValueError("impossible numbers after COUNT")
    if not len(head["FIELDS"]) == len(head["TYPE"]) == len(head["SIZE"]) == len(counts):
        raise ValueError("FIELDS, TYPE, SIZE and COUNT are not equally long")

    names: list[str] = []
    types: list[str] = []
    for name, type_, size, count in zip(head["FIELDS"], head["TYPE"], head["SIZE"], counts):
        if size not in ("1", "2", "4", "8"):
            raise ValueError("impossible numbers after SIZE")
        names += [name.replace("normal_", "n")] * count
        types += [f"<{PCD_TYPES[type_]}{size}"] * count
    return Table(start, int(head["POINTS"][0]), names, types, data == "ascii")


def _numbers(path: Path, start: int, columns: list[int], rows: int | None = None) -> numpy.ndarray:
    """Returns columns (rows, C) float64 of lines of numbers from a byte on; of all lines if `rows` is None."""
    if rows == 0:
        return numpy.empty((0, len(columns)))
    with open(path, "rb") as file, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of no lines at all, which the caller says
        file.seek(start)
        found = numpy.loadtxt(file, usecols=columns, max_rows=rows, ndmin=2, encoding="latin-1")
    if rows is not None and len(found) != rows:
        raise ValueError(f"its header claims {rows} points, {len(found)} are there")
    return found.reshape(-1, len(columns))
