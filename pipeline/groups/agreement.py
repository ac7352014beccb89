"""Agreement of two measurements of the same structures: correlations, ratio, and scatter by size."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from scipy import stats

from pipeline.core.model import Float64

SIZES = ((1, 4), (5, 12), (13, 40), (41, 150), (151, 1000), (1001, None))  # voxels of 200 um
ALL = "all"
LEAST = 3  # structures that a figure needs
_TO_SD = 1.4826  # of a normal distribution: standard deviation over median absolute deviation


@dataclass(frozen=True)
class Agreement:
    """Agreement over the structures of one size.

    Attributes
    ----------
    size : str
        Voxels of 200 um, such as "5-12"; "all" for every structure.
    structures : int
        Structures that both have.
    r, rho, log_r : float
        Pearson's correlation, Spearman's, and Pearson's of the logarithms; NaN where undefined.
    ratio : float
        Median ratio, second over first.
    cv : float
        Scatter of one value, as a share of it: robust standard deviation of the log ratios about their median
        over all structures, divided by the square root of 2.
    inside : float
        Share of structures whose log ratio, less that median, lies within the 90 % that the stated errors of
        both allow; NaN where none are stated.
    """

    size: str
    structures: int
    r: float
    rho: float
    log_r: float
    ratio: float
    cv: float
    inside: float


def agreement(first: Float64, second: Float64, errors: Float64, voxels: Float64) -> tuple[Agreement, ...]:
    """Compare two measurements of the same structures.

    Parameters
    ----------
    first, second : (structures,) float64
        Logarithms of energies; NaN without data.
    errors : (structures,) float64
        Standard error of the log ratio that both state; NaN where unknown.
    voxels : (structures,) float64
        Voxels of 200 um of each structure; NaN where unknown.

    Returns
    -------
    tuple of Agreement
        Over all structures first, then by size, where there are any.
    """
    there = np.isfinite(first) & np.isfinite(second)
    middle = float(np.median((second - first)[there])) if there.any() else math.nan
    found = [_agreement(ALL, there, first, second, errors, middle)]
    for low, high in SIZES:
        inside = there & (voxels >= low - 0.5) & (voxels < (math.inf if high is None else high + 0.5))
        if inside.any():
            name = f">{low - 1}" if high is None else f"{low}-{high}"
            found.append(_agreement(name, inside, first, second, errors, middle))
    return tuple(found)


def _agreement(
    size: str, used: np.ndarray, first: Float64, second: Float64, errors: Float64, middle: float
) -> Agreement:
    x, y, error = first[used], second[used], errors[used]
    apart = y - x - middle
    known = np.isfinite(error)
    bound = stats.norm.ppf(0.95) * error[known]
    enough = len(x) >= LEAST
    return Agreement(
        size,
        len(x),
        _correlation(np.exp(x), np.exp(y)),
        _correlation(stats.rankdata(x), stats.rankdata(y)) if enough else math.nan,
        _correlation(x, y),
        math.exp(float(np.median(y - x))) if len(x) else math.nan,
        _TO_SD * float(np.median(np.abs(apart))) / math.sqrt(2) if enough else math.nan,
        float(np.mean(np.abs(apart[known]) <= bound)) if known.any() else math.nan,
    )


def _correlation(x: Float64, y: Float64) -> float:
    if len(x) < LEAST or x.std() == 0 or y.std() == 0:
        return math.nan
    return float(np.corrcoef(x, y)[0, 1])
