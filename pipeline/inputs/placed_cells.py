"""The section cells of a run with their places, without what the sections lack: as the grid took them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from pipeline.core.errors import MissingResultError
from pipeline.core.model import Alignment3d
from pipeline.inputs.alignments import read_placement
from pipeline.inputs.references import OUTLINE_UM, RunReference
from pipeline.quantification.cells import without
from pipeline.quantification.label_volume import LabelVolume
from pipeline.quantification.section_sums import Columns, PlacedCells, section_columns, sum_by_label
from pipeline.store.missing_cells import read_missing_cells
from pipeline.store.run import RunFolder


@dataclass(frozen=True, eq=False)
class SeriesCells:
    """Cells of all sections that count in the grid of a run.

    Attributes
    ----------
    sections : tuple of PlacedCells
        Sections in the order of their numbers.
    alignment3d : Alignment3d
        Volume to reference space.
    """

    sections: tuple[PlacedCells, ...]
    alignment3d: Alignment3d


def read_series_cells(run: RunFolder, thickness_um: float) -> SeriesCells:
    """Read the cells of a run that has a grid.

    Parameters
    ----------
    run : RunFolder
        Run folder.
    thickness_um : float, um
        Distance between consecutive section numbers.

    Returns
    -------
    SeriesCells
        Cells with their places.

    Raises
    ------
    MissingResultError
        Where the run has no grid, or that of an earlier version, which did not keep what sections lack.
    DataError
        Where a part is damaged.
    """
    alignment = read_placement(run)
    numbers, lacking = read_missing_cells(run)
    sections = []
    for number in sorted(numbers):
        aligned = alignment.of(number)
        if aligned is None:
            raise MissingResultError(f"{run.path}: section {number} is in the grid, but has no alignment")
        cells = run.read_cells(number)
        if number in lacking:
            cells = without(cells, *lacking[number])
        sections.append(PlacedCells(cells, number * thickness_um, aligned))
    return SeriesCells(tuple(sections), alignment.alignment3d)


def section_table(
    cells: SeriesCells, reference: RunReference, spacing_um: float, table: Mapping[str, Any]
) -> Columns:
    """Return the section columns for the rows of a structure table.

    Parameters
    ----------
    cells : SeriesCells
        Cells of the series.
    reference : RunReference
        Reference space; structures are looked up in its annotation at 50 um.
    spacing_um : float, um
        Spacing of the manifest's sections.
    table : mapping of str to column
        The table, for its `structure_id` and `hemisphere_id`.

    Returns
    -------
    dict of str to (rows,) array
        Columns as of `section_columns`.
    """
    volume = LabelVolume.of(reference.at(OUTLINE_UM))
    found = sum_by_label(cells.sections, cells.alignment3d, volume, spacing_um)
    rows = (np.asarray(table[name], np.int64) for name in ("structure_id", "hemisphere_id"))
    return section_columns(found, volume, *rows)
