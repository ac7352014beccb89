"""The unionize stage: the grid summed over the structure hierarchy.

The table has the fields of the Allen Mouse Brain Atlas (Lein et al. 2007; Ng et al. 2009).
"""

from __future__ import annotations

import numpy as np

from pipeline.core.model import SUM_FIELDS, ExpressionSums, StructureUnionize
from pipeline.core.reference_space import hemispheres
from pipeline.formats.tables.tables import columns_of, write_table
from pipeline.inputs.references import GRID_LABELS_UM, RunReference
from pipeline.quantification.unionize import LabelIndex, unionize
from pipeline.store.facts import UnionizeFacts
from pipeline.store.run import RunFolder


def unionize_structures(
    run: RunFolder, section_data_set_id: int, reference: RunReference, grid_annotation: str
) -> UnionizeFacts:
    """Sum the grid over the structure hierarchy, and write the table as CSV and Parquet.

    Parameters
    ----------
    run : RunFolder
        Run folder to read from and write to.
    section_data_set_id : int
        Id of the series.
    reference : RunReference
        Reference space.
    grid_annotation : {"derived", "served"}
        Labels of the 200 um voxels: derived from the annotation, or served with the reference.

    Returns
    -------
    dict of str to Any
        Facts: number of `rows`, and `unknown_labels` that the ontology does not contain.
    """
    space = reference.at(GRID_LABELS_UM)
    labels = space.grid_labels(served=grid_annotation == "served")
    arrays = run.read_grid()
    covered = arrays["sum_pixels"] >= 0
    sums = ExpressionSums(*(np.where(covered, arrays[n], 0).astype(np.float64) for n in SUM_FIELDS))
    index = LabelIndex.of(labels, space.ontology)
    rows = unionize(section_data_set_id, sums, covered, index, hemispheres(space.grid))
    columns = columns_of(rows, StructureUnionize)
    write_table(columns, run.file("structure_unionize.csv"), run.file("structure_unionize.parquet"))
    unknown = space.ontology.unknown(index.label_ids)
    return {"rows": len(rows), "unknown_labels": list(unknown)}
