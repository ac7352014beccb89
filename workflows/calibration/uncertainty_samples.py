"""Rows of a rendered series with their truth, by measure, as intervals are fitted to and judged on."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from pipeline.quantification.uncertainty.columns import coverage_of_side
from pipeline.quantification.uncertainty.intervals import Features, RowFacts, features
from pipeline.quantification.uncertainty.terms import Terms

LEAST_COVERAGE = 0.5  # of the rows that count
# Inner edges of the classes: size in voxels of 200 um, and value over that of the brain.
SIZES, LEVELS = (4.5, 12.5, 40.5, 150.5, 1000.5), (0.05, 0.3, 1.0, 3.0)
SIZE_NAMES = ("1-4", "5-12", "13-40", "41-150", "151-1000", ">1000")
LEVEL_NAMES = ("<.05", ".05-.3", ".3-1", "1-3", ">3")


@dataclass(frozen=True, eq=False)
class Sample:
    """Rows of one series and one measure, with their truth.

    Attributes
    ----------
    name : str
        Series.
    rows : Features
        What intervals are made of.
    error : (rows,) float64
        Logarithm of (truth + least) over (value + least).
    size, level : (rows,) int64
        Class of size and of level.
    sides : three of (rows,) array
        Structure, hemisphere and voxels.
    pixel_um : float, um
        Size of the stored pixels.
    """

    name: str
    rows: Features
    error: np.ndarray
    size: np.ndarray
    level: np.ndarray
    sides: tuple[np.ndarray, np.ndarray, np.ndarray]
    pixel_um: float


def terms_of(arrays: dict[str, np.ndarray], measure: str) -> Terms:
    """Return the terms of a measure from kept arrays."""
    return Terms(
        arrays[measure].astype(float),
        float(arrays[f"{measure}.least"]),
        *(arrays[f"{measure}.{part}"] for part in ("parts", "shift", "signed", "backdrop")),
    )


def sample(
    name: str, arrays: dict[str, np.ndarray], measure: str, range_um: tuple[float, float] = (0.0, np.inf)
) -> Sample:
    """Return the rows of a series that count for one measure; `range_um` is that of calibrated pixels."""
    pixel_um = float(arrays["pixel_um"])
    terms = terms_of(arrays, measure)
    coverage = coverage_of_side(arrays["structure_id"], arrays["hemisphere_id"], arrays["coverage"])
    kind = measure.split("_")[1]
    other = terms_of(arrays, f"expression_{kind}") if measure.startswith("section") else None
    every = features(
        terms,
        other,
        (pixel_um, float(np.clip(pixel_um, *range_um))),
        RowFacts(coverage, arrays["own_share"], arrays["fluid"]),
    )
    truth = arrays[f"{measure}.truth"].astype(float)
    kept = (
        np.isfinite(truth)
        & np.isfinite(terms.value)
        & (arrays["coverage"] >= LEAST_COVERAGE)
        & (arrays["voxels"] > 0.5)
    )
    root = np.argmax(arrays["sum_pixels"])
    level = terms.value / terms.value[root]
    return Sample(
        name,
        Features(every.value[kept], every.least, every.spreads[kept], every.centres[kept]),
        np.log((truth[kept] + terms.least) / (terms.value[kept] + terms.least)),
        np.searchsorted(SIZES, arrays["voxels"][kept]),
        np.searchsorted(LEVELS, level[kept]),
        (arrays["structure_id"][kept], arrays["hemisphere_id"][kept], arrays["voxels"][kept]),
        pixel_um,
    )
