"""Intervals of a run's structure table."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from pipeline.inputs.measured_series import measured_series
from pipeline.inputs.placed_cells import SeriesCells
from pipeline.inputs.references import RunReference
from pipeline.quantification.uncertainty.coefficients import read_coefficients
from pipeline.quantification.uncertainty.columns import Columns, interval_columns
from pipeline.quantification.uncertainty.series_terms import series_terms
from pipeline.store.run import RunFolder


@dataclass(frozen=True)
class UncertaintyInputs:
    """What intervals need beside the grid and the cells of a run.

    Attributes
    ----------
    z_smoothing_um : float, um
        Smoothing of the grid along the cutting axis.
    sensitivity : tuple of mapping
        What detection found for each section, see `pipeline.stages.sensitivity`.
    """

    z_smoothing_um: float
    sensitivity: tuple[Mapping[str, Any], ...]


def intervals_of(
    run: RunFolder,
    cells: SeriesCells,
    spacing_um: float,
    reference: RunReference,
    grid_annotation: str,
    inputs: UncertaintyInputs,
    table: Mapping[str, Any],
) -> tuple[Columns, list[str]]:
    """Return the columns of intervals for the structure table of a run.

    Parameters
    ----------
    run : RunFolder
        The run, with its grid.
    cells : SeriesCells
        Its section cells.
    spacing_um : float, um
        Spacing of the manifest's sections.
    reference : RunReference
        Reference space.
    grid_annotation : {"derived", "served"}
        Labels of the grid.
    inputs : UncertaintyInputs
        The rest.
    table : mapping of str to column
        The table, with the columns of section energy.

    Returns
    -------
    columns : dict of str to (rows,) array
        See `interval_columns`.
    notes : list of str
        Notes on the series.
    """
    series = measured_series(
        run, cells, spacing_um, inputs.z_smoothing_um, reference, grid_annotation, inputs.sensitivity
    )
    structure, side = (np.asarray(table[n], np.int64) for n in ("structure_id", "hemisphere_id"))
    arrays = {k: np.asarray(v, np.float64) for k, v in table.items()}
    terms = series_terms(series, structure, side, arrays)
    error = float(np.median([section.error_um for section in cells.sections]))
    context = {"spacing_um": spacing_um, "error_um": error}
    return interval_columns(terms, read_coefficients(), table, context)
