"""Structure tables of the runs of a design: rows, measures, and whether they may be compared."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from pipeline.core.errors import ConfigError, DataError, MissingResultError
from pipeline.core.model import BOTH, LEAST_COVERAGE, LEFT, RIGHT, Float64
from pipeline.formats.tables.tables import read_arrays
from pipeline.groups.centring import log_energy, stated_error
from pipeline.runs.group_design import TABLE, Design, Row
from pipeline.store.run import RunFolder, is_run, read_json
from pipeline.system.files import shown

HEMISPHERES = {"both": (BOTH,), "left": (LEFT,), "right": (RIGHT,), "sides": (LEFT, RIGHT)}
MEASURES = ("section_energy", "expression_energy")  # the default is the first that every run has
FEW_OF_OTHER = 0.2  # covered rows of a side, of those of the other, below which a series lacks the side
KEYS = ("structure_id", "hemisphere_id")
_KINDS = ("expression_", "section_", "voxel_energy_mean")  # how the names of measures begin
_ENDS = ("_lower", "_upper")

Key = tuple[int, int]  # structure, hemisphere


@dataclass(frozen=True, eq=False)
class Table:
    """One series of a design with its rows.

    Attributes
    ----------
    row : Row
        Line of the design.
    columns : mapping of str to array
        Columns of the table.
    provenance, described : mapping
        provenance.json and section_data_set.json beside the table; empty where there are none.
    """

    row: Row
    columns: Mapping[str, npt.NDArray[Any]]
    provenance: Mapping[str, Any]
    described: Mapping[str, Any]

    @property
    def name(self) -> str:
        """Animal and run, for messages."""
        return f"{self.row.animal} ({self.row.said})"


@dataclass(frozen=True, eq=False)
class Measured:
    """One measure of all series.

    Attributes
    ----------
    keys : tuple of (int, int)
        Structure and hemisphere of the rows.
    values, errors, energies : (rows, series) float64
        Log energies, stated errors in log units, and energies; NaN without data.
    weighted : int
        Series that state errors.
    """

    keys: tuple[Key, ...]
    values: Float64
    errors: Float64
    energies: Float64
    weighted: int


def read_tables(design: Design) -> list[Table]:
    """Read the tables of all series; a table with several series is taken apart.

    Parameters
    ----------
    design : Design
        The design.

    Returns
    -------
    list of Table
        In the order of the design.

    Raises
    ------
    DataError
        Where a table lacks its key columns, or has a row twice.
    """
    return [
        table
        for row in design.rows
        for table in read_row(f"{design.path}: line {row.line}: run {row.said} of animal {row.animal}", row)
    ]


def read_row(where: str, row: Row) -> list[Table]:
    """Read one table; several series in it are taken apart.

    Parameters
    ----------
    where : str
        What messages begin with.
    row : Row
        Where the table lies.

    Returns
    -------
    list of Table
        One for each section_data_set_id.

    Raises
    ------
    DataError
        Where it is damaged, lacks its key columns, or has a row twice.
    """
    folder = row.table.parent
    try:
        if is_run(folder) and row.table.name == TABLE:
            RunFolder(folder).require(TABLE)
        columns = read_arrays(row.table)
    except (DataError, MissingResultError) as error:
        raise DataError(f"{where}: {error}") from None
    lacking = [name for name in KEYS if name not in columns]
    if lacking or not len(columns[KEYS[0]]):
        what = f"no column {lacking[0]}" if lacking else "no rows"
        raise DataError(f"{where}: expected a structure table, got {what} in {row.table.name}")
    documents = [_document(folder / name) for name in ("provenance.json", "section_data_set.json")]
    ids = columns.get("section_data_set_id", np.zeros(len(columns[KEYS[0]])))
    found = []
    for number in dict.fromkeys(ids.tolist()):
        part = {name: values[ids == number] for name, values in columns.items()}
        pairs = list(zip(*(part[name].tolist() for name in KEYS), strict=True))
        if len(set(pairs)) < len(pairs):
            raise DataError(f"{where}: expected each structure and hemisphere once, got rows twice")
        found.append(Table(row, part, *documents))
    return found


def _document(path: Path) -> Mapping[str, Any]:
    """Return a JSON file beside a table; empty where there is none, or none that can be read."""
    try:
        return read_json(path) if path.is_file() else {}
    except DataError:
        return {}


def choose_measure(tables: Sequence[Table], asked: str | None) -> tuple[str, str]:
    """Return the measure to compare, and a note on the choice.

    Parameters
    ----------
    tables : sequence of Table
        The series.
    asked : str or None
        Measure that the user names.

    Returns
    -------
    measure, note : str
        Name of a column that all tables have; the note is empty where there is nothing to say.

    Raises
    ------
    ConfigError
        Where a table lacks the measure; the message names it and what all have.
    """
    shared = [n for n in tables[0].columns if _is_measure(n) and all(n in t.columns for t in tables)]
    if asked is None:
        if MEASURES[0] in shared:
            return MEASURES[0], ""
        lacking = next(t for t in tables if MEASURES[0] not in t.columns)
        if MEASURES[1] in shared:
            return MEASURES[1], (
                f"{lacking.name} has no {MEASURES[0]}: {MEASURES[1]}, which the grid blurs, is compared; run"
                " the series again with this version for the other"
            )
        asked = MEASURES[1]
    without = next((t for t in tables if asked not in t.columns), None)
    if without is not None or asked in KEYS:
        raise ConfigError(
            f"measure {shown(asked)}: {(without or tables[0]).name} has none; all runs have"
            f" {', '.join(shared) or 'none in common'}; choose with --measure"
        )
    return asked, ""


def _is_measure(name: str) -> bool:
    return name.startswith(_KINDS) and not name.endswith((*_ENDS, "_cv", "_id"))


def measured(tables: Sequence[Table], measure: str, hemispheres: Sequence[int], root: int | None) -> Measured:
    """Return one measure of all series as logarithms.

    Parameters
    ----------
    tables : sequence of Table
        The series.
    measure : str
        Column.
    hemispheres : sequence of int
        Hemispheres to take: 1 left, 2 right, 3 both.
    root : int or None
        Structure of the whole brain; None: the one with most pixels.

    Returns
    -------
    Measured
        Values, errors and energies.

    Raises
    ------
    DataError
        Where a table has no such rows, or a cell is no number.
    """
    rows = [_rows(table, hemispheres) for table in tables]
    keys = tuple(dict.fromkeys(key for found in rows for key in found))
    at = {key: n for n, key in enumerate(keys)}
    values, errors, energies = (np.full((len(keys), len(tables)), np.nan) for _ in range(3))
    weighted = 0
    for n, (table, found) in enumerate(zip(tables, rows, strict=True)):
        own = np.fromiter(found.values(), np.int64, len(found))
        to = np.array([at[key] for key in found], np.int64)
        brain = _brain(table, measure, root)
        column = _numbers(table, measure)
        energies[to, n] = np.where(column[own] >= 0, column[own], np.nan)
        values[to, n] = log_energy(energies[to, n], brain)
        if all(f"{measure}{end}" in table.columns for end in _ENDS):
            weighted += 1
            lower, upper = (_numbers(table, f"{measure}{end}")[own] for end in _ENDS)
            errors[to, n] = stated_error(lower, upper, brain)
    return Measured(keys, values, np.where(np.isfinite(values), errors, np.nan), energies, weighted)


def covered_side(tables: Sequence[Table]) -> str:
    """Return the rows that all series can answer for: a series of one hemisphere covers half of "both".

    Parameters
    ----------
    tables : sequence of Table
        The series.

    Returns
    -------
    str
        "left" or "right" where a series covers hardly anything on the other side and all cover this one;
        else "both".
    """
    counts = np.array([[_covered(table, side) for side in (LEFT, RIGHT)] for table in tables])
    lacking = (counts < FEW_OF_OTHER * counts.max(axis=1, keepdims=True)).any(axis=0)
    return ("both", "right", "left", "both")[int(lacking[0]) + 2 * int(lacking[1])]


def _covered(table: Table, side: int) -> int:
    """Return the number of covered rows of a hemisphere."""
    rows = table.columns[KEYS[1]] == side
    if "coverage" in table.columns:
        rows &= _numbers(table, "coverage") >= LEAST_COVERAGE
    return int(rows.sum())


def _rows(table: Table, hemispheres: Sequence[int]) -> dict[Key, int]:
    """Return the covered rows of a table by structure and hemisphere."""
    columns = table.columns
    sides = np.isin(columns[KEYS[1]], hemispheres)
    if not sides.any():
        there = ", ".join(str(n) for n in sorted(set(columns[KEYS[1]].tolist())))
        raise DataError(
            f"{table.name}: expected rows of hemisphere_id {' and '.join(map(str, hemispheres))}, got"
            f" {there}; choose with --hemisphere"
        )
    if "coverage" in columns:
        sides &= ~(_numbers(table, "coverage") < LEAST_COVERAGE)
    pairs = zip(*(columns[name].tolist() for name in KEYS), strict=True)
    return {(int(s), int(h)): n for n, (s, h) in enumerate(pairs) if sides[n]}


def _numbers(table: Table, name: str) -> Float64:
    try:
        return np.asarray(table.columns[name], np.float64)
    except (TypeError, ValueError):
        raise DataError(f"{table.name}: expected numbers in column {name}, got text") from None


def _brain(table: Table, measure: str, root: int | None) -> float:
    """Return the measure of the whole brain: root's, else the row's with most pixels, else the median."""
    columns, values = table.columns, _numbers(table, measure)
    rows = np.flatnonzero(np.isfinite(values) & (values >= 0))
    if not len(rows):
        raise DataError(f"{table.name}: expected numbers in column {measure}, got none")
    whole = rows[(columns[KEYS[0]][rows] == root)]
    if len(whole):
        return float(values[whole[np.argmax(columns[KEYS[1]][whole])]])
    if "sum_pixels" in columns:
        return float(values[rows[np.argmax(_numbers(table, "sum_pixels")[rows])]])
    return float(np.median(values[rows]))


def mixed(tables: Sequence[Table], measure: str) -> list[str]:
    """Return in what the runs differ that must not differ in a comparison, one line each.

    Parameters
    ----------
    tables : sequence of Table
        The series.
    measure : str
        Measure to compare; the grid's settings matter to its own measures alone.

    Returns
    -------
    list of str
        Differences, each with two runs by name; runs without provenance differ from none.
    """
    known = [t for t in tables if t.provenance]
    found = []
    if len(known) > 1 and (other := next((t for t in known if not _same_reference(known[0], t)), None)):
        found.append(_differ("references", known[0], _reference(known[0])[0], other, _reference(other)[0]))
    parts = [
        "detection",
        *(["gridding", "unionize"] if measure.startswith(("expression_", "voxel_")) else []),
    ]
    for part, what in zip(parts, ("detectors", "settings of the grid", "labels of the grid"), strict=False):
        settings = [(t, (t.provenance.get("configuration") or {}).get(part)) for t in known]
        settings = [(t, s) for t, s in settings if s is not None]
        other_setting = next(((t, s) for t, s in settings if s != settings[0][1]), None)
        if other_setting:
            found.append(_differ(what, *settings[0], *other_setting))
    genes = [(t, str(t.described["gene"])) for t in tables if t.described.get("gene")]
    other_gene = next(((t, g) for t, g in genes if g.casefold() != genes[0][1].casefold()), None)
    if other_gene:
        found.append(_differ("genes", *genes[0], *other_gene))
    return found


def _differ(what: str, a: Table, of_a: Any, b: Table, of_b: Any) -> str:
    return f"runs of different {what}: {a.name} {_short(of_a)}, {b.name} {_short(of_b)}"


def _short(value: Any) -> str:
    if isinstance(value, Mapping) and "name" in value:
        settings = value.get("configuration") or {}
        listed = ", ".join(f"{k} = {v}" for k, v in settings.items())
        return f"{value['name']}" + (f" ({listed})"[:60] if listed else "")
    return value if isinstance(value, str) else shown(value)


def _reference(table: Table) -> tuple[str, Mapping[str, str]]:
    """Return name and file digests of a run's reference; no digests for the phantom."""
    stated = table.provenance.get("reference") or {}
    place = table.provenance.get("reference_directory")
    return str(place or stated.get("name") or "phantom"), stated.get("files") or {}


def _same_reference(a: Table, b: Table) -> bool:
    """Return whether two runs had the same reference: by the files that both folders had."""
    (name_a, files_a), (name_b, files_b) = _reference(a), _reference(b)
    shared = files_a.keys() & files_b.keys()
    if not shared:
        return name_a == name_b
    return all(files_a[name] == files_b[name] for name in shared)
