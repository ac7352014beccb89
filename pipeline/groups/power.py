"""How many animals a change needs: power of the moderated t test for the scatter that was seen."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from scipy import optimize, stats

from pipeline.core.model import Float64

LEVEL = 0.05  # false discovery rate
CHANGED = 0.1  # share of structures that are taken to change
WANTED = 0.8  # power
COUNTS = (3, 4, 5, 6, 8, 10, 12, 16, 20)  # animals a group


@dataclass(frozen=True)
class Needed:
    """Smallest change that is found with the wanted power, by animals a group.

    Attributes
    ----------
    count : int
        Animals in each of two groups.
    quiet, middle, noisy : float
        Factor, for the scatter of the structure at the quarter, half and three quarters of all.
    """

    count: int
    quiet: float
    middle: float
    noisy: float


def p_threshold(level: float = LEVEL, changed: float = CHANGED, power: float = WANTED) -> float:
    """Return the p value below which tests are called at a false discovery rate.

    Parameters
    ----------
    level : float
        False discovery rate.
    changed : float
        Share of structures that change.
    power : float
        Share of these that are found.

    Returns
    -------
    float
        Threshold of p.

    Examples
    --------
    >>> round(p_threshold(), 5)
    0.00468
    """
    return level * changed * power / ((1 - level) * (1 - changed))


def power_of(effect: float, variance: float, count: int, freedom: float, threshold: float) -> float:
    """Return the chance that a change is found.

    Parameters
    ----------
    effect : float
        Difference of mean log energy.
    variance : float
        Variance of an animal.
    count : int
        Animals in each of two groups.
    freedom : float
        Degrees of freedom of the variance.
    threshold : float
        Two-sided p below which a test is called.

    Returns
    -------
    float
        Power, 0-1.
    """
    centre = abs(effect) / math.sqrt(2 * variance / count)
    if math.isinf(freedom):
        cut = stats.norm.isf(threshold / 2)
        return float(stats.norm.sf(cut - centre) + stats.norm.cdf(-cut - centre))
    cut = stats.t.isf(threshold / 2, freedom)
    return float(stats.nct.sf(cut, freedom, centre))  # the other side adds less than threshold / 2


def needed(variances: Float64, prior_freedom: float, coefficients: int) -> tuple[Needed, ...]:
    """Return the smallest change found with 80 % power, by animals a group.

    Parameters
    ----------
    variances : (structures,) float64
        Moderated variance of an animal.
    prior_freedom : float
        Degrees of freedom of the prior.
    coefficients : int
        Coefficients of the model, which cost degrees of freedom.

    Returns
    -------
    tuple of Needed
        One for each number of animals.
    """
    quartiles = np.quantile(variances, (0.25, 0.5, 0.75)).tolist()
    found = []
    for count in COUNTS:
        own = 2 * count - coefficients
        if own > 0:
            freedom = min(prior_freedom + own, own * len(variances))
            factors = [math.exp(_smallest(v, count, freedom)) for v in quartiles]
            found.append(Needed(count, *factors))
    return tuple(found)


def _smallest(variance: float, count: int, freedom: float) -> float:
    """Return the smallest effect that is found with the wanted power."""
    error = math.sqrt(2 * variance / count)
    threshold = p_threshold()

    def short(effect: float) -> float:
        return power_of(effect, variance, count, freedom, threshold) - WANTED

    top = 2 * error
    while short(top) < 0:  # the distribution function is inexact far beyond the wanted power
        top *= 1.2
    return float(optimize.brentq(short, 0.0, top, xtol=1e-6 * error))
