"""Left and right of served grids against the errors that intervals state, and those of a rendered series.

Rendered intervals hold errors of measurement only. Sides of real brains differ by biology and by whatever a
renderer lacks, so the ratio of both says how much too narrow intervals may be on real tissue.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from calibration.uncertainty_samples import SIZE_NAMES, SIZES, Sample
from pipeline.core.model import BOTH, LEFT, RIGHT, Float64
from pipeline.core.reference_space import hemispheres
from pipeline.formats.volumes.metaimage import read_grid
from pipeline.inputs.references import GRID_LABELS_UM, RunReference
from pipeline.quantification.table_rows import TableRows, both_sides
from pipeline.quantification.uncertainty.intervals import Coefficients, intervals
from pipeline.quantification.uncertainty.terms import least_of
from pipeline.quantification.unionize import LabelIndex

LEAST_LEVEL, LEAST_COVERAGE = 0.15, 0.5  # of the brain's value; of both sides
OF_90 = 2 * 1.645  # width of a 90 % interval of a normal distribution, in standard deviations
MEDIAN = 0.6745  # of the absolute value of a standard normal variable


@dataclass(frozen=True, eq=False)
class Sides:
    """Left and right of structures.

    Attributes
    ----------
    structure_id : (structures,) int64
        The structures.
    half : (structures,) float64
        Half the difference of the logarithms of both sides.
    """

    structure_id: np.ndarray
    half: Float64


def stated(one: Sample, known: Coefficients) -> tuple[Sides, Float64, np.ndarray]:
    """Return the sides of a rendered series, the stated error of `half`, and classes of size."""
    lower, upper = intervals(one.rows, known)
    structure, side, voxels = one.sides
    logs = [np.log(v + one.rows.least) for v in (one.rows.value, lower, upper)]
    error = (logs[2] - logs[1]) / OF_90
    at = {h: {int(structure[k]): k for k in np.flatnonzero(side == h)} for h in (LEFT, RIGHT)}
    ids = np.array([i for i in at[LEFT] if i in at[RIGHT]], np.int64)
    left, right = (np.array([at[h][int(i)] for i in ids], np.int64) for h in (LEFT, RIGHT))
    both = Sides(ids, 0.5 * np.abs(logs[0][left] - logs[0][right]))
    return both, 0.5 * np.hypot(error[left], error[right]), np.searchsorted(SIZES, voxels[left])


def served(folder: Path, reference: RunReference) -> Sides:
    """Return the sides of structures of a served grid that express and are covered on both sides."""
    space = reference.at(GRID_LABELS_UM)
    labels, values = space.grid_labels(), read_grid(folder / "energy.mhd")
    index = LabelIndex.of(labels, space.ontology)
    codes = np.searchsorted(index.label_ids, labels) * 2 + hemispheres(space.grid) - LEFT
    inside, count = labels > 0, 2 * len(index.label_ids)
    known = inside & (values >= 0)
    sums = [
        np.bincount(codes[known], values[known].astype(np.float64), count),
        np.bincount(codes[known], minlength=count),
        np.bincount(codes[inside], minlength=count),
    ]
    totals = both_sides(index.propagate(np.stack(sums, axis=1).reshape(-1, 2, 3).astype(np.float64)))
    ids = np.array(index.structure_ids, np.int64)

    def rows(hemisphere: int) -> Float64:
        return np.asarray(TableRows(index, ids, np.full(len(ids), hemisphere)).take(totals, 0.0))

    with np.errstate(invalid="ignore", divide="ignore"):
        left, right, both = ((r[:, 0] / r[:, 1], r[:, 1] / r[:, 2]) for r in map(rows, (LEFT, RIGHT, BOTH)))
        brain = float(both[0][ids == space.ontology.roots[0].id][0])
        least = least_of(brain, density=False)
        half = 0.5 * np.abs(np.log((left[0] + least) / (right[0] + least)))
        kept = (np.minimum(left[1], right[1]) >= LEAST_COVERAGE) & (both[0] > LEAST_LEVEL * brain)
    return Sides(ids[kept], half[kept])


def compare(name: str, sides: Sides, of: Sides, error: Float64, size: np.ndarray) -> None:
    """Print the 68th percentile of the differences by size, and how often they are what is stated."""
    place = {int(i): k for k, i in enumerate(of.structure_id)}
    at = np.array([place.get(int(i), -1) for i in sides.structure_id])
    half, stated_error, classes = sides.half[at >= 0], error[at[at >= 0]], size[at[at >= 0]]
    parts = []
    for k in np.unique(classes).tolist():
        found, expected = np.quantile(half[classes == k], 0.68), np.median(stated_error[classes == k])
        parts.append(f"{SIZE_NAMES[k]}: {found:.2f} ({expected:.2f})")
    ratio = float(np.median(half / stated_error)) / MEDIAN
    print(f"{name}: {', '.join(parts)}; {ratio:.2f} times what is stated, {len(half)} structures")
