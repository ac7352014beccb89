"""Repeatability of a lab's own runs: left against right, replicates, and interleaved series of one brain."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from itertools import combinations
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from pipeline.core.errors import ConfigError, DataError, PipelineError
from pipeline.core.model import BOTH, LEFT, RIGHT, Float64
from pipeline.core.reference_space import ReferenceSpace, hemispheres
from pipeline.groups.agreement import agreement
from pipeline.groups.structures import leaves
from pipeline.inputs.alignments import run_reference
from pipeline.inputs.references import GRID_LABELS_UM, open_reference
from pipeline.runs.group_design import TABLE, Row
from pipeline.runs.group_tables import Measured, Table, choose_measure, measured, read_row
from pipeline.system.lazy import LazyModule

if TYPE_CHECKING:
    from pipeline.report import replicates as pages
else:
    pages = LazyModule("pipeline.report.replicates")

LEFT_RIGHT, INTERLEAVED, REPLICATE = "left/right", "interleaved", "replicate"
Note = Callable[[str], None]


def replicates(runs: Sequence[Path], note: Note = lambda line: None) -> pages.Replicates:
    """Compare the sides of each run, and every pair of runs.

    Parameters
    ----------
    runs : sequence of Path
        Run folders, or Parquet files of structure tables.
    note : callable
        Called with notes on choices, one line each.

    Returns
    -------
    Replicates
        Agreement of every pair, over structures that hold no other with data.

    Raises
    ------
    ConfigError
        Where a run is named twice, or nothing can be compared.
    DataError
        Where a table is missing or damaged.
    """
    tables = [table for run in runs for table in _tables(run)]
    measure, told = choose_measure(tables, None)
    if told:
        note(told)
    space = _reference(tables, note)
    root = space.ontology.roots[0].id if space else None
    found = [measured([t], measure, (LEFT, RIGHT, BOTH), root) for t in tables]
    sides = [_sides(m, space, name) for m, name in zip(found, _names(tables), strict=True)]
    pairs = [pair for pair in sides if pair is not None]
    for (a, b), (m, n), (x, y) in zip(
        combinations(tables, 2), combinations(found, 2), combinations(_names(tables), 2), strict=True
    ):
        pairs.append(_pair(_kind(a, b), f"{x} : {y}", (m, BOTH), (n, BOTH), space))
    if not any(pair.figures[0].structures for pair in pairs):
        raise ConfigError(
            f"{', '.join(map(str, runs))}: nothing to compare: expected two runs that share structures, or"
            " one with data in both hemispheres"
        )
    return pages.Replicates(measure, tuple(pairs), space.name if space else "")


def write_replicates(folder: Path, found: pages.Replicates) -> list[Path]:
    """Write the agreement as a table and a page.

    Parameters
    ----------
    folder : Path
        Folder for the files; made where it does not exist.
    found : Replicates
        Agreement of every pair.

    Returns
    -------
    list of Path
        `replicates.csv` and `replicates.html`.
    """
    return pages.write_replicates(folder, found)


def _tables(run: Path) -> list[Table]:
    """Return the series of a run."""
    table = run / TABLE if run.is_dir() else run
    if not table.is_file():
        raise DataError(f"{run}: expected a finished run with {TABLE}, got none; see `ish status`")
    return read_row(str(run), Row(table, str(run), run.name, "", (), 0))


def _names(tables: Sequence[Table]) -> list[str]:
    """Return short names that tell the series apart: the folder's, or its whole path."""
    short = [t.row.animal for t in tables]
    return [
        name if short.count(name) == 1 else f"{t.row.said} #{n + 1}"
        for n, (name, t) in enumerate(zip(short, tables, strict=True))
    ]


def _kind(a: Table, b: Table) -> str:
    """Return what two runs are to each other, by the specimens that they state."""
    first, second = (t.described.get("specimen") for t in (a, b))
    return INTERLEAVED if first and first == second else REPLICATE


def _reference(tables: Sequence[Table], note: Note) -> ReferenceSpace | None:
    for table in tables:
        if table.provenance:
            try:
                return open_reference(run_reference(table.row.table.parent), GRID_LABELS_UM)
            except PipelineError as error:
                note(f"{table.name}: its reference cannot be read ({error})")
    note("no run states a readable reference: structures are not told by size, and some lie inside others")
    return None


def _sides(found: Measured, space: ReferenceSpace | None, name: str) -> pages.Pair | None:
    """Return left against right of a run; None where a side has no data."""
    sides = {h for (_, h), value in zip(found.keys, found.values[:, 0], strict=True) if math.isfinite(value)}
    if not {LEFT, RIGHT} <= sides:
        return None
    return _pair(LEFT_RIGHT, name, (found, LEFT), (found, RIGHT), space)


def _pair(
    kind: str, name: str, a: tuple[Measured, int], b: tuple[Measured, int], space: ReferenceSpace | None
) -> pages.Pair:
    """Return the agreement of two measurements."""
    first, second = (_by_structure(*one) for one in (a, b))
    shared = [s for s in first if s in second]
    if space is not None:
        shared = list(leaves(space.ontology, shared))
    x, y = (np.array([values[s][0] for s in shared], np.float64) for values in (first, second))
    errors = np.array([math.hypot(first[s][1], second[s][1]) for s in shared], np.float64)
    figures = agreement(x, y, errors, _voxels(space, shared, a[1]))
    labels = tuple(space.ontology.label(s) if space else str(s) for s in shared)
    return pages.Pair(kind, name, figures, np.exp(x), np.exp(y), labels)


def _by_structure(found: Measured, hemisphere: int) -> dict[int, tuple[float, float]]:
    """Return log energy and stated error of the structures of a side that have data."""
    return {
        structure: (float(found.values[n, 0]), float(found.errors[n, 0]))
        for n, (structure, side) in enumerate(found.keys)
        if side == hemisphere and math.isfinite(found.values[n, 0])
    }


def _voxels(space: ReferenceSpace | None, ids: Sequence[int], hemisphere: int) -> Float64:
    """Return the voxels of 200 um of structures on a side; NaN without a reference."""
    if space is None:
        return np.full(len(ids), np.nan)
    labels = space.grid_labels(served=False)
    if hemisphere != BOTH:
        labels = labels[:, :, hemispheres(space.grid, space.midline_um) == hemisphere]
    counts: dict[int, int] = {}
    for label, count in zip(*(a.tolist() for a in np.unique(labels, return_counts=True)), strict=True):
        for above in space.ontology.path(label) if label in space.ontology.by_id else ():
            counts[above] = counts.get(above, 0) + count
    return np.array([counts.get(i, 0) for i in ids], np.float64)
