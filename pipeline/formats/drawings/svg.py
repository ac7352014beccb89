"""Closed shapes of an SVG drawing that carry a `structure_id`."""

from __future__ import annotations

import math
import re
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from svg.path import Close, Line, Move, parse_path

from pipeline.core.errors import DataError
from pipeline.core.model import Float64
from pipeline.formats.drawings.shapes import FillRule, Shape
from pipeline.system.files import read_text, shown

STEP = 0.25  # units of the drawing, at most, between two points of a curve, after all transforms
MOST_STEPS = 2000  # points of a segment
UNDRAWN = {"defs", "clipPath", "mask", "marker", "pattern", "symbol", "metadata", "title", "desc"}
_TRANSFORM = re.compile(r"([a-zA-Z]+)\s*\(([^)]*)\)")
_NUMBER = re.compile(r"[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?")
_IDENTITY: Float64 = np.eye(3)


@dataclass(frozen=True, eq=False)
class Drawing:
    """The shapes of a drawing, later ones above earlier ones.

    Attributes
    ----------
    shapes : tuple of Shape
        In the order of the file.
    size : tuple = (width, height) or None
        Units of the drawing that it states; None where it states none.
    """

    shapes: tuple[Shape, ...]
    size: tuple[float, float] | None = None


@dataclass(frozen=True, eq=False)
class _Context:
    """What a shape takes from the groups around it."""

    matrix: Float64
    structure: str | None
    fill_rule: str
    is_shown: bool


def read_svg(path: Path) -> Drawing:
    """Read the shapes of an SVG drawing.

    Parameters
    ----------
    path : Path
        SVG file: paths with curves and arcs, polygons, polylines, rectangles, circles and ellipses, in groups
        with transforms. Shapes without a `structure_id` of their own or of a group are no structures.

    Returns
    -------
    Drawing
        Coordinates in units of the drawing, transforms applied. Every shape closes itself. A ring within a
        ring is a hole, unless the drawing states `fill-rule: nonzero`.

    Raises
    ------
    DataError
        Where the file is missing or damaged, or a shape cannot be read.
    """
    root = _root(path)
    start = _Context(_IDENTITY, None, "evenodd", True)
    try:
        shapes = tuple(_shapes(root, start))
    except (ValueError, IndexError, KeyError, TypeError, ZeroDivisionError, OverflowError) as error:
        raise DataError(f"{path}: expected shapes as SVG defines them, got {shown(str(error))}") from error
    return Drawing(shapes, _size(root))


def _root(path: Path) -> ElementTree.Element:
    text = read_text(path, "a drawing")
    text = re.sub(r"<!DOCTYPE[^>\[]*>", "", text, count=1)  # editors write it; it defines no entities
    if "<!DOCTYPE" in text or "<!ENTITY" in text:
        raise DataError(f"{path}: expected plain SVG, got entities of its own; save it as plain SVG")
    try:
        root = ElementTree.fromstring(re.sub(r"^\s*<\?xml[^>]*\?>", "", text))
    except (ElementTree.ParseError, ValueError) as error:
        raise DataError(f"{path}: expected an SVG drawing, got damaged XML ({error})") from error
    if _tag(root) != "svg":
        raise DataError(f"{path}: expected an SVG drawing, got <{root.tag[:60]}>")
    return root


def _tag(element: ElementTree.Element) -> str:
    return element.tag.rpartition("}")[2] if isinstance(element.tag, str) else ""


def _size(root: ElementTree.Element) -> tuple[float, float] | None:
    box = [float(n) for n in _NUMBER.findall(root.get("viewBox", ""))]
    if len(box) == 4 and box[2] > 0 and box[3] > 0:
        return box[0] + box[2], box[1] + box[3]
    sides = [re.fullmatch(r"\s*([\d.]+)(?:px)?\s*", root.get(name, "")) for name in ("width", "height")]
    if sides[0] is None or sides[1] is None:
        return None
    return float(sides[0][1]), float(sides[1][1])


def _shapes(element: ElementTree.Element, above: _Context) -> Iterator[Shape]:
    """Yield the shapes of an element and of what it contains."""
    tag = _tag(element)
    if tag in UNDRAWN:
        return
    style = _style(element)
    here = _Context(
        above.matrix @ _matrix(element.get("transform", "")),
        element.get("structure_id") or element.get("data-structure_id") or above.structure,
        style.get("fill-rule", above.fill_rule),
        above.is_shown and style.get("display") != "none",
    )
    if here.structure and here.is_shown:
        rings = tuple(_moved(ring, here.matrix) for ring in _rings(element, tag, here.matrix))
        if rings:
            rule: FillRule = "nonzero" if here.fill_rule == "nonzero" else "evenodd"
            yield Shape(here.structure.strip(), "id", rings, rule)
        elif tag == "use":
            raise ValueError("<use>, which is not followed; convert it to paths")
    for child in element:
        yield from _shapes(child, here)


def _style(element: ElementTree.Element) -> Mapping[str, str]:
    """Return presentation attributes and the style attribute, which prevails."""
    found = {name: element.get(name, "") for name in ("fill-rule", "display") if element.get(name)}
    for part in element.get("style", "").split(";"):
        name, colon, value = part.partition(":")
        if colon:
            found[name.strip()] = value.strip()
    return found


def _rings(element: ElementTree.Element, tag: str, matrix: Float64) -> list[Float64]:
    """Return the rings of one element in its own coordinates."""
    scale = math.sqrt(abs(float(np.linalg.det(matrix[:2, :2])))) or 1.0
    if tag == "path":
        return _path_rings(element.get("d", ""), STEP / scale)
    if tag in ("polygon", "polyline"):
        numbers = np.array([float(n) for n in _NUMBER.findall(element.get("points", ""))])
        return [numbers[: len(numbers) // 2 * 2].reshape(-1, 2)]
    if tag == "rect":
        x, y, w, h = (float(element.get(name, "0")) for name in ("x", "y", "width", "height"))
        return [np.array([[x, y], [x + w, y], [x + w, y + h], [x, y + h]])]
    if tag in ("circle", "ellipse"):
        r = element.get("r", "0")
        cx, cy, rx, ry = (
            float(element.get(name, default))
            for name, default in (("cx", "0"), ("cy", "0"), ("rx", r), ("ry", r))
        )
        count = min(max(int(2 * math.pi * max(rx, ry) * scale / STEP), 16), MOST_STEPS)
        angles = np.arange(count) * 2 * math.pi / count
        return [np.stack([cx + rx * np.cos(angles), cy + ry * np.sin(angles)], axis=1)]
    return []


def _path_rings(text: str, step: float) -> list[Float64]:
    """Return the subpaths of path data as polylines whose points lie `step` apart on curves."""
    rings: list[list[complex]] = []
    for segment in parse_path(text):
        if isinstance(segment, Move):
            rings.append([segment.end])
        elif not isinstance(segment, Close):
            if not rings:
                raise ValueError(f"path data that begin with {text[:20]!r}")
            rings[-1] += _points(segment, step)
    return [np.array([[p.real, p.imag] for p in ring]) for ring in rings if len(ring) >= 3]


def _points(segment: Any, step: float) -> list[complex]:
    if isinstance(segment, Line):
        return [segment.end]
    controls = [
        getattr(segment, name)
        for name in ("start", "control", "control1", "control2", "end")
        if hasattr(segment, name)
    ]
    length = sum(abs(b - a) for a, b in pairwise(controls))
    if hasattr(segment, "radius"):  # an arc is longer than its chord
        length = max(length, 2 * math.pi * max(abs(segment.radius.real), abs(segment.radius.imag)))
    count = min(max(math.ceil(length / step), 8), MOST_STEPS)
    return [complex(segment.point(k / count)) for k in range(1, count + 1)]


def _matrix(text: str) -> Float64:
    """Return the product of a list of transforms."""
    product = _IDENTITY
    for name, listed in _TRANSFORM.findall(text):
        product = product @ _transform(name, [float(n) for n in _NUMBER.findall(listed)])
    return product


def _transform(name: str, v: list[float]) -> Float64:
    if name == "matrix":
        a, b, c, d, e, f = v
        return np.array([[a, c, e], [b, d, f], [0, 0, 1]])
    if name == "translate":
        return np.array([[1, 0, v[0]], [0, 1, v[1] if len(v) > 1 else 0.0], [0, 0, 1]])
    if name == "scale":
        return np.diag([v[0], v[1] if len(v) > 1 else v[0], 1.0])
    if name == "rotate":
        c, s = math.cos(math.radians(v[0])), math.sin(math.radians(v[0]))
        turned = np.array([[c, -s, 0], [s, c, 0], [0, 0, 1.0]])
        if len(v) == 1:
            return turned
        back = _transform("translate", [-v[1], -v[2]])
        return np.asarray(_transform("translate", v[1:3]) @ turned @ back)
    if name in ("skewX", "skewY"):
        skewed = np.eye(3)
        skewed[(0, 1) if name == "skewX" else (1, 0)] = math.tan(math.radians(v[0]))
        return skewed
    raise ValueError(f"transform {name}")


def _moved(ring: Float64, matrix: Float64) -> Float64:
    return np.asarray(ring @ matrix[:2, :2].T + matrix[:2, 2])
