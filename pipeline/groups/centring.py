"""Log energies of animals, on one scale: floors, errors, offsets of animals, series of one animal.

An animal's stain may be stronger throughout than another's. Its offset is the median over structures of the
ratio to the mean of all animals (Anders and Huber 2010, for sequencing). Where structures of one group all
changed in one direction, they pull that median. So the offset between two groups is found once more as the
location of the structures' effects by Tukey's biweight, in which clearly changed structures count nothing.
"""

from __future__ import annotations

import numpy as np
from scipy import special

from pipeline.core.errors import DataError
from pipeline.core.model import Bool, Float64

FLOOR_SHARE = 0.02  # of the brain's energy, added to every energy before the logarithm
FLOOR = 0.01  # energy, added too
INTERVAL = 0.90  # what the intervals of the structure table cover
LEAST_COMMON = 10  # structures that all series have, for offsets over the same structures
LEAST_OWN = 3  # structures that a series needs for an offset
_BIWEIGHT = 4.685  # standard errors beyond which a structure does not count: 95 % efficient (Huber 1981)
_TO_SD = 1.4826  # of a normal distribution: standard deviation over median absolute deviation


def log_energy(energy: Float64, brain: float) -> Float64:
    """Return logarithms of energies above a floor.

    Parameters
    ----------
    energy : (structures,) float64
        Energies; NaN without data.
    brain : float
        Energy of the whole brain.

    Returns
    -------
    (structures,) float64
        ln(energy + e0), e0 = 2 % of the brain's energy + .01.

    Examples
    --------
    >>> log_energy(np.array([0.0, 9.79]), 10.0).round(3).tolist()
    [-1.561, 2.303]
    """
    return np.log(np.maximum(energy, 0.0) + floor_of(brain))


def floor_of(brain: float) -> float:
    """Return the floor e0 of a series.

    Parameters
    ----------
    brain : float
        Energy of the whole brain.

    Returns
    -------
    float
        2 % of it, and .01.
    """
    return FLOOR_SHARE * max(brain, 0.0) + FLOOR


def stated_error(lower: Float64, upper: Float64, brain: float) -> Float64:
    """Return the standard error of log energies from intervals of 90 %.

    Parameters
    ----------
    lower, upper : (structures,) float64
        Ends of the intervals, energies.
    brain : float
        Energy of the whole brain.

    Returns
    -------
    (structures,) float64
        Log units; NaN where there is no interval, or its ends are the wrong way round.
    """
    width = log_energy(upper, brain) - log_energy(lower, brain)
    error = width / (2 * special.ndtri((1 + INTERVAL) / 2))
    return np.where(width >= 0, error, np.nan)


def offsets(values: Float64) -> tuple[Float64, Bool]:
    """Return how much stronger each series is stained than the mean of all, in its median structure.

    Parameters
    ----------
    values : (structures, series) float64
        Log energies; NaN without data.

    Returns
    -------
    offset : (series,) float64
        Median over structures of the difference to the mean of all series.
    common : (structures,) bool
        The structures it is taken over: those that all series have, where these are at least 10, else each
        series' own.

    Raises
    ------
    DataError
        Where a series has fewer than 3 structures; `args[1]` is its position.
    """
    there = np.isfinite(values)
    common: Bool = np.asarray(there.all(axis=1))
    used = there & common[:, None] if common.sum() >= LEAST_COMMON else there
    few = np.flatnonzero(used.sum(axis=0) < LEAST_OWN)
    if len(few):
        raise DataError("too few structures for an offset", int(few[0]))
    count = there.sum(axis=1, keepdims=True)
    mean = np.where(there, values, 0.0).sum(axis=1, keepdims=True) / np.maximum(count, 1)
    apart = np.where(used, values - mean, np.nan)
    return np.nanmedian(apart, axis=0), np.asarray(used.any(axis=1))


def location(effect: Float64, error: Float64) -> float:
    """Return the effect of the unchanged structures: a biweight mean of the effects.

    Parameters
    ----------
    effect : (structures,) float64
        Effects.
    error : (structures,) float64
        Their standard errors, positive.

    Returns
    -------
    float
        Location; structures more than 4.7 standard errors away count nothing. Where the effects scatter more
        than their errors say, the scatter is taken instead.
    """
    order = np.argsort(effect)
    sums = np.cumsum(1 / error[order])
    found = float(effect[order][np.searchsorted(sums, sums[-1] / 2)])
    for _ in range(100):
        z = np.abs(effect - found) / error
        scale = max(1.0, _TO_SD * float(np.median(z)))
        weight = (1 - np.clip(z / (_BIWEIGHT * scale), 0, 1) ** 2) ** 2 / error**2
        last, found = found, float(np.sum(weight * effect) / np.sum(weight))
        if abs(found - last) < 1e-10:
            break
    return found


def average_series(values: Float64, errors: Float64) -> tuple[Float64, Float64]:
    """Average the series of one animal, so that it counts once.

    Parameters
    ----------
    values : (structures, series) float64
        Log energies; NaN without data.
    errors : (structures, series) float64
        Stated errors; NaN where unknown.

    Returns
    -------
    value, error : (structures,) float64
        Mean with weights 1 / error squared, equal weights where an error of the structure is unknown; and its
        error, NaN where unknown.
    """
    there = np.isfinite(values)
    known = np.isfinite(errors) | ~there
    weighted: Bool = np.asarray(known.all(axis=1, keepdims=True))
    weights = np.where(weighted, 1 / np.where(np.isfinite(errors), np.maximum(errors, 1e-6), 1.0) ** 2, 1.0)
    weights = np.where(there, weights, 0.0)
    total = weights.sum(axis=1)
    some = total > 0
    value = np.sum(weights * np.where(there, values, 0.0), axis=1) / np.where(some, total, 1.0)
    error = np.where(some & weighted[:, 0], 1 / np.sqrt(np.where(some, total, 1.0)), np.nan)
    return np.where(some, value, np.nan), error
