"""QuickNII, VisuAlign, DeepSlice, WebAlign and WebWarp: an atlas plane for each section, deformed by markers.

Each slice has an `anchoring`, nine numbers o, u, v: pixel (x, y) of a picture of w x h pixels shows the atlas
at o + u x / w + v y / h, in voxels of the target. The target is Allen's CCFv3 (2017) at 25 um in RAS
orientation: x from left to right, y from posterior to anterior, z from inferior to superior, 456 x 528 x 320.
VisuAlign's `markers` are (x, y, x', y') in pixels of the picture: the point (x, y) of the plane appears at
(x', y') of the section. Between markers the map is linear on a triangulation.

Sources: the QuickNII manual and its authors' converter (QuickNII RAS voxels to CCFv3 PIR um); VisuAlign and
DeepSlice for the fields of their files; PyNutil, which reads .waln and .wwrp, for those of WebAlign and
WebWarp.
"""

from __future__ import annotations

import json
import re
import xml.etree.ElementTree as ElementTree
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.core.errors import DataError
from pipeline.core.model import Float64
from pipeline.system.files import read_text, shown
from pipeline.system.whole_files import replacing

TARGET = "ABA_Mouse_CCFv3_2017_25um.cutlas"
VOXEL_UM = 25.0  # voxel size of the target
TARGET_VOXELS = (456, 528, 320)  # along R, A, S
VOXELS_UM = (10.0, 20.0, 25.0, 50.0, 100.0)  # voxel sizes of targets that are accepted
LISTS = ("slices", "sections")  # WebAlign and WebWarp call them sections, and their anchoring ouv
OURS = re.compile(r"(?i)(?:aba|allen).*mouse(?!.*(?:ccf.?v2|rat))")
# Smallest side of a picture on the atlas, and sine of the angle between its sides, which is nearly 1.
LEAST_SIDE_UM, LEAST_SINE = 100.0, 0.05
MOST_UM = 1e5  # largest coordinate: 10 cm, beyond any brain
MOST_NUMBER = 10**6  # limit of section numbers, voxels and pixels
NUMBER = re.compile(r"_s(\d+)", re.IGNORECASE)  # section number in a file name


@dataclass(frozen=True, eq=False)
class Slice:
    """One section as these files have it, but placed in the reference space.

    Attributes
    ----------
    section_number : int
        Number of the section.
    size : (float, float), px
        Width and height of the picture.
    to_reference : (3, 3) float64
        (x, y, 1) px of the picture to (P, I, R) um.
    markers : (n, 4) float64, px
        x, y, x', y' as VisuAlign has them.
    filename : str
        Name of the picture.
    """

    section_number: int
    size: tuple[float, float]
    to_reference: Float64
    markers: Float64
    filename: str = ""


def voxels_to_um() -> Float64:
    """Return the map of target voxels to the reference space.

    Returns
    -------
    (3, 4) float64
        (x, y, z, 1) voxels to (P, I, R) um.

    Examples
    --------
    >>> (voxels_to_um() @ [100.0, 527.0, 319.0, 1.0]).tolist()
    [0.0, 0.0, 2500.0]
    """
    _, along, up = TARGET_VOXELS
    return VOXEL_UM * np.array(
        [[0.0, -1.0, 0.0, along - 1.0], [0.0, 0.0, -1.0, up - 1.0], [1.0, 0.0, 0.0, 0.0]]
    )


def anchoring_of(piece: Slice) -> list[float]:
    """Return the anchoring of a section.

    Parameters
    ----------
    piece : Slice
        The section.

    Returns
    -------
    list of 9 float, voxels
        o, u and v, in 25 um voxels of the target.
    """
    to_um = voxels_to_um()
    back = np.linalg.inv(to_um[:, :3])
    w, h = piece.size
    u, v = back @ piece.to_reference[:, 0] * w, back @ piece.to_reference[:, 1] * h
    o = back @ (piece.to_reference[:, 2] - to_um[:, 3])
    return [float(n) for n in (*o, *u, *v)]


def to_reference_of(
    anchoring: Sequence[float] | Float64, size: tuple[float, float], voxel_um: float = VOXEL_UM
) -> Float64:
    """Return the map of picture pixels to the reference space.

    Parameters
    ----------
    anchoring : (9,) float, voxels
        o, u and v.
    size : (float, float), px
        Width and height of the picture.
    voxel_um : float, um
        Voxel size of the target.

    Returns
    -------
    (3, 3) float64
        (x, y, 1) px to (P, I, R) um.
    """
    o, u, v = np.asarray(anchoring, dtype=np.float64).reshape(3, 3) * (voxel_um / VOXEL_UM)
    to_um = voxels_to_um()
    columns = to_um[:, :3] @ np.stack([u / size[0], v / size[1], o], axis=1)
    columns[:, 2] += to_um[:, 3]
    return np.asarray(columns)


def write_quicknii(path: Path, name: str, slices: Sequence[Slice]) -> None:
    """Write a series for QuickNII, VisuAlign and DeepSlice.

    Parameters
    ----------
    path : Path
        JSON file.
    name : str
        Name of the series.
    slices : sequence of Slice
        Sections; written in the order of their numbers.
    """
    document = {
        "name": name,
        "target": TARGET,
        "target-resolution": list(TARGET_VOXELS),
        "slices": [_document(piece) for piece in sorted(slices, key=lambda s: s.section_number)],
    }
    with replacing(path) as fresh:
        fresh.write_text(json.dumps(document, indent=1, allow_nan=False) + "\n", encoding="utf-8")


def _document(piece: Slice) -> dict[str, Any]:
    w, h = piece.size
    document: dict[str, Any] = {
        "filename": piece.filename or f"section_s{piece.section_number:04d}.png",
        "nr": piece.section_number,
        "width": round(w),
        "height": round(h),
        "anchoring": anchoring_of(piece),
    }
    if len(piece.markers):
        document["markers"] = [[float(n) for n in marker] for marker in piece.markers]
    return document


def is_quicknii(document: Any) -> bool:
    """Check whether a JSON document is a series of these tools.

    Parameters
    ----------
    document : object
        JSON content of a file.

    Returns
    -------
    bool
        True where it holds a list of slices or sections.
    """
    return isinstance(document, Mapping) and any(isinstance(document.get(name), list) for name in LISTS)


def read_quicknii_xml(path: Path) -> dict[str, Any] | None:
    """Read the XML series of QuickNII and DeepSlice.

    Parameters
    ----------
    path : Path
        XML file; it writes an anchoring as `ox=…&oy=…`.

    Returns
    -------
    dict or None
        The same series as its JSON would be; None for XML of another kind.

    Raises
    ------
    DataError
        Where the file is missing, damaged or has a DOCTYPE.
    """
    text = read_text(path, "XML")
    if "<!DOCTYPE" in text or "<!ENTITY" in text:
        raise DataError(f"{path}: expected plain XML, got a DOCTYPE; a series needs none: remove it")
    try:
        root = ElementTree.fromstring(text)
    except (ElementTree.ParseError, ValueError) as error:
        raise DataError(f"{path}: expected XML, got damaged XML ({error})") from None
    if root.tag.lower() != "series":
        return None
    slices = [
        {**item.attrib, "anchoring": _anchoring_of_xml(item.get("anchoring"))} for item in root.iter("slice")
    ]
    return {"target": root.get("target"), "slices": slices}


def _anchoring_of_xml(text: str | None) -> list[str]:
    found = dict(part.partition("=")[::2] for part in (text or "").split("&"))
    return [found.get(f"{vector}{axis}", "") for vector in "ouv" for axis in "xyz"] if text else []


def parse_quicknii(document: Mapping[str, Any], where: str) -> tuple[Slice, ...]:
    """Return the slices that have an anchoring.

    Parameters
    ----------
    document : mapping
        Content of the file; `is_quicknii` must hold.
    where : str
        File name for messages.

    Returns
    -------
    tuple of Slice
        In the order of the file, at least one.

    Raises
    ------
    DataError
        Where the target is not Allen's mouse CCFv3, no slice has an anchoring, or a slice is invalid; the
        message names the slice.
    """
    voxel_um = _voxel_um(document, where)
    items = next(document[name] for name in LISTS if isinstance(document.get(name), list))
    for item in items:
        if not isinstance(item, Mapping):
            raise DataError(f"{where}: expected slices with names and numbers, got {shown(item)}")
    slices = tuple(
        _slice(item, voxel_um, where) for item in items if item.get("anchoring") or item.get("ouv")
    )
    if not slices:
        raise DataError(f"{where}: expected slices with an anchoring, got none")
    numbers = [piece.section_number for piece in slices]
    twice = sorted({n for n in numbers if numbers.count(n) > 1})
    if twice:
        raise DataError(f"{where}: section numbers must differ, got {twice[:5]} twice")
    return slices


def _voxel_um(document: Mapping[str, Any], where: str) -> float:
    """Return the voxel size of the target; DataError where the target is not Allen's mouse CCFv3."""
    target = str(document.get("target") or document.get("atlas") or "")
    sides = document.get("target-resolution")
    named = OURS.search(target)
    if target and not named:
        raise DataError(
            f"{where}: expected the target {TARGET}, got {shown(target)}: planes of another atlas"
        )
    stated = re.search(r"(\d+(?:\.\d+)?) ?um", target)
    voxel_um = float(stated[1]) if stated else VOXEL_UM
    expected = [n * VOXEL_UM / voxel_um for n in TARGET_VOXELS] if voxel_um > 0 else []
    if sides is not None:
        whole = isinstance(sides, list) and len(sides) == 3 and all(isinstance(n, int | float) for n in sides)
        if not whole or any(abs(n - e) > 1 for n, e in zip(sides, expected, strict=False)):
            raise DataError(
                f"{where}: expected the target of {'x'.join(map(str, TARGET_VOXELS))} voxels (ABA Mouse CCFv3"
                f" 2017 25 um), got target-resolution {shown(sides)}"
            )
    if voxel_um not in VOXELS_UM:
        raise DataError(
            f"{where}: expected a target of {', '.join(map(str, VOXELS_UM))} um, got {shown(target)}"
        )
    return voxel_um


def _slice(item: Mapping[str, Any], voxel_um: float, where: str) -> Slice:
    name = str(item.get("filename") or item.get("name") or "")[:200]
    found = NUMBER.search(Path(name).stem)
    stated = next((item[key] for key in ("nr", "snr") if item.get(key) is not None), None)
    who = f"{where}: slice {shown(name or stated)}"
    try:
        number = int(found.group(1) if stated is None and found else stated)  # type: ignore[arg-type]
        anchoring = np.array([float(n) for n in item.get("anchoring") or item["ouv"]])
        markers = _markers(item.get("markers"))
        size = (float(item.get("width") or 0), float(item.get("height") or 0))
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        raise DataError(f"{who}: expected nr, anchoring and numbers as markers: {error}") from None
    numbers = np.array([*anchoring, *size, *markers.ravel()])
    if len(anchoring) != 9 or not (np.abs(numbers) < MOST_NUMBER).all() or abs(number) > MOST_NUMBER:
        raise DataError(f"{who}: expected 9 finite numbers of anchoring, got {len(anchoring)}")
    if min(size) <= 0:  # DeepSlice writes -999; the size matters only where there are markers
        if len(markers):
            raise DataError(
                f"{who}: expected width and height above 0 for its markers, got {size[0]:g} x {size[1]:g}"
            )
        size = (1.0, 1.0)
    _check_plane(anchoring * voxel_um, who)
    return Slice(number, size, to_reference_of(anchoring, size, voxel_um), markers, name)


def _markers(given: Any) -> Float64:
    """Return markers, (n, 4) px: VisuAlign lists x, y, x', y'; WebWarp names them x, y, nx, ny."""
    rows = [[m[k] for k in ("x", "y", "nx", "ny")] if isinstance(m, Mapping) else m for m in given or ()]
    return np.array([[float(n) for n in row] for row in rows], dtype=np.float64).reshape(-1, 4)


def _check_plane(anchoring_um: Float64, who: str) -> None:
    """Raise DataError for an anchoring that spans no plane or lies far from any brain."""
    farthest = float(np.abs(anchoring_um).max())
    if farthest > MOST_UM:
        raise DataError(f"{who}: its anchoring reaches {farthest:.3g} um, farther than any brain")
    _, u, v = anchoring_um.reshape(3, 3)
    lengths = float(np.linalg.norm(u)), float(np.linalg.norm(v))
    area = float(np.linalg.norm(np.cross(u, v)))
    if min(lengths) < LEAST_SIDE_UM or area < LEAST_SINE * lengths[0] * lengths[1]:
        raise DataError(
            f"{who}: its anchoring spans no plane (sides of {lengths[0]:.3g} and {lengths[1]:.3g} um, area"
            f" {area:.3g}); place it again, or leave it out"
        )
