"""Closed shapes of a drawing, and their pixels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from pipeline.core.kernels import kernel
from pipeline.core.model import Bool, Float64

FillRule = Literal["evenodd", "nonzero"]


@dataclass(frozen=True, eq=False)
class Shape:
    """An area of a drawing.

    Attributes
    ----------
    structure : str
        The structure as the file names it.
    named_by : str
        "id" or "acronym".
    rings : tuple of (n, 2) float64
        Outlines and holes as (x, y) in units of the drawing; each closes itself.
    fill_rule : str
        "evenodd": a ring within a ring is a hole; "nonzero": only if it runs the other way round.
    """

    structure: str
    named_by: Literal["id", "acronym"]
    rings: tuple[Float64, ...]
    fill_rule: FillRule = "evenodd"


def shape_pixels(rings: Sequence[Float64], size: tuple[int, int], fill_rule: FillRule = "evenodd") -> Bool:
    """Return the pixels whose centres lie inside rings.

    Parameters
    ----------
    rings : sequence of (n, 2) float64, px
        Outlines and holes as (x, y); the centre of pixel (row i, column j) lies at (j, i).
    size : tuple = (rows, columns)
        Size of the picture.
    fill_rule : str
        As of `Shape`.

    Returns
    -------
    (rows, columns) bool
        A centre on a left or upper edge is inside, one on a right or lower edge is not, so that areas that
        share an edge share no pixel.

    Examples
    --------
    >>> square = np.array([[1.0, 1.0], [3.0, 1.0], [3.0, 3.0], [1.0, 3.0]])
    >>> shape_pixels([square], (4, 4)).astype(int)
    array([[0, 0, 0, 0],
           [0, 1, 1, 0],
           [0, 1, 1, 0],
           [0, 0, 0, 0]])
    """
    edges = [np.hstack([ring, np.roll(ring, -1, axis=0)]) for ring in rings if len(ring) >= 3]
    inside = np.zeros(size, bool)
    if edges:
        _fill(np.ascontiguousarray(np.concatenate(edges), np.float64), fill_rule == "nonzero", inside)
    return inside


@kernel
def _fill(edges: Float64, nonzero: bool, inside: Bool) -> None:
    """Scan the rows; between two crossings the winding number, or its parity, is constant."""
    rows, columns = inside.shape
    crossings = np.empty(len(edges))
    turns = np.empty(len(edges), np.int64)
    top = max(int(np.ceil(min(edges[:, 1].min(), edges[:, 3].min()))), 0)
    bottom = min(int(np.floor(max(edges[:, 1].max(), edges[:, 3].max()))), rows - 1)
    for i in range(top, bottom + 1):
        count = 0
        for e in range(len(edges)):
            x0, y0, x1, y1 = edges[e]
            if (y0 <= i) != (y1 <= i):
                crossings[count] = x0 + (i - y0) * (x1 - x0) / (y1 - y0)
                turns[count] = 1 if y1 > y0 else -1
                count += 1
        order = np.argsort(crossings[:count])
        winding = 0
        for k in range(count - 1):
            winding += turns[order[k]]
            filled = winding != 0 if nonzero else k % 2 == 0
            if filled:
                first = max(int(np.ceil(crossings[order[k]])), 0)
                last = min(int(np.ceil(crossings[order[k + 1]])), columns)
                for j in range(first, last):
                    inside[i, j] = True


def bounds(shapes: Sequence[Shape]) -> tuple[float, float]:
    """Return how far shapes reach from the origin.

    Parameters
    ----------
    shapes : sequence of Shape
        Areas of a drawing.

    Returns
    -------
    tuple of float = (x, y)
        The largest coordinates; 0 without shapes.
    """
    points: list[npt.NDArray[np.float64]] = [ring for shape in shapes for ring in shape.rings if len(ring)]
    if not points:
        return 0.0, 0.0
    x, y = np.concatenate(points).max(axis=0)
    return float(x), float(y)
