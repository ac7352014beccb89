"""Rings of labels as an SVG drawing in the form of the atlas.

Clients take drawings apart as text, at `><` between tags and at ` L ` between points, so the form is exact:
one line, no space between tags, absolute coordinates, a path element for every part of a structure.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from pipeline.core.kernels import kernel
from pipeline.core.model import Int64, UInt32
from pipeline.core.ontology import Ontology
from pipeline.service.plates.cracks import Rings

GROUP, GROUP_NAME = 28, "Atlas - Adult Mouse"  # the only group of graphic objects that is drawn
FINENESS = 0.02  # of a pixel of the label image: largest error of a written coordinate
MOST_DECIMALS = 4
LINE_SHARE = 1200  # a line is 1 / LINE_SHARE of the drawing's longer side wide


@dataclass(frozen=True)
class Sheet:
    """The frame of a drawing.

    Attributes
    ----------
    width, height : float
        Size in user units, which are pixels of the downsampled image.
    unit : float
        User units per pixel of the label image that the rings were cut from.
    first_id : int
        Id of the group; the paths have the ids that follow.
    """

    width: float
    height: float
    unit: float
    first_id: int = 0


def drawn_labels(labels: UInt32, ontology: Ontology) -> UInt32:
    """Return labels with those that the ontology lacks counted under its root.

    Parameters
    ----------
    labels : uint32 of any shape
        Structure ids, 0 outside.
    ontology : Ontology
        The structures that may be drawn.

    Returns
    -------
    uint32 of the same shape
        Ids of the ontology, 0 outside.
    """
    known = np.array([0, *sorted(ontology.by_id)], np.uint32)
    known.sort()
    at = np.minimum(np.searchsorted(known, labels), len(known) - 1)
    lacking = known[at] != labels
    return np.where(lacking, np.uint32(ontology.roots[0].id), labels) if lacking.any() else labels


def svg(rings: Rings, ontology: Ontology, sheet: Sheet) -> bytes:
    """Draw the parts of structures, each filled with the colour of its structure.

    Parameters
    ----------
    rings : Rings
        Rings in pixels of the label image; their labels are ids of the ontology.
    ontology : Ontology
        Gives colours, parents and order.
    sheet : Sheet
        Frame and scale.

    Returns
    -------
    bytes
        One line of SVG, UTF-8. The paths lie in one group, in graph order. A hole is a further subpath of its
        part; the even-odd rule leaves it open.
    """
    first = np.flatnonzero(np.diff(rings.parts, prepend=-1))  # the outer ring of each part
    ends = np.append(first[1:], len(rings.parts))
    structures = [ontology.by_id[int(label)] for label in rings.labels[first]]
    order = sorted(range(len(first)), key=lambda n: (structures[n].graph_order, n))
    data, offsets = _path_data(rings, sheet)
    paths = [
        f'<path id="{sheet.first_id + number}" structure_id="{structures[n].id}"'
        f' parent_id="{sheet.first_id}" order="{structures[n].graph_order}"'
        f' style="stroke:black;fill:#{structures[n].color.lower()}"'
        f' d="{data[offsets[first[n]] : offsets[ends[n]] - 1].decode("ascii")}"/>'
        for number, n in enumerate(order, start=1)
    ]
    group = f'<g graphic_group_label_id="{GROUP}" graphic_group_label="{GROUP_NAME}">{"".join(paths)}</g>'
    return f"{_head(sheet)}{group}</svg>".encode()


def _head(sheet: Sheet) -> str:
    width, height = f"{sheet.width:g}", f"{sheet.height:g}"
    line = max(sheet.width, sheet.height) / LINE_SHARE
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}"'
        f' viewBox="0 0 {width} {height}" fill-rule="evenodd" stroke-width="{line:.3g}"'
        f' stroke-linejoin="round">'
    )


def _path_data(rings: Rings, sheet: Sheet) -> tuple[bytes, Int64]:
    """Return the subpaths of all rings, a space after each, and where each begins."""
    decimals = min(max(math.ceil(-math.log10(2 * FINENESS * sheet.unit)), 0), MOST_DECIMALS)
    values = np.rint(rings.points * (sheet.unit * 10**decimals)).astype(np.int64)
    data, offsets = _written(values, rings.starts, decimals)
    return data.tobytes(), offsets


@kernel
def _written(values: Int64, starts: Int64, decimals: int) -> Any:
    """Write rings of whole numbers of 10**-decimals units as `M x,y L x,y Z `."""
    buffer = np.empty(64 * len(values) + 8 * len(starts) + 64, np.uint8)
    offsets = np.zeros(len(starts), np.int64)
    at = 0
    for ring in range(len(starts) - 1):
        for n in range(starts[ring], starts[ring + 1]):
            buffer[at] = ord("M") if n == starts[ring] else ord("L")
            buffer[at + 1] = ord(" ")
            at = _number(buffer, at + 2, values[n, 0], decimals)
            buffer[at] = ord(",")
            at = _number(buffer, at + 1, values[n, 1], decimals)
            buffer[at] = ord(" ")
            at += 1
        buffer[at] = ord("Z")
        buffer[at + 1] = ord(" ")
        at += 2
        offsets[ring + 1] = at
    return buffer[:at].copy(), offsets


@kernel
def _number(buffer: npt.NDArray[np.uint8], at: int, value: int, decimals: int) -> int:
    """Write a number of 10**-decimals without trailing zeros, and return where it ends."""
    if value < 0:
        buffer[at] = ord("-")
        at += 1
        value = -value
    while decimals > 0 and value % 10 == 0:
        value //= 10
        decimals -= 1
    digits, rest = 1, value // 10
    while rest > 0 or digits <= decimals:
        digits += 1
        rest //= 10
    end = at + digits + (1 if decimals > 0 else 0)
    for n in range(digits):
        if decimals > 0 and n == decimals:
            end -= 1
            buffer[end] = ord(".")
        end -= 1
        buffer[end] = ord("0") + value % 10
        value //= 10
    return at + digits + (1 if decimals > 0 else 0)
