"""The table of plates: the file of each one, and where its pixels lie."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.core.did_you_mean import hint
from pipeline.core.errors import DataError
from pipeline.core.model import Float64
from pipeline.formats.tables.tables import number, read_cells
from pipeline.system.files import shown

NAME = "plates.csv"
# Axis of the normal, axis of the rows and axis of the columns, of (P, I, R).
PLANES = {"coronal": (0, 1, 2), "sagittal": (2, 1, 0), "horizontal": (1, 0, 2)}
OBLIQUE = tuple(f"{vector}_{axis}" for vector in "oxy" for axis in "pir")
UPRIGHT = ("position_um", "plane", "resolution_um", "x_um", "y_um")
COLUMNS = ("file", *UPRIGHT, *OBLIQUE)
LEAST_SINE = 0.05  # of the angle between rows and columns of an oblique plate
LEAST_UM, MOST_UM = 1e-3, 1e6  # length of a pixel, and distance of a plate from the origin


@dataclass(frozen=True, eq=False)
class PlacedFile:
    """A row of plates.csv: pixel (x, y) lies at origin + x * right + y * down.

    Attributes
    ----------
    path : Path
        File of the plate.
    name : str
        Its name in the table.
    origin : (3,) float64, um
        Place of pixel (0, 0), as (P, I, R).
    right, down : (3,) float64, um
        Step from a pixel to the next one in the row, and to that in the next row.
    """

    path: Path
    name: str
    origin: Float64
    right: Float64
    down: Float64

    @property
    def pixel_um(self) -> tuple[float, float]:
        """Length of `right` and `down`, um."""
        return float(np.linalg.norm(self.right)), float(np.linalg.norm(self.down))


def read_plate_table(folder: Path, resolution_um: float) -> list[PlacedFile]:
    """Read plates.csv.

    Parameters
    ----------
    folder : Path
        Folder of the plates.
    resolution_um : float, um
        Pixel size of plates whose row states none.

    Returns
    -------
    list of PlacedFile
        In the order of the rows.

    Raises
    ------
    DataError
        Where the table or a file is missing, a cell is no number, planes differ, or there are fewer than 2
        plates.
    """
    path = folder / NAME
    if not folder.is_dir():
        raise DataError(f"{folder}: expected a folder with {NAME}, got none; name the folder of the plates")
    if not path.exists():
        raise DataError(
            f"{path}: expected the table of the plates, got no such file; write one, a row a plate, with the"
            " columns file,position_um,plane,resolution_um"
        )
    header, lines = read_cells(path)
    header = [name.strip().lower() for name in header]
    unknown = [name for name in header if name not in COLUMNS]
    if unknown:
        raise DataError(f"{path}: unknown column {shown(unknown[0])}; {hint(unknown[0], COLUMNS)}")
    if "file" not in header:
        raise DataError(f"{path}: expected a column file, got {', '.join(header)}")
    rows = [(line, dict(zip(header, cells, strict=True))) for line, cells in lines]
    if len(rows) < 2:
        raise DataError(f"{path}: expected at least 2 plates, got {len(rows)}; nothing lies between fewer")
    is_oblique = "position_um" not in header and any(name in header for name in OBLIQUE)
    if not is_oblique:
        _one_plane(path, rows)
    placed = [_placed(path, line, row, resolution_um, is_oblique) for line, row in rows]
    _check_files(path, placed)
    return placed


def _one_plane(path: Path, rows: list[tuple[int, dict[str, str]]]) -> None:
    planes = {(row.get("plane") or "coronal").lower() for _, row in rows}
    for plane in sorted(planes - PLANES.keys()):
        raise DataError(f"{path}: expected a plane of {', '.join(PLANES)}, got {shown(plane)}")
    if len(planes) > 1:
        raise DataError(
            f"{path}: expected one plane in all rows, got {' and '.join(sorted(planes))}; part them"
        )


def _placed(
    path: Path, line: int, row: Mapping[str, str], resolution_um: float, is_oblique: bool
) -> PlacedFile:
    name = row["file"]
    if not name:
        raise DataError(f"{path}: line {line}: expected the name of a file, got an empty cell")

    def read(column: str, default: float | None = None) -> float:
        cell = row.get(column, "")
        if not cell and default is not None:
            return default
        return _within(path, line, column, number(path, line, column, cell))

    if is_oblique:
        origin, right, down = np.array([read(column) for column in OBLIQUE]).reshape(3, 3)
    else:
        normal, rows_axis, columns_axis = PLANES[(row.get("plane") or "coronal").lower()]
        um = read("resolution_um", resolution_um)
        if um < LEAST_UM:
            raise DataError(f"{path}: line {line}: expected resolution_um above 0, got {um:g}")
        origin = np.zeros(3)
        origin[[normal, columns_axis, rows_axis]] = read("position_um"), read("x_um", 0.0), read("y_um", 0.0)
        right, down = um * np.eye(3)[columns_axis], um * np.eye(3)[rows_axis]
    placed = PlacedFile(path.parent / name, name, origin, right, down)
    _check_vectors(path, line, placed)
    return placed


def _within(path: Path, line: int, column: str, value: float) -> float:
    if abs(value) > MOST_UM:
        raise DataError(f"{path}: line {line}: expected {column} in um, up to {MOST_UM:g}, got {value:g}")
    return value


def _check_vectors(path: Path, line: int, placed: PlacedFile) -> None:
    across, along = placed.pixel_um
    area = float(np.linalg.norm(np.cross(placed.right, placed.down)))
    if min(across, along) < LEAST_UM or area < LEAST_SINE * across * along:
        raise DataError(
            f"{path}: line {line}: expected x_… and y_… as two steps that span a plane, got"
            f" {_listed(placed.right)} and {_listed(placed.down)}"
        )


def _listed(vector: Any) -> str:
    return "(" + ", ".join(f"{v:g}" for v in vector) + ")"


def _check_files(path: Path, placed: list[PlacedFile]) -> None:
    missing = [one.name for one in placed if not one.path.is_file()]
    if missing:
        more = f" and {len(missing) - 1} more" if len(missing) > 1 else ""
        raise DataError(f"{path}: names {missing[0]}{more}, which is missing; add the file or drop its row")
