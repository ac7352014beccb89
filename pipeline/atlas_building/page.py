"""The page of a built reference: three planes with labels over stain, what was measured, label counts."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from pipeline.atlas_building.result import BuiltReference
from pipeline.core.model import MIDLINE_UM, UInt8, UInt32
from pipeline.core.ontology import Ontology
from pipeline.formats.volumes.reference_folder import present_labels
from pipeline.report.coarse_atlas import line_colour
from pipeline.report.page import environment
from pipeline.report.pictures import png_uri
from pipeline.report.text import figure

VIEWS = (("coronal", 0, 1, 2), ("sagittal", 2, 1, 0), ("horizontal", 1, 0, 2))  # name, normal, rows, columns
PICTURE_PX = 640  # longer side of a picture, about
MOST_ROWS = 40  # structures in the table of counts
OFF_MIDLINE = 0.12  # of the box along R: where the sagittal plane lies
GREYS = (0.5, 99.7)  # percentiles of the template shown as black and white
MIDLINE_COLOUR = (232, 70, 60)  # RGB


@dataclass(frozen=True)
class View:
    """A plane of the page.

    Attributes
    ----------
    name, place : str
        Plane, and where it lies.
    uri : str
        Picture.
    width, height : int
        Pixels.
    """

    name: str
    place: str
    uri: str
    width: int
    height: int


def write_page(path: Path, result: BuiltReference, described: Mapping[str, Any]) -> None:
    """Write the page.

    Parameters
    ----------
    path : Path
        `report.html`; needs nothing beside it.
    result : BuiltReference
        What the verb made.
    described : mapping
        Its reference.json.
    """
    text = (
        environment()
        .get_template("reference.html.j2")
        .render(
            described=described,
            box=" × ".join(f"{n * result.spacing_um / 1000:g}" for n in result.shape),
            views=list(views(result)),
            pictures=[(p, png_uri(p.pixels)) for p in result.pictures],
            quality=list(_rows(described["quality"])),
            counts=label_counts(result)[:MOST_ROWS],
            labels=_summary(result),
        )
    )
    path.write_text(text, encoding="utf-8", errors="backslashreplace")


def views(result: BuiltReference) -> Iterator[View]:
    """Draw the three planes.

    Parameters
    ----------
    result : BuiltReference
        Volumes of one shape.

    Yields
    ------
    View
        Coronal and horizontal through the middle of what there is, sagittal beside the midline.
    """
    shown = result.template if result.template is not None else result.annotation
    if shown is None:
        return
    middle = _middle(result)
    low, high = _greys(shown) if result.template is not None else (0.0, 1.0)
    colours = structure_colours(None if result.ontology is None else result.ontology.ontology)
    for name, normal, down, across in VIEWS:
        at = middle[normal]
        grey = np.zeros((result.shape[down], result.shape[across]), np.float32)
        if result.template is not None:
            grey = _plane(result.template, normal, at, down > across).astype(np.float32)
        labels = None
        if result.annotation is not None:
            labels = _plane(result.annotation, normal, at, down > across)
        column = None
        if across == 2 and result.midline_um is not None:
            column = result.midline_um / result.spacing_um
        rgb = drawn((grey - low) / max(high - low, 1e-9), labels, colours, column)
        place = f"{'PIR'[normal]} {at * result.spacing_um:g} µm"
        yield View(name, place, png_uri(rgb), rgb.shape[1], rgb.shape[0])


def drawn(
    grey: npt.NDArray[np.float32],
    labels: UInt32 | None,
    colours: Mapping[int, tuple[int, int, int]],
    column: float | None,
) -> UInt8:
    """Draw a plane: grey image, borders of labels in the colours of their structures, midline.

    Parameters
    ----------
    grey : (H, W) float32
        0 black, 1 white.
    labels : (H, W) uint32 or None
        Structure ids.
    colours : mapping of int to RGB
        By structure id.
    column : float or None, px
        Where the midline lies.

    Returns
    -------
    (h, w, 3) uint8
        Each pixel repeated so that the picture has about `PICTURE_PX` pixels along its longer side.
    """
    times = max(1, round(PICTURE_PX / max(grey.shape)))
    shade = np.clip(255 * grey, 0, 255).astype(np.uint8)
    rgb = np.repeat(np.repeat(shade, times, 0), times, 1)[..., None].repeat(3, 2)
    if labels is not None:
        fine = np.repeat(np.repeat(labels, times, 0), times, 1)
        border = np.zeros(fine.shape, bool)
        border[1:] |= fine[1:] != fine[:-1]
        border[:, 1:] |= fine[:, 1:] != fine[:, :-1]
        ids, inverse = np.unique(fine[border], return_inverse=True)
        table = np.array([colours.get(int(one), (150, 150, 150)) for one in ids], np.uint8).reshape(-1, 3)
        rgb[border] = table[inverse.ravel()]
    if column is not None:
        at = round((column + 0.5) * times)
        if 0 <= at < rgb.shape[1]:
            rgb[::2, at] = MIDLINE_COLOUR
    return np.asarray(rgb, np.uint8)


def label_counts(result: BuiltReference) -> list[dict[str, Any]]:
    """Count voxels by structure, left and right of the midline.

    Parameters
    ----------
    result : BuiltReference
        With annotation and ontology; else there is nothing to count.

    Returns
    -------
    list of dict
        id, acronym, name, colour, voxels, mm3, left and right; the largest first.
    """
    if result.annotation is None or result.ontology is None:
        return []
    midline_um = MIDLINE_UM if result.midline_um is None else result.midline_um
    at = int(np.ceil(midline_um / result.spacing_um))
    ids = present_labels(result.annotation)
    sides = [_counts(part, ids) for part in (result.annotation[..., :at], result.annotation[..., at:])]
    known = result.ontology.ontology.by_id
    rows = []
    for one, left, right in zip(ids.tolist(), *sides, strict=True):
        if one == 0:
            continue
        named = known.get(one)
        rows.append(
            {
                "id": one,
                "acronym": named.acronym if named else "?",
                "name": named.name if named else "not in the ontology",
                "voxels": left + right,
                "mm3": (left + right) * (result.spacing_um / 1000) ** 3,
                "left": left,
                "right": right,
            }
        )
    return sorted(rows, key=lambda row: -row["voxels"])


def _counts(part: UInt32, ids: UInt32) -> list[int]:
    """Return how many voxels of a part have each id."""
    found = np.zeros(len(ids), np.int64)
    for plane in part:
        found += np.bincount(np.searchsorted(ids, plane.ravel()), minlength=len(ids))
    return [int(n) for n in found]


def _summary(result: BuiltReference) -> dict[str, Any]:
    rows = label_counts(result)
    known = len(result.ontology.ontology.structures) if result.ontology is not None else 0
    return {"count": len(rows), "shown": min(len(rows), MOST_ROWS), "known": known}


def _middle(result: BuiltReference) -> tuple[int, int, int]:
    """Return the voxel that the planes go through: the middle of the labels, else of the box."""
    middle = [n // 2 for n in result.shape]
    if result.annotation is not None and result.annotation.any():
        for axis in range(3):
            there = result.annotation.any(axis=tuple(a for a in range(3) if a != axis))
            found = np.flatnonzero(there)
            middle[axis] = int(found[0] + found[-1]) // 2
    if result.midline_um is not None:
        middle[2] = round(result.midline_um / result.spacing_um)
    middle[2] = min(middle[2] + round(OFF_MIDLINE * result.shape[2]), result.shape[2] - 1)
    p, i, r = middle
    return p, i, r


def _greys(volume: npt.NDArray[Any]) -> tuple[float, float]:
    low, high = np.percentile(volume[::2, ::2, ::2], GREYS)
    return float(low), float(high)


def _plane(volume: npt.NDArray[Any], normal: int, at: int, is_turned: bool) -> npt.NDArray[Any]:
    plane = np.take(volume, at, axis=normal)
    return np.asarray(plane.T if is_turned else plane)


def structure_colours(ontology: Ontology | None) -> dict[int, tuple[int, int, int]]:
    """Return the colours of structures as lines of the page have them.

    Parameters
    ----------
    ontology : Ontology or None
        The structures.

    Returns
    -------
    dict of int to (red, green, blue)
        By structure id; empty without an ontology.
    """
    found = {}
    for one in () if ontology is None else ontology.structures:
        red, green, blue = bytes.fromhex(line_colour(one.color).removeprefix("#"))
        found[one.id] = (red, green, blue)
    return found


def _rows(quality: Mapping[str, Any], above: str = "") -> Iterator[tuple[str, str]]:
    """Yield what was measured as name and text, nested mappings flattened."""
    for name, value in quality.items():
        title = f"{above}{name}".replace("_", " ")
        if isinstance(value, Mapping):
            yield from _rows(value, f"{title}: ")
        elif isinstance(value, list) and len(value) > 12:
            yield title, f"{len(value)} values"
        else:
            yield title, _text(value)


def _text(value: Any) -> str:
    if isinstance(value, list):
        return ", ".join(_text(item) for item in value) or "none"
    if isinstance(value, float):
        return figure(value)
    return "–" if value is None else str(value)
