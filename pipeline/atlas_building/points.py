"""Points of one space in another, by the displacement files of a folder."""

from __future__ import annotations

import csv
import io
from pathlib import Path

import numpy as np

from pipeline.atlas_building.displacement import Displacement
from pipeline.core.errors import DataError
from pipeline.core.model import Float64
from pipeline.formats.volumes.nrrd_writer import read_vectors
from pipeline.system.files import read_text, shown
from pipeline.system.whole_files import replacing

FORWARD, INVERSE = "source_to_target", "target_to_source"
COLUMNS = ("x_um", "y_um", "z_um")
ADDED = tuple(f"to_{name}" for name in COLUMNS)


def read_displacement(folder: Path, name: str) -> Displacement:
    """Read a displacement file.

    Parameters
    ----------
    folder : Path
        Folder that holds it.
    name : str
        `source_to_target` or `target_to_source`.

    Returns
    -------
    Displacement
        The field.

    Raises
    ------
    DataError
        Where there is no such file, or it is damaged.
    """
    path = folder / f"{name}.nrrd"
    if not folder.is_dir():
        got = "a file" if folder.exists() else "no such folder"
        raise DataError(f"{folder}: expected the folder of a result, got {got}; name the folder of a verb")
    if not path.is_file():
        inside = sorted(p.parent.name for p in folder.glob(f"brains/*/{name}.nrrd"))
        also = f"; name one of its brains, {folder}/brains/{inside[0]}" if inside else ""
        raise DataError(
            f"{folder}: expected a result with {name}.nrrd (of symmetrise, carry, or a brain of average), got"
            f" none{also}"
        )
    return Displacement(*read_vectors(path))


def map_points(folder: Path, points: Path, out: Path, *, inverse: bool = False) -> int:
    """Map the points of a table and write it again with three columns more.

    Parameters
    ----------
    folder : Path
        Folder with source_to_target.nrrd and target_to_source.nrrd.
    points : Path
        CSV with x_um, y_um and z_um = (P, I, R).
    out : Path
        CSV to write: the same rows and columns, then to_x_um, to_y_um and to_z_um, empty for points outside
        of the box.
    inverse : bool
        From target to source.

    Returns
    -------
    int
        Number of points outside of the box.

    Raises
    ------
    DataError
        Where a file is missing or damaged, lacks a column, or holds something else than numbers.
    """
    header, rows = _read_rows(points)
    places = _places(points, header, rows)
    field = read_displacement(folder, INVERSE if inverse else FORWARD)
    inside = field.holds(places)
    moved = field.apply(np.where(inside[:, None], places, 0.0))
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow([*header, *ADDED])
    for (_, cells), there, to in zip(rows, inside, moved, strict=True):
        table.writerow([*cells, *([f"{value:.3f}" for value in to] if there else [""] * 3)])
    with replacing(out) as fresh:
        fresh.write_text(text.getvalue(), encoding="utf-8")
    return int((~inside).sum())


def _read_rows(path: Path) -> tuple[list[str], list[tuple[int, list[str]]]]:
    """Return the header and the rows of a table with their line numbers, cells as they are."""
    reader = csv.reader(io.StringIO(read_text(path, "a table of points"), newline=""), strict=True)
    try:
        lines = [(reader.line_num, row) for row in reader if row]
    except csv.Error as error:
        raise DataError(f"{path}: line {reader.line_num}: expected a table, got {error}") from error
    if not lines:
        raise DataError(f"{path}: expected a table with {', '.join(COLUMNS)}, got an empty file")
    header, rows = [cell.strip() for cell in lines[0][1]], lines[1:]
    _check_columns(path, header)
    for line, row in rows:
        if len(row) != len(header):
            raise DataError(f"{path}: line {line}: expected {len(header)} cells, got {len(row)}")
    return header, rows


def _check_columns(path: Path, header: list[str]) -> None:
    """Refuse a table without the columns, or with those that are added."""
    missing = [name for name in COLUMNS if name not in header]
    if missing:
        raise DataError(
            f"{path}: expected columns {', '.join(COLUMNS)}, separated by commas, got"
            f" {shown(', '.join(header))}; name them so: um along P, I and R"
        )
    twice = [name for name in COLUMNS if header.count(name) > 1]
    if twice:
        raise DataError(
            f"{path}: expected one column {twice[0]}, got {header.count(twice[0])}; rename the others"
        )
    taken = [name for name in ADDED if name in header]
    if taken:
        raise DataError(f"{path}: has a column {taken[0]} already; rename it")


def _places(path: Path, header: list[str], rows: list[tuple[int, list[str]]]) -> Float64:
    at = [header.index(name) for name in COLUMNS]
    places = np.empty((len(rows), 3))
    for number, (line, cells) in enumerate(rows):
        try:
            places[number] = [float(cells[column]) for column in at]
        except ValueError:
            got = shown(", ".join(cells[column] for column in at))
            raise DataError(
                f"{path}: line {line}: expected numbers in {', '.join(COLUMNS)}, got {got}"
            ) from None
    return places
