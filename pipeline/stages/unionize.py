"""The unionize stage: the grid, and the sections themselves, summed over the structure hierarchy.

The table has the fields of the Allen Mouse Brain Atlas (Lein et al. 2007; Ng et al. 2009), and beside them
the section energy, which does without the grid.
"""

from __future__ import annotations

from typing import Any

from pipeline.core.model import SectionDataSet, StructureUnionize
from pipeline.core.reference_space import hemispheres
from pipeline.formats.tables.tables import columns_of, write_table
from pipeline.inputs.measured_series import grid_sums
from pipeline.inputs.placed_cells import read_series_cells, section_table
from pipeline.inputs.references import GRID_LABELS_UM, RunReference
from pipeline.quantification.unionize import LabelIndex, unionize
from pipeline.stages.uncertainty import UncertaintyInputs, intervals_of
from pipeline.store.facts import UnionizeFacts
from pipeline.store.run import RunFolder


def unionize_structures(
    run: RunFolder,
    data_set: SectionDataSet,
    reference: RunReference,
    grid_annotation: str,
    uncertainty: UncertaintyInputs | None = None,
) -> UnionizeFacts:
    """Sum grid and sections over the structure hierarchy, and write the table as CSV and Parquet.

    Parameters
    ----------
    run : RunFolder
        Run folder to read from and write to.
    data_set : SectionDataSet
        Manifest of the series.
    reference : RunReference
        Reference space.
    grid_annotation : {"derived", "served"}
        Labels of the 200 um voxels: derived from the annotation, or served with the reference.
    uncertainty : UncertaintyInputs or None
        What intervals need beside grid and cells; None leaves them out.

    Returns
    -------
    dict of str to Any
        Facts: number of `rows`, `unknown_labels` that the ontology does not contain, and `notes`.
    """
    space = reference.at(GRID_LABELS_UM)
    labels = space.grid_labels(served=grid_annotation == "served")
    sums, covered = grid_sums(run)
    index = LabelIndex.of(labels, space.ontology)
    rows = unionize(data_set.id, sums, covered, index, hemispheres(space.grid, space.midline_um))
    columns: dict[str, Any] = columns_of(rows, StructureUnionize)
    cells = read_series_cells(run, data_set.section_thickness_um)
    columns |= section_table(cells, reference, data_set.spacing_um, columns)
    notes: list[str] = []
    if uncertainty is not None:
        spacing = data_set.spacing_um
        more, notes = intervals_of(run, cells, spacing, reference, grid_annotation, uncertainty, columns)
        columns |= more
    write_table(columns, run.file("structure_unionize.csv"), run.file("structure_unionize.parquet"))
    unknown = space.ontology.unknown(index.label_ids)
    return {"rows": len(rows), "unknown_labels": list(unknown), "notes": notes}
