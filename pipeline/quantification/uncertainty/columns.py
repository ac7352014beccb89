"""Intervals as columns of the structure table, with the shares of their causes and a note."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from pipeline.core.model import BOTH, LEAST_COVERAGE, LEFT, RIGHT, WIDE_INTERVAL, Bool, Float64, Int64
from pipeline.quantification.uncertainty.coefficients import Calibration
from pipeline.quantification.uncertainty.intervals import (
    CAUSES,
    Coefficients,
    Features,
    RowFacts,
    cause_shares,
    features,
    intervals,
    scale_and_centre,
)
from pipeline.quantification.uncertainty.series_terms import MEASURES, SeriesTerms

Columns = dict[str, npt.NDArray[Any]]

INTERVAL_COLUMNS = tuple(f"{name}_{end}" for name in MEASURES for end in ("lower", "upper"))
LEAST_VOXELS = 5.0  # of structures whose sides are held against each other
LEAST_PAIRS = 20  # structures that it takes to judge a series by them
# Median of |difference| of both sides over its error, up to which errors explain it. Errors of both sides
# are alike in part, so it lies below the 0.67 of independent ones.
USUAL_DIFFERENCE = 0.67
OF_SHARES = ("expression_energy", "section_energy")  # measures whose causes are told
SHARE_COLUMNS = tuple(f"{name}_share_{cause}" for name in OF_SHARES for cause in CAUSES)
WORDS = {
    "placement": "placement",
    "sampling": "too few sections",
    "gain": "stain that differs between sections",
    "chance": "few cells",
    "detector": "what the detector takes for expression",
    "floor": "size",
}


def interval_columns(
    terms: SeriesTerms,
    calibration: Calibration,
    table: Mapping[str, Any],
    context: Mapping[str, float],
) -> tuple[Columns, list[str]]:
    """Return the columns of intervals for the rows of a structure table.

    Parameters
    ----------
    terms : SeriesTerms
        Terms of every measure.
    calibration : Calibration
        Coefficients and the range that they hold in.
    table : mapping of str to column
        The table: `structure_id`, `hemisphere_id`, `coverage`, `own_share`.
    context : mapping of str to float
        `spacing_um` and `error_um` of the series, to hold against the calibrated range.

    Returns
    -------
    columns : dict of str to (rows,) array
        `<measure>_lower` and `<measure>_upper`, `<energy>_share_<cause>`, `uncertainty_note`; NaN where the
        measure is.
    notes : list of str
        Notes on the series.
    """
    structure, side = (np.asarray(table[n], np.int64) for n in ("structure_id", "hemisphere_id"))
    stated = np.asarray(table["coverage"], np.float64)
    coverage = coverage_of_side(structure, side, stated)
    own = np.asarray(table["own_share"], np.float64)
    facts = RowFacts(coverage, own, terms.fluid)
    rows = {}
    pixel_um = terms.pixel_um, float(np.clip(terms.pixel_um, *calibration.ranges["pixel_um"]))
    for name in MEASURES:
        kind = name.split("_")[1]
        other = terms.measures[f"expression_{kind}"] if name.startswith("section") else None
        rows[name] = features(terms.measures[name], other, pixel_um, facts)
    columns: Columns = {}
    known = calibration.measures
    # a sliver beyond the midline says nothing of the other side
    sizes = np.where(stated >= LEAST_COVERAGE, terms.voxels, 0.0)
    wider = {n: excess_of_sides(rows[n], known[n], structure, side, sizes) for n in MEASURES}
    for name in MEASURES:
        lower, upper = intervals(rows[name], known[name], wider[name])
        columns |= {f"{name}_lower": lower, f"{name}_upper": upper}
    causes = {name: cause_shares(rows[name], known[name]) for name in OF_SHARES}
    for name, shares in causes.items():
        columns |= {f"{name}_share_{cause}": share for cause, share in shares.items()}
    odd = outside(calibration, {**context, "pixel_um": terms.pixel_um})
    pairs = len(_pairs_of_sides(rows["section_energy"], structure, side, sizes))
    notes = _series_notes(odd, wider["section_energy"], pairs, terms)
    columns["uncertainty_note"] = _row_notes(columns, causes["section_energy"], table, odd, wider)
    return columns, notes


def coverage_of_side(structure: Int64, side: Int64, coverage: Float64) -> Float64:
    """Return the coverage of each row; of both sides, that of the better one.

    A series of one hemisphere covers half of a structure, and is no worse for it.

    Parameters
    ----------
    structure, side : (rows,) int64
        Rows of the table.
    coverage : (rows,) float64
        Share of voxels with data.

    Returns
    -------
    (rows,) float64
        Coverage.
    """
    best: dict[int, float] = {}
    for s, c in zip(structure.tolist(), coverage.tolist(), strict=True):
        best[s] = max(best.get(s, 0.0), c)
    return np.where(side == BOTH, np.array([best[s] for s in structure.tolist()]), coverage)


def outside(calibration: Calibration, series: Mapping[str, float]) -> list[str]:
    """Say in what a series differs from those that the coefficients rest on.

    Parameters
    ----------
    calibration : Calibration
        Coefficients with their ranges.
    series : mapping of str to float
        Values of the series by name of the range.

    Returns
    -------
    list of str
        One text for each; empty where it lies inside.
    """
    words = {
        "pixel_um": "pixels of {:.2g} um ({:.2g} to {:.2g})",
        "spacing_um": "sections {:.0f} um apart ({:.0f} to {:.0f})",
        "error_um": "an expected error of {:.0f} um ({:.0f} to {:.0f})",
    }
    return [
        words[name].format(series[name], low, high)
        for name, (low, high) in calibration.ranges.items()
        if name in words and name in series and not low / 1.05 <= series[name] <= high * 1.05
    ]


def excess_of_sides(
    rows: Features, known: Coefficients, structure: Int64, side: Int64, voxels: Float64
) -> float:
    """Return the factor by which left and right differ beyond what errors explain.

    Parameters
    ----------
    rows : Features
        Rows of one measure.
    known : Coefficients
        Its coefficients.
    structure, side : (rows,) int64
        Structure and hemisphere of each row.
    voxels : (rows,) float64
        Size of the structure, in voxels of 200 um; 0 where it is not to be held against the other side.

    Returns
    -------
    float
        At least 1; 1 where too few structures have both sides.
    """
    scale, _ = scale_and_centre(rows, known)
    logs = np.log(np.maximum(np.nan_to_num(rows.value), 0) + rows.least)
    pairs = _pairs_of_sides(rows, structure, side, voxels)
    if len(pairs) < LEAST_PAIRS:
        return 1.0
    left, right = pairs.T
    z = np.abs(logs[left] - logs[right]) / np.hypot(scale[left], scale[right])
    return max(1.0, float(np.median(z)) / USUAL_DIFFERENCE)


def _pairs_of_sides(rows: Features, structure: Int64, side: Int64, voxels: Float64) -> Int64:
    """Return the rows, (n, 2), of structures that are large enough and have a value on both sides."""
    usable: Bool = (voxels >= LEAST_VOXELS) & np.isfinite(rows.value)
    by = {
        h: {int(structure[at]): int(at) for at in np.flatnonzero(usable & (side == h))} for h in (LEFT, RIGHT)
    }
    return np.array([(at, by[RIGHT][s]) for s, at in by[LEFT].items() if s in by[RIGHT]], np.int64)


def _series_notes(odd: list[str], wider: float, pairs: int, terms: SeriesTerms) -> list[str]:
    """Return what holds for all intervals of a series; `pairs` are structures with values on both sides."""
    notes = []
    if odd:
        notes.append(f"intervals are outside what they were calibrated on: {', '.join(odd)}")
    if wider > 1.0:
        notes.append(
            f"intervals are widened {wider:.1f} times: left and right differ more than errors explain"
        )
    if pairs < LEAST_PAIRS:
        notes.append(
            "one hemisphere, or few structures: left and right cannot be held against each other to check"
            " intervals"
        )
    if not terms.detector_known:
        notes.append("the detector was not tried with other thresholds: intervals lack that part")
    return notes


def _row_notes(
    columns: Mapping[str, Any],
    causes: Mapping[str, Float64],
    table: Mapping[str, Any],
    odd: list[str],
    wider: Mapping[str, float],
) -> npt.NDArray[Any]:
    """Return why each row is uncertain; empty where nothing is to be said."""
    lower, upper = columns["section_energy_lower"], columns["section_energy_upper"]
    with np.errstate(invalid="ignore"):
        wide = ~(upper <= WIDE_INTERVAL * lower) & np.isfinite(upper)
    names = list(CAUSES)
    first = np.argmax(np.nan_to_num(np.stack([causes[name] for name in names])), axis=0)
    little = np.asarray(table["coverage"], np.float64) < LEAST_COVERAGE
    of_all = [f"outside the calibrated range: {', '.join(odd)}"] if odd else []
    if wider["section_energy"] > 1.0:
        of_all.append(f"widened {wider['section_energy']:.1f} times: left and right differ")
    notes = []
    for k in range(len(wide)):
        own = [f"wide: mostly {WORDS[names[first[k]]]}"] if wide[k] else []
        own += ["little of it was cut"] if little[k] else []
        notes.append("; ".join([*own, *of_all]))
    return np.array(notes, object)
