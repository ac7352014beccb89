"""Fit the coefficients of intervals to rows of known truth, and judge intervals on others."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from scipy.optimize import minimize

from calibration.uncertainty_samples import LEVEL_NAMES, SIZE_NAMES, Sample
from calibration.uncertainty_score import ALPHA, interval_score, sharpen
from pipeline.core.model import Float64
from pipeline.quantification.uncertainty.columns import excess_of_sides
from pipeline.quantification.uncertainty.intervals import (
    CENTRES,
    SPREADS,
    Coefficients,
    intervals,
    scale_and_centre,
)

DEGREES = 4.0  # degrees of freedom of the Student t


@dataclass(frozen=True, eq=False)
class Choice:
    """Coefficients, and how their kind does on series that were left out of the fit.

    Attributes
    ----------
    known : Coefficients
        Fitted to all series; their 5 and 95 % scores come from the left-out ones.
    kind : str
        "likelihood", or "score": fitted to the interval score itself.
    left_out : dict of str to float
        Mean interval score of left-out series, by kind.
    """

    known: Coefficients
    kind: str
    left_out: dict[str, float]


def fit(samples: list[Sample]) -> Choice:
    """Fit scale and centre in two ways, and take the one that does better on series that are left out.

    One way is the likelihood of a Student t, the other goes on from there to the least interval score. Every
    series weighs the same. The only series with the finest or coarsest pixels is not left out: without it,
    its pixels are outside the calibrated range, which is no case that intervals are for.
    """
    core = {"likelihood": _likely(samples)}
    core["score"] = sharpen(samples, core["likelihood"])
    away: dict[str, list[tuple[Sample, Float64, Float64]]] = {kind: [] for kind in core}
    for k, left_out in enumerate(samples):
        rest = samples[:k] + samples[k + 1 :]
        inside = rest and min(s.pixel_um for s in rest) <= left_out.pixel_um <= max(s.pixel_um for s in rest)
        known = dict(core)
        if len(rest) > 1 and inside:
            known["likelihood"] = _likely(rest, core["likelihood"])
            known["score"] = sharpen(rest, known["likelihood"])
        for kind, one in known.items():
            away[kind].append((left_out, *scale_and_centre(left_out.rows, one)))
    chosen, left = {}, {}
    for kind, parts in away.items():
        z = np.concatenate([(s.error - centre) / scale for s, scale, centre in parts])
        low, high = quantiles(z, np.concatenate([np.full(len(c), 1 / len(c)) for _, _, c in parts]))
        chosen[kind] = replace(core[kind], low=low, high=high)
        left[kind] = float(
            np.mean([np.mean(interval_score(s.error, c + low * a, c + high * a)) for s, a, c in parts])
        )
    best = min(left, key=lambda kind: left[kind])
    return Choice(chosen[best], best, left)


def quantiles(values: np.ndarray, weights: np.ndarray) -> tuple[float, float]:
    """Return the 5 and 95 % quantiles of weighted values."""
    order = np.argsort(values)
    share = np.cumsum(weights[order]) / weights.sum()
    at = np.searchsorted(share, [ALPHA / 2, 1 - ALPHA / 2])
    return float(values[order][at[0]]), float(values[order][min(at[1], len(values) - 1)])


def _likely(samples: list[Sample], start: Coefficients | None = None) -> Coefficients:
    spreads = np.concatenate([s.rows.spreads for s in samples]) ** 2
    centres = np.concatenate([s.rows.centres for s in samples])
    error = np.concatenate([s.error for s in samples])
    weight = np.concatenate([np.full(len(s.error), 1 / len(s.error)) for s in samples]) / len(samples)

    def loss(x: np.ndarray) -> tuple[float, np.ndarray]:
        a, c = np.exp(x[: len(SPREADS)]), x[len(SPREADS) :]
        variance = spreads @ a**2
        away = error - centres @ c
        z2 = away**2 / variance
        value = 0.5 * np.log(variance) + (DEGREES + 1) / 2 * np.log1p(z2 / DEGREES)
        pull = (DEGREES + 1) / (DEGREES + z2)
        by_variance = weight * (0.5 - 0.5 * pull * z2) / variance
        gradient = np.concatenate(
            [2 * a**2 * (by_variance @ spreads), -(weight * pull * away / variance) @ centres]
        )
        gradient[len(SPREADS) :] += 2 * RIDGE * c
        gradient[: len(SPREADS)] += 2 * RIDGE * (x[: len(SPREADS)] - START)
        return float(
            weight @ value + RIDGE * (c @ c) + RIDGE * ((x[: len(SPREADS)] - START) ** 2).sum()
        ), gradient

    x0 = np.concatenate([np.full(len(SPREADS), START), np.zeros(len(CENTRES))])
    if start is not None:
        x0 = np.concatenate(
            [np.log([max(start.spreads[n], 1e-3) for n in SPREADS]), [start.centres[n] for n in CENTRES]]
        )
    bounds = [(-7.0, 2.0)] * len(SPREADS) + [(-2.0, 2.0)] * len(CENTRES)
    bounds[SPREADS.index("floor")] = (np.log(LEAST_FLOOR), 0.0)
    found = minimize(loss, x0, jac=True, method="L-BFGS-B", bounds=bounds).x
    a, c = np.exp(found[: len(SPREADS)]), found[len(SPREADS) :]
    return Coefficients(
        dict(zip(SPREADS, map(float, a), strict=True)),
        dict(zip(CENTRES, map(float, c), strict=True)),
        -1.0,
        1.0,
    )


RIDGE, START = (
    1e-3,
    -1.5,
)  # pull of coefficients to their start: of spreads (as logarithm), and of centres to 0
LEAST_FLOOR = 0.02  # of the scale: no value is better known


@dataclass(frozen=True, eq=False)
class Verdict:
    """How intervals did on series that they were not fitted to: shares of rows, by class and series."""

    cover: float
    series: dict[str, float]
    sizes: dict[str, float]
    levels: dict[str, float]
    score: float
    constant: float
    told: float


def judge(samples: list[Sample], known: Coefficients, fitted: list[Sample]) -> Verdict:
    """Judge intervals on samples; constants come from `fitted`, or are told the answers."""
    inside, scores, weights = [], [], []
    for one in samples:
        low, high = _logs(one, known)
        inside.append((one.error >= low) & (one.error <= high))
        scores.append(interval_score(one.error, low, high))
        weights.append(np.full(len(low), 1 / len(low)))
    hit, weight = np.concatenate(inside).astype(float), np.concatenate(weights)
    size, level = (np.concatenate([getattr(s, n) for s in samples]) for n in ("size", "level"))

    def share(chosen: np.ndarray) -> float:
        return float((hit * weight)[chosen].sum() / max(weight[chosen].sum(), 1e-12))

    return Verdict(
        share(weight > 0),
        {s.name: float(h.mean()) for s, h in zip(samples, inside, strict=True)},
        {name: share(size == k) for k, name in enumerate(SIZE_NAMES)},
        {name: share(level == k) for k, name in enumerate(LEVEL_NAMES)},
        float(np.mean([s.mean() for s in scores])),
        _constant(samples, fitted),
        _constant(samples, samples),
    )


def _logs(one: Sample, known: Coefficients) -> tuple[np.ndarray, np.ndarray]:
    """Return the ends of intervals as logarithms, widened where the sides of a series differ too much."""
    rows = one.rows
    lower, upper = intervals(rows, known, excess_of_sides(rows, known, *one.sides))
    base = rows.value + rows.least
    return np.log((lower + rows.least) / base), np.log((upper + rows.least) / base)


def _constant(samples: list[Sample], known: list[Sample]) -> float:
    """Return the mean score of one interval a class of size, from the errors of `known`."""
    ends = {}
    for k in range(len(SIZE_NAMES)):
        errors = [s.error[s.size == k] for s in known]
        weights = [np.full(len(e), 1 / len(s.error)) for e, s in zip(errors, known, strict=True)]
        if sum(map(len, errors)):
            ends[k] = quantiles(np.concatenate(errors), np.concatenate(weights))
    return float(
        np.mean(
            [
                np.mean(interval_score(s.error, *np.array([ends.get(int(k), (-1.0, 1.0)) for k in s.size]).T))
                for s in samples
            ]
        )
    )
