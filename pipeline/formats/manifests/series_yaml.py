"""Facts about a whole series, section_data_set.yaml, each value checked."""

from __future__ import annotations

import math
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from typing import Any

from pipeline.core.did_you_mean import hint, nearest
from pipeline.core.errors import DataError
from pipeline.core.model import PLANE_SPACES, Polygon
from pipeline.core.reference_space import reference_space_id
from pipeline.formats.manifests.yaml_text import parse_yaml
from pipeline.formats.tables.tables import MOST_NUMBER
from pipeline.system.files import CONTROLS, MOST_DIGITS, read_text, shown

NAME = "section_data_set.yaml"
PLANES = ("coronal", "sagittal")
HEMISPHERES = ("left", "right", "both")
# Anatomical direction of increasing section numbers; Allen's own is in `allen_xml.OWN_ORDER`.
ORDERS = {
    "coronal": ("rostral_to_caudal", "caudal_to_rostral"),
    "sagittal": ("lateral_to_medial", "medial_to_lateral"),
}
UPS = ("superior", "inferior")
MOST_ID = 2**63 - 1  # tables and indices hold ids in 64 bits
LARGEST_UM = 1e5  # upper limit of section thickness and pixel size
LONGEST_TEXT = 1000  # characters of a text value
MOST_BYTES = 4 << 20  # of the file; typical: a few kB, with many polygons 100 kB
DATE = re.compile(r"\d{4}-\d\d?-\d\d?")
RESOLUTION_UM = (0.05, 200.0)  # accepted pixel sizes
TEXTS = ("gene", "specimen", "treatment", "probe_orientation", "age")
POLYGONS = ("dark_artifacts", "missing_tissue")
KEYS = (
    "id",
    "plane_of_section",
    "section_thickness_um",
    "reference_space_id",
    "hemisphere",
    "resolution_um",
    "section_order",
    "image_up",
    *POLYGONS,
    *TEXTS,
)


@dataclass(frozen=True)
class SeriesFields:
    """Checked content of the YAML.

    Attributes
    ----------
    values : dict
        Keyword arguments of SectionDataSet.
    resolution_um : float or None, um
        Pixel size of sections that state none themselves.
    dark_polygons_px : dict of tuple of polygons
        Dark artifacts by section number, px in the manifest's frame.
    missing_polygons_px : dict of tuple of polygons
        Missing tissue by section number, likewise.
    warnings : tuple of str
        Doubtful entries, one line each.
    """

    values: dict[str, Any]
    resolution_um: float | None
    dark_polygons_px: dict[int, tuple[Polygon, ...]]
    missing_polygons_px: dict[int, tuple[Polygon, ...]]
    warnings: tuple[str, ...] = field(default=())


def read_series_yaml(path: Path) -> SeriesFields:
    """Read and check `section_data_set.yaml`.

    Parameters
    ----------
    path : Path
        The YAML file.

    Returns
    -------
    SeriesFields
        Its content, with defaults for what it does not state.

    Raises
    ------
    DataError
        Where the file is missing or an entry is wrong; the message names file, key and accepted values.
    """
    document = _load(path)
    _check_keys(path, document)
    plane = _choice(path, document, "plane_of_section", PLANES)
    values: dict[str, Any] = {
        "id": _identity(path, document),
        "plane_of_section": plane,
        "section_thickness_um": _positive(path, document, "section_thickness_um"),
        "reference_space_id": _space(path, document, plane),
        "hemisphere": _choice(path, document, "hemisphere", HEMISPHERES, _usual_hemisphere(plane)),
    }
    if document.get("section_order") is not None:
        values["section_order"] = _choice(path, document, "section_order", ORDERS[plane])
    if document.get("image_up") is not None:
        values["image_up"] = _choice(path, document, "image_up", UPS)
    values |= {key: _text(path, document, key) for key in TEXTS if document.get(key) is not None}
    resolution = None
    if document.get("resolution_um") is not None:
        resolution = check_resolution(str(path), _positive(path, document, "resolution_um"))
    dark, missing = (_polygons(path, document, key) for key in POLYGONS)
    return SeriesFields(values, resolution, dark, missing, _doubts(path, document, plane))


def check_resolution(where: str, value_um: float) -> float:
    """Check a pixel size.

    Parameters
    ----------
    where : str
        Place of the value, for the message.
    value_um : float, um
        Pixel size.

    Returns
    -------
    float, um
        The same value.

    Raises
    ------
    DataError
        Where it is not between 0.05 and 200 um.
    """
    low, high = RESOLUTION_UM
    if not low <= value_um <= high:
        raise DataError(
            f"{where}: expected {low:g} to {high:g} um a pixel as resolution, got {value_um:g}; is it in um?"
        )
    return value_um


def _usual_hemisphere(plane: str) -> str:
    return "left" if plane == "sagittal" else "both"


def _doubts(path: Path, document: Mapping[str, Any], plane: str) -> tuple[str, ...]:
    doubts = []
    if plane == "sagittal" and document.get("hemisphere") is None:
        doubts.append(f"{path}: no hemisphere: sagittal sections are taken as the left one; state hemisphere")
    space = document.get("reference_space_id")
    if space in PLANE_SPACES.values() and space != reference_space_id(plane):
        doubts.append(f"{path}: reference space {space} with {plane} sections is not Allen's own pairing")
    return tuple(doubts)


def _load(path: Path) -> dict[str, Any]:
    if not os.path.lexists(path):
        raise DataError(f"{path}: expected it beside sections.csv, got no such file; `ish init` writes both")
    document = parse_yaml(read_text(path, "YAML", MOST_BYTES), str(path))
    if not isinstance(document, dict):
        raise DataError(f"{path}: expected `key: value` lines, got {type(document).__name__}")
    return document


def _check_keys(path: Path, document: Mapping[Any, Any]) -> None:
    for key in document:
        if key not in KEYS:
            meant = hint(shown(key).strip("'"), KEYS)
            raise DataError(f"{path}: unknown key {shown(key)}; {meant}")
    missing = [k for k in ("id", "plane_of_section", "section_thickness_um") if document.get(k) is None]
    if missing:
        raise DataError(f"{path}: expected {', '.join(missing)}, got none; add it or run `ish init`")


def _identity(path: Path, document: Mapping[str, Any]) -> int:
    value = document["id"]
    if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) <= MOST_DIGITS:
        value = int(value)  # an id with leading zeros or in quotes
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= MOST_ID:
        raise DataError(f"{path}: expected a whole number from 0 to {MOST_ID} as id, got {shown(value)}")
    return value


def _space(path: Path, document: Mapping[str, Any], plane: str) -> int:
    value = document.get("reference_space_id")
    if value is None:
        return reference_space_id(plane)
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= MOST_ID:
        raise DataError(
            f"{path}: expected reference_space_id 9 (coronal) or 10 (sagittal), got {shown(value)}"
        )
    return value


def _choice(
    path: Path, document: Mapping[str, Any], key: str, allowed: tuple[str, ...], default: str | None = None
) -> str:
    value = document.get(key)
    value = default if value is None else value
    if not isinstance(value, str) or value not in allowed:
        near = nearest(shown(value), allowed)
        meant = f"; did you mean {near[0]}?" if near else ""
        raise DataError(
            f"{path}: expected {key} to be one of {', '.join(allowed)}, got {shown(value)}{meant}"
        )
    return str(value)


def _positive(path: Path, document: Mapping[str, Any], key: str) -> float:
    value = document[key]
    ok = isinstance(value, (int, float)) and not isinstance(value, bool)
    if not ok or not 0 < value <= LARGEST_UM:
        raise DataError(f"{path}: expected {key} to be a positive number of um, got {shown(value)}")
    return float(value)


def _text(path: Path, document: Mapping[str, Any], key: str) -> str:
    value = document[key]
    if not isinstance(value, (str, int)) or isinstance(value, bool):
        raise DataError(f"{path}: expected {key} to be text, got {shown(value)}; put it in quotes")
    if DATE.fullmatch(str(value)) and not _is_date(str(value)):
        raise DataError(f"{path}: expected a date that exists as {key}, got {shown(value)}")
    text = " ".join(str(value).split())  # joins text that spans several lines
    if len(text) > LONGEST_TEXT:
        raise DataError(f"{path}: expected {key} of at most {LONGEST_TEXT} characters, got {shown(value)}")
    if CONTROLS.search(text):
        raise DataError(f"{path}: expected {key} without control characters, got {shown(value)}")
    return text


def _is_date(text: str) -> bool:
    try:
        date(*map(int, text.split("-")))
    except ValueError:
        return False
    return True


def _polygons(path: Path, document: Mapping[str, Any], key: str) -> dict[int, tuple[Polygon, ...]]:
    form = f"{key}: {{section_number: [[[x, y], …], …]}}"
    given = document.get(key) or {}
    try:
        found = {_section(n): tuple(_polygon(p) for p in polygons) for n, polygons in given.items()}
    except (AttributeError, TypeError, ValueError, OverflowError) as error:
        raise DataError(f"{path}: expected {form} in px, got {shown(given)} ({str(error)[:120]})") from error
    return found


def _section(key: Any) -> int:
    if isinstance(key, bool) or not isinstance(key, int | str) or not 0 <= int(key) <= MOST_NUMBER:
        raise ValueError(f"{shown(key)} is no section number")
    return int(key)


def _polygon(points: Any) -> Polygon:
    polygon = tuple((float(x), float(y)) for x, y in points)
    if len(polygon) < 3:
        raise ValueError(f"a polygon of {len(polygon)} points; three are the least")
    if not all(math.isfinite(v) for point in polygon for v in point):
        raise ValueError("a point that is not finite")
    return polygon
