"""Moderated t statistics over weighted linear models, one model for each structure.

The variances of all structures shrink toward a common value by empirical Bayes, which makes a test of few
animals trustworthy.

Source: Smyth G. K. (2004) Linear models and empirical Bayes methods for assessing differential expression in
microarray experiments. Statistical Applications in Genetics and Molecular Biology 3, article 3.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from scipy import special, stats

from pipeline.core.errors import DataError
from pipeline.core.model import Float64

CONFIDENCE = 0.95  # of the intervals of effects: they exclude 0 exactly where p < .05
LEAST_SHARE = 1e-5  # of the median: smaller variances are raised to it before the prior is fitted
_STEPS = 50  # of Newton's method; it takes about five


@dataclass(frozen=True, eq=False)
class Fits:
    """Weighted least squares of every structure.

    Attributes
    ----------
    coefficients : (structures, coefficients) float64
        Estimates.
    unscaled : (structures, coefficients, coefficients) float64
        Inverse of X'WX: covariance of the estimates for a residual variance of 1.
    squares : (structures,) float64
        Weighted sum of squared residuals.
    freedom : (structures,) float64
        Residual degrees of freedom.
    log_determinant : (structures,) float64
        Logarithm of the determinant of X'WX.
    """

    coefficients: Float64
    unscaled: Float64
    squares: Float64
    freedom: Float64
    log_determinant: Float64


@dataclass(frozen=True, eq=False)
class Tests:
    """Moderated tests of one contrast.

    Attributes
    ----------
    effect, error : (structures,) float64
        Estimate of the contrast and its moderated standard error.
    t, freedom, p_value : (structures,) float64
        Statistic, its degrees of freedom, two-sided p.
    lower, upper : (structures,) float64
        Interval of 95 %.
    variance : (structures,) float64
        Moderated residual variance of an animal of weight 1.
    prior_variance, prior_freedom : float
        The value that variances shrink toward, and how many degrees of freedom it counts; may be infinite.
    """

    effect: Float64
    error: Float64
    t: Float64
    freedom: Float64
    p_value: Float64
    lower: Float64
    upper: Float64
    variance: Float64
    prior_variance: float
    prior_freedom: float


def fit_weighted(values: Float64, weights: Float64, design: Float64) -> Fits:
    """Fit the same linear model to every structure, each with its own weights.

    Parameters
    ----------
    values : (structures, animals) float64
        Observations; NaN where the weight is 0.
    weights : (structures, animals) float64
        Weights, inversely proportional to the variances; 0 leaves an observation out.
    design : (animals, coefficients) float64
        Design matrix.

    Returns
    -------
    Fits
        Estimates, covariances and residuals.

    Raises
    ------
    DataError
        Where the animals of a structure do not determine the coefficients.
    """
    observed = np.where(weights > 0, values, 0.0)
    count = design.shape[1]
    products = (design[:, :, None] * design[:, None, :]).reshape(len(design), count**2)
    normal = (weights @ products).reshape(-1, count, count)
    right = (weights * observed) @ design
    sign, log_determinant = np.linalg.slogdet(normal)
    if not (sign > 0).all():
        raise DataError("linear model: the animals of a structure do not determine its coefficients")
    unscaled: Float64 = np.asarray(np.linalg.inv(normal), np.float64)
    coefficients = np.einsum("gpq,gq->gp", unscaled, right)
    residuals = observed - coefficients @ design.T
    squares = np.sum(weights * residuals**2, axis=1)
    freedom = np.sum(weights > 0, axis=1) - float(count)
    return Fits(coefficients, unscaled, squares, freedom, log_determinant)


def trigamma_inverse(value: float) -> float:
    """Return the y > 0 whose trigamma is a given value, by Newton's method on its reciprocal.

    Parameters
    ----------
    value : float
        Positive.

    Returns
    -------
    float
        The y.

    Examples
    --------
    >>> round(trigamma_inverse(5), 6)
    0.496169
    """
    if value > 1e7:
        return 1 / math.sqrt(value)
    if value < 1e-6:
        return 1 / value
    y = 0.5 + 1 / value
    for _ in range(_STEPS):
        found = float(special.polygamma(1, y))
        step = found * (1 - found / value) / float(special.polygamma(2, y))
        y += step
        if -step / y < 1e-8:
            break
    return y


def fit_variance_prior(variances: Float64, freedom: Float64) -> tuple[float, float]:
    """Fit a scaled F distribution to the residual variances of all structures.

    Parameters
    ----------
    variances : (structures,) float64
        Residual variances.
    freedom : (structures,) float64
        Their degrees of freedom; structures with 0 do not count.

    Returns
    -------
    variance : float
        The value that variances shrink toward, s0 squared.
    freedom : float
        Its degrees of freedom, d0; infinite where the variances differ no more than chance explains.

    Raises
    ------
    DataError
        Where fewer than two structures have a residual variance.
    """
    used = (freedom > 0) & np.isfinite(variances)
    if used.sum() < 2:
        raise DataError(f"prior of the variances: expected at least 2 structures, got {int(used.sum())}")
    half = freedom[used] / 2
    floored = np.maximum(variances[used], LEAST_SHARE * np.median(variances[used]))
    logs = np.log(np.maximum(floored, np.finfo(float).tiny)) - special.digamma(half) + np.log(half)
    mean = float(logs.mean())
    excess = float(logs.var(ddof=1) - special.polygamma(1, half).mean())
    if excess <= 0:
        return float(floored.mean()), math.inf
    prior = 2 * trigamma_inverse(excess)
    return math.exp(mean + float(special.digamma(prior / 2)) - math.log(prior / 2)), prior


def moderated_tests(fits: Fits, contrast: Float64, prior: tuple[float, float] | None = None) -> Tests:
    """Test one contrast of every structure with moderated variances.

    Parameters
    ----------
    fits : Fits
        Linear models.
    contrast : (coefficients,) float64
        Contrast.
    prior : (float, float), optional
        Variance and degrees of freedom of the prior; default fitted to these structures.

    Returns
    -------
    Tests
        Effects, intervals and p values.
    """
    own = fits.squares / fits.freedom
    variance0, freedom0 = fit_variance_prior(own, fits.freedom) if prior is None else prior
    if math.isinf(freedom0):
        variance = np.full(len(own), variance0)
    else:
        variance = (freedom0 * variance0 + fits.squares) / (freedom0 + fits.freedom)
    variance = np.maximum(variance, np.finfo(float).tiny)  # of values without any scatter
    freedom = np.minimum(freedom0 + fits.freedom, fits.freedom.sum() if prior is None else np.inf)
    effect = fits.coefficients @ contrast
    error = np.sqrt(variance * np.einsum("p,gpq,q->g", contrast, fits.unscaled, contrast))
    t = effect / error
    p_value = np.asarray(2 * stats.t.sf(np.abs(t), freedom), np.float64)
    half = stats.t.ppf((1 + CONFIDENCE) / 2, freedom) * error
    return Tests(
        effect, error, t, freedom, p_value, effect - half, effect + half, variance, variance0, freedom0
    )
