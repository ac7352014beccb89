"""What the terms of a run's error are made of: its grid, its section cells and what detection found."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from pipeline.core.model import SUM_FIELDS, Bool, ExpressionSums
from pipeline.core.reference_space import hemispheres
from pipeline.inputs.placed_cells import SeriesCells
from pipeline.inputs.references import GRID_LABELS_UM, OUTLINE_UM, RunReference
from pipeline.quantification.label_volume import LabelVolume
from pipeline.quantification.uncertainty.series_terms import MeasuredSeries
from pipeline.store.run import RunFolder

MOVED_LABELS_UM = OUTLINE_UM  # voxel size of the labels under redrawn placements: only differences count


def grid_sums(run: RunFolder) -> tuple[ExpressionSums, Bool]:
    """Read the sums of a grid, and where it has data.

    Parameters
    ----------
    run : RunFolder
        The run, with its grid.

    Returns
    -------
    sums : ExpressionSums of (P, I, R) float64
        0 where there is no data.
    covered : (P, I, R) bool
        Where there is data.
    """
    arrays = run.read_grid()
    covered = arrays["sum_pixels"] >= 0
    return ExpressionSums(*(np.where(covered, arrays[n], 0).astype(np.float64) for n in SUM_FIELDS)), covered


def measured_series(
    run: RunFolder,
    cells: SeriesCells,
    spacing_um: float,
    z_smoothing_um: float,
    reference: RunReference,
    grid_annotation: str,
    sensitivity: Sequence[Mapping[str, Sequence[float]]],
) -> MeasuredSeries:
    """Gather what the terms of a run's error are made of.

    Parameters
    ----------
    run : RunFolder
        The run, with its grid.
    cells : SeriesCells
        Its section cells.
    spacing_um : float, um
        Spacing of the manifest's sections.
    z_smoothing_um : float, um
        Smoothing of the grid along the cutting axis.
    reference : RunReference
        Reference space.
    grid_annotation : {"derived", "served"}
        Labels of the grid.
    sensitivity : sequence of mapping
        What detection found for each section.

    Returns
    -------
    MeasuredSeries
        All of it.
    """
    space, fine = reference.at(GRID_LABELS_UM), reference.at(MOVED_LABELS_UM)
    sums, covered = grid_sums(run)
    return MeasuredSeries(
        cells.sections,
        cells.alignment3d,
        spacing_um,
        z_smoothing_um,
        sums,
        covered,
        space.grid_labels(served=grid_annotation == "served"),
        space.grid,
        hemispheres(space.grid, space.midline_um),
        LabelVolume.of(fine),
        space.ontology,
        sensitivity,
    )
