"""Ranks within error: where a row of a ranking may stand, by what its experiment says of its own errors."""

from __future__ import annotations

import math

import numpy as np

from pipeline.core.model import Float64, Int64

QUANTILE = 1.6448536269514722  # of the normal distribution at 95 %: an interval of 90 % ends there
_OF_A_RATIO = math.sqrt(2.0)  # errors of target and contrast, taken as independent and alike


def typical_error(lower: Float64, upper: Float64) -> float | None:
    """Return the typical standard error of log energies from intervals of 90 %.

    Parameters
    ----------
    lower, upper : (structures,) float64
        Ends of the intervals, energies; NaN where there is none. An interval from 0 is infinitely wide.

    Returns
    -------
    float or None
        Median over the structures, log units; None where there is no interval, or half of them begin at 0.
    """
    known = (lower >= 0) & (upper >= lower) & (upper > 0) & np.isfinite(upper)
    with np.errstate(divide="ignore"):
        half = np.log(upper[known] / lower[known]) / 2
    found = float(np.median(half)) / QUANTILE if known.any() else math.inf
    return found if math.isfinite(found) else None


def rank_ranges(fold_change: Float64, error: Float64, count: int) -> tuple[Int64, Int64]:
    """Return between which ranks the rows of a ranking may stand.

    A fold change lies with 90 % within `QUANTILE` x sqrt(2) x its error, in log units. A row may stand behind
    all rows whose interval is not wholly below its own, and before all whose interval is not wholly above.

    Parameters
    ----------
    fold_change : (n,) float64
        Finite ones by descending value, then any infinite ones, whose place is by convention: they get no
        range and count for none.
    error : (n,) float64
        Standard error of the log energies of each row's experiment; NaN where it is not known. Such a row
        gets no range, and counts for others as exact.
    count : int
        How many rows are wanted.

    Returns
    -------
    first, last : (min(n, count),) int64
        Best and worst rank, from 1; 0 where there is no range.
    """
    finite = int(np.isfinite(fold_change).sum())
    first, last = np.zeros((2, min(len(fold_change), count)), np.int64)
    asked = np.flatnonzero(~np.isnan(error[: min(finite, count)]))
    if len(asked):
        with np.errstate(divide="ignore"):
            value = np.log(fold_change[:finite])  # -inf: no error makes something of a target without any
        half = QUANTILE * _OF_A_RATIO * np.nan_to_num(error[:finite])
        low, high = value - half, value + half
        first[asked] = 1 + finite - np.searchsorted(np.sort(low), high[asked], side="right")
        last[asked] = finite - np.searchsorted(np.sort(high), low[asked], side="left")
    return first, last
