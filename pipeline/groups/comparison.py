"""Comparison of two groups of animals over many structures: from log energies to effects and q values."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats

from pipeline.core.errors import DataError
from pipeline.core.model import Bool, Float64, Int64
from pipeline.groups.centring import average_series, location, offsets
from pipeline.groups.model import LEAST_ANIMALS, Model
from pipeline.groups.moderated import Tests, fit_weighted, moderated_tests
from pipeline.groups.power import Needed, needed
from pipeline.groups.variance import VarianceFunction, fit_variance_function

LEAST_PRIOR = 10  # structures that a prior of the variances is fitted to


@dataclass(frozen=True, eq=False)
class Series:
    """Numbers of all series, as logarithms.

    Attributes
    ----------
    values, errors : (structures, series) float64
        Log energies, and their stated errors; NaN without data.
    animal : (series,) int64
        Animal of each series, from 0.
    tested : (structures,) bool
        Structures to be tested.
    scaling : (structures,) bool
        Structures that offsets, weights and priors are taken from.
    """

    values: Float64
    errors: Float64
    animal: Int64
    tested: Bool
    scaling: Bool


@dataclass(frozen=True, eq=False)
class Compared:
    """Result of a comparison; every array has a row for each structure that was tested.

    Attributes
    ----------
    rows : (tested,) int64
        Rows of the series' arrays.
    values, errors, weights : (tested, animals) float64
        Analysed log energies, stated errors, and weights relative to a typical animal.
    counts : (tested, 2) int64
        Animals with data, by group.
    tests : Tests
        Moderated tests.
    q_value : (tested,) float64
        By Benjamini and Hochberg.
    welch_p, welch_q : (tested,) float64
        Welch's t test of the unweighted values of the two groups.
    left_out : tuple of (int, int, int, str)
        Row, animals of both groups, reason.
    offsets : (series,) float64
        What was subtracted from each series; zeros where values are not centred.
    variance_function : VarianceFunction or None
        How weights follow from stated errors; None where none are stated.
    needed : tuple of Needed
        Smallest change that other numbers of animals would find.
    """

    rows: Int64
    values: Float64
    errors: Float64
    weights: Float64
    counts: Int64
    tests: Tests
    q_value: Float64
    welch_p: Float64
    welch_q: Float64
    left_out: tuple[tuple[int, int, int, str], ...]
    offsets: Float64
    variance_function: VarianceFunction | None
    needed: tuple[Needed, ...]


def compare_groups(series: Series, model: Model, *, centre: bool = True) -> Compared:
    """Compare two groups of animals.

    Parameters
    ----------
    series : Series
        Log energies of all series.
    model : Model
        Design; its rows are animals.
    centre : bool
        Put all animals on one scale first.

    Returns
    -------
    Compared
        Effects, intervals, p and q values.

    Raises
    ------
    DataError
        Where no structure can be tested, or a series has too few structures to be centred.
    """
    shift = np.zeros(series.values.shape[1])
    if centre:
        shift = offsets(series.values[series.scaling])[0]
    values, errors = _animals(series.values - shift, series.errors, series.animal, len(model.member))
    function, prior, typical = _scale(values[series.scaling], errors[series.scaling], model)
    if centre:
        values = values - typical[model.member]
        shift = shift + typical[model.member][series.animal]
    rows, left_out = _testable(values, model, series.tested)
    if not len(rows):
        raise DataError(f"no structure can be tested: {left_out[0][3] if left_out else 'none is chosen'}")
    values, errors = values[rows], errors[rows]
    weights = np.where(np.isfinite(values), _weights(function, errors), 0.0)
    fits = fit_weighted(values, weights, model.matrix)
    tests = moderated_tests(fits, model.contrast, prior if len(rows) < LEAST_PRIOR else None)
    welch = _welch(values, model)
    return Compared(
        rows=rows,
        values=values,
        errors=errors,
        weights=weights,
        counts=_counts(values, model),
        tests=tests,
        q_value=stats.false_discovery_control(tests.p_value),
        welch_p=welch,
        welch_q=_adjusted(welch),
        left_out=left_out,
        offsets=shift,
        variance_function=function,
        needed=needed(_typical_variance(tests, model), tests.prior_freedom, model.matrix.shape[1]),
    )


def _animals(values: Float64, errors: Float64, animal: Int64, count: int) -> tuple[Float64, Float64]:
    """Return one column for each animal."""
    pairs = [average_series(values[:, animal == n], errors[:, animal == n]) for n in range(count)]
    return np.stack([p[0] for p in pairs], axis=1), np.stack([p[1] for p in pairs], axis=1)


def _scale(
    values: Float64, errors: Float64, model: Model
) -> tuple[VarianceFunction | None, tuple[float, float] | None, Float64]:
    """Return variance function, prior, and by how much the unchanged structures differ, by group.

    The latter is relative to the first group, whose entry is 0.
    """
    shifts = np.zeros(len(model.groups))
    rows, _ = _testable(values, model, np.ones(len(values), np.bool_))
    if len(rows) < 2:
        return None, None, shifts
    values, errors = values[rows], errors[rows]
    function = fit_variance_function(values, errors, model.matrix)
    weights = np.where(np.isfinite(values), _weights(function, errors), 0.0)
    fits = fit_weighted(values, weights, model.matrix)
    prior = None
    for number in range(1, len(model.groups)):
        contrast = np.zeros(model.matrix.shape[1])
        contrast[[0, number]] = -1, 1
        tests = moderated_tests(fits, contrast)
        prior = tests.prior_variance, tests.prior_freedom
        shifts[number] = location(tests.effect, np.maximum(tests.error, 1e-9))
    return function, prior, shifts


def _weights(function: VarianceFunction | None, errors: Float64) -> Float64:
    return np.ones_like(errors) if function is None else function.weights(errors)


def _testable(
    values: Float64, model: Model, tested: Bool
) -> tuple[Int64, tuple[tuple[int, int, int, str], ...]]:
    """Return the rows that can be tested, and the others with the reason."""
    counts = _counts(values, model)
    rows, left_out = [], []
    for row in np.flatnonzero(tested).tolist():
        there = np.isfinite(values[row])
        part = model.matrix[there]
        if counts[row].min() < LEAST_ANIMALS:
            reason = f"fewer than {LEAST_ANIMALS} animals of a group have data"
        elif len(part) <= part.shape[1] or np.linalg.matrix_rank(part) < part.shape[1]:
            reason = "the animals with data do not tell group and covariates apart"
        else:
            rows.append(row)
            continue
        left_out.append((row, int(counts[row, 0]), int(counts[row, 1]), reason))
    return np.array(rows, np.int64), tuple(left_out)


def _counts(values: Float64, model: Model) -> Int64:
    """Return the animals with data of the two groups, (structures, 2)."""
    there = np.isfinite(values)
    return np.stack([there[:, model.member == n].sum(axis=1) for n in (0, 1)], axis=1).astype(np.int64)


def _welch(values: Float64, model: Model) -> Float64:
    """Return p of Welch's t test; NaN where a group has no scatter at all."""
    groups: Sequence[Float64] = [values[:, model.member == n] for n in (1, 0)]
    with np.errstate(all="ignore"), warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # of copies, which hold the same numbers
        found = stats.ttest_ind(*groups, axis=1, equal_var=False, nan_policy="omit")
    return np.asarray(found.pvalue, np.float64)


def _adjusted(p_value: Float64) -> Float64:
    """Return q values of the finite p values."""
    found, known = np.full(len(p_value), np.nan), np.isfinite(p_value)
    if known.any():
        found[known] = stats.false_discovery_control(p_value[known])
    return found


def _typical_variance(tests: Tests, model: Model) -> Float64:
    """Return the variance of an animal of the typical weight of its structure."""
    counts = [float(np.sum(model.member == n)) for n in (0, 1)]
    return tests.error**2 / (1 / counts[0] + 1 / counts[1])
