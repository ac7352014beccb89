"""QuickNII, VisuAlign and DeepSlice JSON: a plane through the atlas a section, and markers that bend it.

Each slice has `anchoring`, nine numbers o, u, v: pixel (x, y) of a picture of w x h pixels shows the atlas at
o + u x / w + v y / h, in voxels of the target. The target is Allen's CCFv3 (2017) at 25 um seen as RAS: x
from left to right, y from posterior to anterior, z from inferior to superior, 456 x 528 x 320. `markers` of
VisuAlign are (x, y, x', y') in pixels of the picture: what the plane has at (x, y) shows at (x', y') of the
section, and between markers a triangulation is followed.

Sources of these facts: the QuickNII manual and the converter that its authors give (QuickNII RAS voxels to
CCFv3 PIR um); VisuAlign and DeepSlice for the fields of their files.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.atomic import replacing
from pipeline.errors import DataError
from pipeline.model import Float64

TARGET = "ABA_Mouse_CCFv3_2017_25um.cutlas"
VOXEL_UM = 25.0
TARGET_VOXELS = (456, 528, 320)  # along R, A, S
NUMBER = re.compile(r"_s(\d+)", re.IGNORECASE)


@dataclass(frozen=True, eq=False)
class Slice:
    """One section in these files' own terms, but in the reference space.

    Parameters
    ----------
    size : (float, float)           width and height that its pixels are counted in
    to_reference : (3, 3) float64   (x, y, 1) of these pixels to (P, I, R) um
    markers : (n, 4) float64        as VisuAlign has them, in these pixels
    """

    section_number: int
    size: tuple[float, float]
    to_reference: Float64
    markers: Float64
    filename: str = ""


def voxels_to_um() -> Float64:
    """Return the map of target voxels (x, y, z) to (P, I, R) um, (3, 4).

    >>> (voxels_to_um() @ [100.0, 527.0, 319.0, 1.0]).tolist()
    [0.0, 0.0, 2500.0]
    """
    _, along, up = TARGET_VOXELS
    return VOXEL_UM * np.array(
        [[0.0, -1.0, 0.0, along - 1.0], [0.0, 0.0, -1.0, up - 1.0], [1.0, 0.0, 0.0, 0.0]]
    )


def anchoring_of(piece: Slice) -> list[float]:
    """Return o, u and v, nine numbers in voxels."""
    to_um = voxels_to_um()
    back = np.linalg.inv(to_um[:, :3])
    w, h = piece.size
    u, v = back @ piece.to_reference[:, 0] * w, back @ piece.to_reference[:, 1] * h
    o = back @ (piece.to_reference[:, 2] - to_um[:, 3])
    return [float(n) for n in (*o, *u, *v)]


def to_reference_of(anchoring: Sequence[float], size: tuple[float, float]) -> Float64:
    """Return (x, y, 1) px to (P, I, R) um, (3, 3)."""
    o, u, v = np.asarray(anchoring, dtype=np.float64).reshape(3, 3)
    to_um = voxels_to_um()
    columns = to_um[:, :3] @ np.stack([u / size[0], v / size[1], o], axis=1)
    columns[:, 2] += to_um[:, 3]
    return np.asarray(columns)


def write_quicknii(path: Path, name: str, slices: Sequence[Slice]) -> None:
    """Write a series that QuickNII, VisuAlign and DeepSlice's readers open."""
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
    """Whether a JSON document is a series of these tools."""
    return isinstance(document, Mapping) and isinstance(document.get("slices"), list)


def parse_quicknii(document: Mapping[str, Any], where: str) -> tuple[Slice, ...]:
    """Return the slices that have an anchoring; DataError names the file and what is wrong in it."""
    resolution = document.get("target-resolution")
    if resolution is not None and [round(float(n)) for n in resolution] != list(TARGET_VOXELS):
        raise DataError(
            f"{where}: expected the target of {'x'.join(map(str, TARGET_VOXELS))} voxels"
            f" (ABA Mouse CCFv3 2017 25 um), got target-resolution {resolution}"
        )
    slices = tuple(_slice(item, where) for item in document["slices"] if item.get("anchoring"))
    if not slices:
        raise DataError(f"{where}: expected slices with an anchoring, got none")
    numbers = [piece.section_number for piece in slices]
    twice = sorted({n for n in numbers if numbers.count(n) > 1})
    if twice:
        raise DataError(f"{where}: section numbers must differ, got {twice[:5]} twice")
    return slices


def _slice(item: Mapping[str, Any], where: str) -> Slice:
    name = str(item.get("filename") or "")
    found = NUMBER.search(Path(name).stem)
    number = int(found.group(1)) if item.get("nr") is None and found else item.get("nr")
    try:
        section_number = int(number)  # type: ignore[arg-type]
        anchoring = [float(n) for n in item["anchoring"]]
        size = (float(item["width"]), float(item["height"]))
        markers = np.asarray(item.get("markers") or np.zeros((0, 4)), dtype=np.float64).reshape(-1, 4)
    except (KeyError, TypeError, ValueError) as error:
        raise DataError(
            f"{where}: slice {name or number}: expected nr, width, height, anchoring: {error}"
        ) from None
    numbers = np.array([*anchoring, *size, *markers.ravel()])
    if len(anchoring) != 9 or not np.isfinite(numbers).all() or min(size) <= 0:
        raise DataError(
            f"{where}: slice {name or number}: expected 9 finite numbers of anchoring and a size above 0, got"
            f" {len(anchoring)} numbers and {size[0]:g} x {size[1]:g}"
        )
    return Slice(section_number, size, to_reference_of(anchoring, size), markers, name)
