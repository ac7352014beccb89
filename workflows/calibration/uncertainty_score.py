"""The interval score, and coefficients that make it small.

A proper score of intervals (Gneiting and Raftery 2007): their width, and 2 / alpha times what lies beyond
them. Its least expected value is that of the true 5 and 95 % quantiles.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

import numpy as np
from scipy.optimize import minimize
from scipy.special import expit

from calibration.uncertainty_samples import Sample
from pipeline.core.model import Float64
from pipeline.quantification.uncertainty.intervals import CENTRES, SPREADS, Coefficients

ALPHA = 0.1  # 1 - the confidence of an interval
SOFT = 0.02  # of the logarithm; the corner of the score is rounded by it
RIDGE = 2e-3  # pull of what is fitted to its start
OF_NEW = 0.1  # start of a spread that is 0
LEAST_FLOOR = 0.02  # of the scale: no value is better known


def interval_score(error: Float64, low: Float64, high: Float64) -> Float64:
    """Return the interval score of 90 % intervals, (n,)."""
    beyond = np.maximum(low - error, 0) + np.maximum(error - high, 0)
    return np.asarray(high - low + 2 / ALPHA * beyond)


def sharpen(
    samples: Sequence[Sample], start: Coefficients, free: Collection[str] | None = None
) -> Coefficients:
    """Return coefficients with the least interval score; every series weighs the same.

    Parameters
    ----------
    samples : sequence of Sample
        Series of known truth.
    start : Coefficients
        Where to begin; coefficients are pulled to it.
    free : collection of str or None
        Terms that may move; None: all of them, and the scores.

    Returns
    -------
    Coefficients
        The coefficients.
    """
    squares = np.concatenate([s.rows.spreads for s in samples]) ** 2
    centres = np.concatenate([s.rows.centres for s in samples])
    error = np.concatenate([s.error for s in samples])
    weight = np.concatenate([np.full(len(s.error), 1 / len(s.error)) for s in samples]) / len(samples)
    spreads, shift = (np.array([part[n] for n in names]) for part, names in _parts(start))
    first = np.concatenate(
        [np.log(np.where(spreads > 0, spreads, OF_NEW)), shift, np.log([-start.low, start.high])]
    )
    n, end = len(SPREADS), len(SPREADS) + len(CENTRES)
    moves = np.array([free is None or name in free for name in (*SPREADS, *CENTRES, *[""] * 2)])
    fixed = np.where(np.concatenate([spreads, np.ones(len(CENTRES) + 2)]) > 0, first, -np.inf)

    def loss(part: Float64) -> tuple[float, Float64]:
        x = np.where(moves, first, fixed)
        x[moves] = part
        a2, (low, high) = np.exp(2 * x[:n]), np.exp(x[end:])
        scale, mid = np.sqrt(squares @ a2), centres @ x[n:end]
        below, above = mid - low * scale - error, error - mid - high * scale
        beyond = SOFT * (np.logaddexp(0, below / SOFT) + np.logaddexp(0, above / SOFT))
        away = x[moves] - first[moves]
        value = weight @ ((low + high) * scale + 2 / ALPHA * beyond) + RIDGE * away @ away
        by_low = weight * (2 / ALPHA * expit(below / SOFT) - 1)  # of the lower end
        by_high = weight * (1 - 2 / ALPHA * expit(above / SOFT))
        by_scale = (high * by_high - low * by_low) / scale
        ends = [-low * (by_low @ scale), high * (by_high @ scale)]
        gradient = np.concatenate([a2 * (by_scale @ squares), (by_low + by_high) @ centres, ends])
        return float(value), gradient[moves] + 2 * RIDGE * away

    bounds = [(-7.0, 2.0)] * n + [(-2.0, 2.0)] * len(CENTRES) + [(-1.0, 2.0)] * 2
    bounds[SPREADS.index("floor")] = (float(np.log(LEAST_FLOOR)), 1.0)
    limits = [pair for pair, moved in zip(bounds, moves, strict=True) if moved]
    found = minimize(loss, first[moves], jac=True, method="L-BFGS-B", bounds=limits)
    x = np.where(moves, first, fixed)
    x[moves] = found.x
    return Coefficients(
        dict(zip(SPREADS, map(float, np.exp(x[:n])), strict=True)),
        dict(zip(CENTRES, map(float, x[n:end]), strict=True)),
        -float(np.exp(x[end])),
        float(np.exp(x[end + 1])),
    )


def _parts(known: Coefficients):  # type: ignore[no-untyped-def]
    return (known.spreads, SPREADS), (known.centres, CENTRES)
