"""Rows of the structure tables of rendered series: values, terms and truth, kept beside each series."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from pipeline.core.reference_space import hemispheres
from pipeline.formats.tables.tables import read_arrays
from pipeline.inputs.measured_series import measured_series
from pipeline.inputs.placed_cells import read_series_cells, section_table
from pipeline.inputs.references import RunReference
from pipeline.quantification.uncertainty.series_terms import series_terms
from pipeline.quantification.unionize import LabelIndex
from pipeline.store.run import RunFolder


def collect(run: RunFolder, reference_folder: Path, truth: Path) -> dict[str, np.ndarray]:
    """Compute the rows of a run, and hold them against the truth.

    Parameters
    ----------
    run : RunFolder
        Its run.
    reference_folder : Path
        The reference.
    truth : Path
        `truth.npz` of the series.

    Returns
    -------
    dict of str to array
        Table columns, terms of each measure (`<measure>.parts` and so on) and truths (`<measure>.truth`).
    """
    reference = RunReference(reference_folder)
    described = json.loads(run.file("section_data_set.json").read_text(encoding="utf-8"))
    thickness = float(described["section_thickness_um"])
    numbers = sorted(s["section_number"] for s in described["section_images"])
    spacing = float(np.median(np.diff(numbers))) * thickness
    cells = read_series_cells(run, thickness)
    table = dict(read_arrays(run.file("structure_unionize.parquet")))
    table |= section_table(cells, reference, spacing, table)
    found = [r.facts.get("sensitivity", {}) for n, r in run.receipts().items() if n.startswith("detect")]
    series = measured_series(run, cells, spacing, 140.0, reference, "derived", found)
    structure, side = table["structure_id"].astype(np.int64), table["hemisphere_id"].astype(np.int64)
    terms = series_terms(series, structure, side, table)
    arrays = {k: v for k, v in table.items() if v.dtype.kind in "fiu"}
    for name, one in terms.measures.items():
        arrays |= {f"{name}.parts": one.parts, f"{name}.shift": one.shift, f"{name}.signed": one.signed}
        arrays[f"{name}.backdrop"] = one.backdrop
        arrays[f"{name}.least"] = np.array(one.least)
    errors = [s.error_um for s in cells.sections]
    arrays |= {"error_um": np.array(errors), "spacing_um": np.array(spacing)}
    arrays |= {"voxels": terms.voxels, "fluid": terms.fluid}
    arrays |= {"gain": np.array(terms.gain), "pixel_um": np.array(terms.pixel_um)}
    known = np.load(truth)
    position = {int(s): at for at, s in enumerate(known["structure_ids"])}
    at = np.array([position[int(s)] for s in structure])
    for k, name in enumerate(("energy", "density")):
        arrays[f"section_{name}.truth"] = known["exact"][k][at, side - 1]
        arrays[f"expression_{name}.truth"] = _grid_truth(known["grid"][k], series, structure, side)
    return arrays


def _grid_truth(perfect: np.ndarray, series, structure: np.ndarray, side: np.ndarray) -> np.ndarray:  # type: ignore[no-untyped-def]
    """Return the mean of a perfect grid over the covered voxels of every row."""
    index = LabelIndex.of(series.labels, series.ontology)
    sides = hemispheres(series.grid)
    position = np.searchsorted(index.label_ids, series.labels)
    sums = np.zeros((len(index.label_ids), 2, 2))
    for s in (0, 1):
        there = series.covered & (sides == s + 1)
        sums[:, s, 0] = np.bincount(position[there], perfect[there], len(index.label_ids))
        sums[:, s, 1] = np.bincount(position[there], minlength=len(index.label_ids))
    totals = index.propagate(sums)
    totals = np.concatenate([totals, totals.sum(axis=1, keepdims=True)], axis=1)
    rank = {s: at for at, s in enumerate(index.structure_ids)}
    found = totals[[rank[int(s)] for s in structure], side - 1]
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray(found[:, 0] / found[:, 1])
