"""The plates of a folder, checked: labels, places, and the raster that all of them share."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from pipeline.atlas_building.plates.plate_images import (
    TRANSLATION,
    drawn_labels,
    is_drawing,
    read_drawing,
    read_labels,
    read_translation,
    unknown_names,
)
from pipeline.atlas_building.plates.plate_table import NAME, PlacedFile, read_plate_table
from pipeline.core.errors import DataError
from pipeline.core.model import Float64, UInt32
from pipeline.core.ontology import Ontology
from pipeline.formats.drawings.shapes import bounds
from pipeline.formats.drawings.svg import Drawing
from pipeline.formats.volumes.reference_folder import present_labels
from pipeline.system.limits import check_size

SAME_PLACE_UM = 0.01  # plates nearer to each other than this lie at one place


@dataclass(frozen=True, eq=False)
class Plate:
    """A plate: pixel (x, y) lies at origin + x * right + y * down.

    Attributes
    ----------
    name : str
        File, as plates.csv names it.
    labels : (H, W) uint32
        Structure ids, 0 outside.
    origin, right, down : (3,) float64, um
        As of `PlacedFile`.
    """

    name: str
    labels: UInt32
    origin: Float64
    right: Float64
    down: Float64

    def places(self) -> Float64:
        """Return where the corner pixels lie, (4, 3) um."""
        rows, columns = self.labels.shape
        corners = [(x, y) for y in (0, rows - 1) for x in (0, columns - 1)]
        return np.array([self.origin + x * self.right + y * self.down for x, y in corners])


def read_plates(folder: Path, ontology: Ontology, spacing_um: float) -> tuple[list[Plate], list[Path]]:
    """Read the plates of a folder.

    Parameters
    ----------
    folder : Path
        Folder with plates.csv.
    ontology : Ontology
        The structures that may occur.
    spacing_um : float, um
        Pixel size of plates that state none, and the pixels that drawings are painted with.

    Returns
    -------
    plates : list of Plate
        In the order of plates.csv.
    files : list of Path
        Everything that was read.

    Raises
    ------
    DataError
        Where a file is missing or damaged, a plate is empty or of another size than the first, or the
        ontology lacks structures, all of which are named.
    """
    placed = read_plate_table(folder, spacing_um)
    translation = read_translation(folder)
    kinds = {is_drawing(one.path) for one in placed}
    plates: list[Plate] = []
    unknown: dict[str, str] = {}  # structure: first file that names it
    if True in kinds:
        plates += _drawn(placed, ontology, spacing_um, unknown)
    for one in placed:
        if is_drawing(one.path):
            continue
        labels = read_labels(one.path, translation)
        for structure in ontology.unknown(present_labels(labels)):
            unknown.setdefault(str(structure), one.name)
        plates.append(Plate(one.name, labels, one.origin, one.right, one.down))
    if unknown:
        raise _unknown(folder, unknown)
    rank = {id(one.origin): at for at, one in enumerate(placed)}
    plates.sort(key=lambda plate: rank[id(plate.origin)])
    _check_sizes(folder, plates)
    for plate in plates:
        if not plate.labels.any():
            raise DataError(
                f"{folder / plate.name}: expected a plate with structures, got none; drop its row"
            )
    beside = [folder / NAME, *([folder / TRANSLATION] if translation is not None else [])]
    return plates, [*beside, *dict.fromkeys(one.path for one in placed)]


def _unknown(folder: Path, unknown: dict[str, str]) -> DataError:
    count = Counter(unknown.values())
    first = next(iter(unknown.values()))
    where = first if len(count) == 1 else f"{first} and {len(count) - 1} more files"
    return DataError(
        f"{folder}: expected structures of the ontology, got {', '.join(unknown)} (first in {where}); correct"
        f" the plates, translate their values with {TRANSLATION}, or give the ontology that has them"
    )


def _drawn(
    placed: Sequence[PlacedFile], ontology: Ontology, spacing_um: float, unknown: dict[str, str]
) -> list[Plate]:
    """Paint drawings on one raster of `spacing_um`, which holds the largest of them."""
    drawings = [(one, read_drawing(one.path)) for one in placed if is_drawing(one.path)]
    for one, drawing in drawings:
        for name in unknown_names(drawing, ontology):
            unknown.setdefault(name, one.name)
    if unknown:
        return []
    _check_stated(drawings)
    sides = np.max([_size_um(one, drawing) for one, drawing in drawings], axis=0)
    columns, rows = (math.floor(side / spacing_um + 1e-6) + 1 for side in sides)
    check_size(columns, rows)
    plates = []
    for one, drawing in drawings:
        scale = np.array(one.pixel_um) / spacing_um  # pixels a unit, along x and y
        labels = drawn_labels(drawing, ontology, (rows, columns), (float(scale[0]), float(scale[1])))
        plates.append(Plate(one.name, labels, one.origin, one.right / scale[0], one.down / scale[1]))
    return plates


def _check_stated(drawings: Sequence[tuple[PlacedFile, Drawing]]) -> None:
    """Refuse drawings that state other sizes than the first one that states a size."""
    stated = [(one, drawing.size) for one, drawing in drawings if drawing.size is not None]
    for one, size in stated[1:]:
        first, expected = stated[0]
        if not np.allclose(size, expected, atol=0.51):
            raise DataError(
                f"{one.path}: expected a drawing of {_sides(expected)} as {first.name}, got {_sides(size)};"
                " draw all plates on one sheet"
            )


def _sides(size: tuple[float, float]) -> str:
    return f"{size[0]:g} x {size[1]:g}"


def _size_um(one: PlacedFile, drawing: Drawing) -> tuple[float, float]:
    """Return how far a drawing reaches from its origin along x and y, um."""
    x, y = bounds(drawing.shapes)
    if drawing.size is not None:
        x, y = max(x, drawing.size[0] - 1), max(y, drawing.size[1] - 1)
    across, along = one.pixel_um
    return max(x, 1.0) * across, max(y, 1.0) * along


def _check_sizes(folder: Path, plates: Sequence[Plate]) -> None:
    """Refuse plates that cover another area than the first; the sizes of pixels may differ."""
    first = plates[0]
    for plate in plates[1:]:
        apart = np.abs(_sides_um(plate) - _sides_um(first))
        pixel = max(float(np.linalg.norm(p.right)) for p in (plate, first))
        if (apart > 0.51 * pixel).any():
            raise DataError(
                f"{folder / plate.name}: expected {_described(first)} as {first.name}, got"
                f" {_described(plate)}; bring all plates to one size"
            )


def _sides_um(plate: Plate) -> Float64:
    rows, columns = plate.labels.shape
    return np.array([columns * np.linalg.norm(plate.right), rows * np.linalg.norm(plate.down)])


def _described(plate: Plate) -> str:
    rows, columns = plate.labels.shape
    return f"{columns} x {rows} pixels of {np.linalg.norm(plate.right):g} um"


@dataclass(frozen=True, eq=False)
class PlateStack:
    """Plates in order on one raster: pixel (i, j) of plate k lies at origin + i, j and height in the frame.

    Attributes
    ----------
    plates : list of Plate
        In order of their height.
    labels : (K, H, W) uint32
        The plates on the common raster.
    origin : (3,) float64, um
        Place of raster pixel (0, 0) at height 0.
    axes : (3, 3) float64
        Unit vectors of height, rows (down) and columns (right), as rows of (P, I, R).
    heights : (K, 3) float64
        Height of plate k over raster pixel (i, j): h[0] + h[1] * i + h[2] * j, um.
    spacing_um : float, um
        Pixel of the raster.
    """

    plates: list[Plate]
    labels: UInt32
    origin: Float64
    axes: Float64
    heights: Float64
    spacing_um: float

    @property
    def is_upright(self) -> bool:
        """Whether all plates are planes of the volume's grid directions."""
        return bool(not self.heights[:, 1:].any() and (np.abs(self.axes).max(axis=1) > 1 - 1e-9).all())

    def gaps_um(self) -> Float64:
        """Return the mean distance of each plate from the next, (K - 1,) um."""
        middle = np.array([1.0, (self.labels.shape[1] - 1) / 2, (self.labels.shape[2] - 1) / 2])
        return np.diff(self.heights @ middle)


def stack_plates(folder: Path, plates: Sequence[Plate], spacing_um: float) -> PlateStack:
    """Bring plates to one raster, ordered along their normal.

    Parameters
    ----------
    folder : Path
        Folder of the plates, for messages.
    plates : sequence of Plate
        At least 2 with a common direction.
    spacing_um : float, um
        Pixel of the raster.

    Returns
    -------
    PlateStack
        With the value of the nearest pixel of each plate, 0 beside it.

    Raises
    ------
    DataError
        Where two plates lie at one place or cross.
    """
    axes = _axes(folder, plates)
    corners = np.concatenate([plate.places() for plate in plates]) @ axes.T
    low = np.floor(corners[:, 1:].min(axis=0) / spacing_um + 1e-6) * spacing_um
    size = np.floor((corners[:, 1:].max(axis=0) - low) / spacing_um + 1e-6).astype(int) + 1
    check_size(int(size[1]), int(size[0]))
    origin = low @ axes[1:]
    heights = np.array([_height(plate, axes, low, spacing_um) for plate in plates])
    middle = heights @ np.array([1.0, (size[0] - 1) / 2, (size[1] - 1) / 2])
    order = np.argsort(middle, kind="stable")
    ordered, heights = [plates[k] for k in order], heights[order]
    _check_apart(folder, ordered, heights, (int(size[0]), int(size[1])))
    labels = np.stack(
        [
            _on_raster(p, axes, origin, h, (size[0], size[1]), spacing_um)
            for p, h in zip(ordered, heights, strict=True)
        ]
    )
    return PlateStack(ordered, labels, origin, axes, heights, spacing_um)


def _axes(folder: Path, plates: Sequence[Plate]) -> Float64:
    """Return the mean directions of normal, rows and columns; along those of the grid they are exact."""
    right = np.mean([p.right / np.linalg.norm(p.right) for p in plates], axis=0)
    down = np.mean([p.down / np.linalg.norm(p.down) for p in plates], axis=0)
    normals = [np.cross(p.down, p.right) for p in plates]
    for plate, normal in zip(plates, normals, strict=True):
        if normal @ normals[0] < 0.7 * np.linalg.norm(normal) * np.linalg.norm(normals[0]):
            raise DataError(
                f"{folder / plate.name}: expected a plate seen from the side of {plates[0].name} and turned"
                " from it by less than 45 degrees, got another direction; correct its x_… and y_…"
            )
    right /= np.linalg.norm(right)
    down -= (down @ right) * right
    down /= np.linalg.norm(down)
    axes = np.array([np.cross(down, right), down, right])
    if np.abs(axes).max(axis=1).min() > 1 - 1e-9:
        axes = np.rint(axes)
    main = int(np.abs(axes[0]).argmax())
    if axes[0, main] < 0:
        axes[0] = -axes[0]
    return axes


def _height(plate: Plate, axes: Float64, low: Float64, spacing_um: float) -> Float64:
    """Return the plane of a plate as height over the raster: constant, per row, per column; um."""
    origin, right, down = (axes @ v for v in (plate.origin, plate.right, plate.down))
    slopes = np.linalg.solve(np.array([down[1:], right[1:]]), np.array([down[0], right[0]]))
    constant = origin[0] + (low - origin[1:]) @ slopes
    slopes = np.where(np.abs(slopes) < 1e-9, 0.0, slopes)
    return np.array([constant, *(slopes * spacing_um)])


def _check_apart(folder: Path, plates: Sequence[Plate], heights: Float64, size: tuple[int, int]) -> None:
    ends = np.array([[1.0, i, j] for i in (0, size[0] - 1) for j in (0, size[1] - 1)])
    for k in range(len(plates) - 1):
        gaps = ends @ (heights[k + 1] - heights[k])
        names = f"{plates[k].name} and {plates[k + 1].name}"
        if np.abs(gaps).max() < SAME_PLACE_UM:
            raise DataError(
                f"{folder / NAME}: expected a place of its own for every plate, got {names} at one"
            )
        if gaps.min() < SAME_PLACE_UM:
            raise DataError(
                f"{folder / NAME}: expected plates that do not cross, got {names} crossing; correct one"
            )


def _on_raster(
    plate: Plate, axes: Float64, origin: Float64, height: Float64, size: tuple[int, int], spacing_um: float
) -> UInt32:
    """Sample a plate at the raster pixels, each moved along the normal on to the plate."""
    i, j = np.mgrid[: size[0], : size[1]].astype(np.float64)
    up = height[0] + height[1] * i + height[2] * j
    places = origin + spacing_um * (i[..., None] * axes[1] + j[..., None] * axes[2]) + up[..., None] * axes[0]
    x, y = np.moveaxis((places - plate.origin) @ np.linalg.pinv(np.array([plate.right, plate.down])), -1, 0)
    column, row = np.floor(x + 0.5 + 1e-6).astype(int), np.floor(y + 0.5 + 1e-6).astype(int)
    inside = (row >= 0) & (row < plate.labels.shape[0]) & (column >= 0) & (column < plate.labels.shape[1])
    labels = np.zeros(size, np.uint32)
    labels[inside] = plate.labels[row[inside], column[inside]]
    return labels
