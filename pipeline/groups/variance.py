"""How the scatter of animals grows with the error that their numbers state for themselves.

A stated error is itself uncertain, and says nothing of biology. Weights of 1 / stated variance trust it
wholly: a number whose error is stated too small by chance then leads its group, and tests find too much. So
the expected variance is fitted as a function of the stated error to the residuals of all structures together:

    variance = s2 * [(1 - b) + b * typical ** (2 beta)] * [(1 - w) + w * ratio ** (2 gamma)]

`typical` is the geometric mean of the stated errors of a structure over its animals, relative to that of the
middle structure, and `ratio` is the error of one animal relative to that of its structure. b = w = 0 is equal
weights: stated errors that tell nothing are ignored. s2 varies between structures as a scaled inverse
chi-square, over which the likelihood of the residual contrasts is integrated.

Source: the marginal likelihood of the hierarchical model of Smyth (2004), restricted as by Patterson and
Thompson (1971), with weights from a variance function as in Law et al. (2014).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import optimize, special

from pipeline.core.model import Float64
from pipeline.groups.moderated import fit_weighted

LEAST_ERROR = 0.01  # log units: no number is known better than 1 %
STEEPEST = 2.0  # largest exponent beta, gamma
_START_FREEDOM, _FREEDOM_BOUNDS = 2.0, (-1.0, 8.0)  # logarithm of the degrees of freedom of s2
_LOGIT_BOUNDS = (-8.0, 8.0)
_CENTRES, _WIDTHS = np.array([0.0, 1.0, 0.0, 1.0]), np.array([3.0, 1.0, 3.0, 1.0])  # weak prior, log scale


@dataclass(frozen=True)
class VarianceFunction:
    """Expected variance as a function of stated errors, up to a factor.

    Attributes
    ----------
    own_share, own_power : float
        w and gamma: within a structure, from animal to animal.
    typical_share, typical_power : float
        b and beta: from structure to structure.
    middle : float
        Logarithm of the typical error of the middle structure.
    """

    own_share: float
    own_power: float
    typical_share: float
    typical_power: float
    middle: float

    def weights(self, errors: Float64) -> Float64:
        """Return weights, 1 for an animal of typical error in the middle structure.

        Parameters
        ----------
        errors : (structures, animals) float64
            Stated errors, log units; NaN counts as the typical error of the structure.

        Returns
        -------
        (structures, animals) float64
            Weights, inversely proportional to the expected variances.
        """
        typical, own = _parts(errors, self.middle)
        logits = (special.logit(self.own_share), special.logit(self.typical_share))
        return np.exp(
            -_log_variance(np.array([logits[0], self.own_power, logits[1], self.typical_power]), typical, own)
        )


def fit_variance_function(values: Float64, errors: Float64, design: Float64) -> VarianceFunction | None:
    """Fit the variance function to the residuals of all structures.

    Parameters
    ----------
    values : (structures, animals) float64
        Log energies; NaN where an animal has none.
    errors : (structures, animals) float64
        Stated errors, log units; NaN where unknown.
    design : (animals, coefficients) float64
        Design matrix.

    Returns
    -------
    VarianceFunction or None
        The function; None where no error is stated, or all are the same.
    """
    stated = errors[np.isfinite(errors) & np.isfinite(values)]
    if len(stated) < 2 or np.ptp(np.log(np.maximum(stated, LEAST_ERROR))) < 1e-6:
        return None
    middle = _middle(errors)
    typical, own = _parts(errors, middle)
    there = np.isfinite(values)
    scale = float(np.nanvar(values - np.nanmean(values, axis=1, keepdims=True)))

    def loss(theta: Float64) -> float:
        prior = 0.5 * np.sum(((theta[2:] - _CENTRES) / _WIDTHS) ** 2) + 0.5 * ((theta[0] - 2) / 2) ** 2
        log_variance = _log_variance(theta[2:], typical, own)
        return float(prior - _log_likelihood(values, there, log_variance, design, theta[:2]))

    start = np.array([_START_FREEDOM, np.log(max(scale, LEAST_ERROR**2) / 2), 0.0, 1.0, 0.0, 0.5])
    powers = (0.0, STEEPEST)
    bounds = [_FREEDOM_BOUNDS, (-20.0, 20.0), _LOGIT_BOUNDS, powers, _LOGIT_BOUNDS, powers]
    found = optimize.minimize(loss, start, method="L-BFGS-B", bounds=bounds).x
    return VarianceFunction(
        float(special.expit(found[2])),
        float(found[3]),
        float(special.expit(found[4])),
        float(found[5]),
        middle,
    )


def _middle(errors: Float64) -> float:
    """Return the median over structures of the mean log error."""
    logs = np.log(np.maximum(errors, LEAST_ERROR))
    known = np.isfinite(logs).any(axis=1)
    return float(np.median(np.nanmean(logs[known], axis=1)))


def _parts(errors: Float64, middle: float) -> tuple[Float64, Float64]:
    """Return log errors as that of the structure over the middle one, (structures, 1), and the rest."""
    logs = np.log(np.maximum(errors, LEAST_ERROR))
    known = np.isfinite(logs)
    count = known.sum(axis=1, keepdims=True)
    total = np.where(known, logs, 0.0).sum(axis=1, keepdims=True)
    typical = np.where(count > 0, total / np.maximum(count, 1), middle)
    return typical - middle, np.where(known, logs - typical, 0.0)


def _log_variance(theta: Float64, typical: Float64, own: Float64) -> Float64:
    """Return the logarithm of the variance function: logits of shares, each followed by its power."""
    share_own, share_typical = special.expit(theta[0]), special.expit(theta[2])
    within = np.log((1 - share_own) + share_own * np.exp(2 * theta[1] * own))
    between = np.log((1 - share_typical) + share_typical * np.exp(2 * theta[3] * typical))
    return np.asarray(within + between)


def _log_likelihood(
    values: Float64, there: np.ndarray, log_variance: Float64, design: Float64, scale: Float64
) -> float:
    """Return the restricted log-likelihood, with s2 of each structure integrated out.

    `scale` is the logarithm of the degrees of freedom of s2, and of its typical value.
    """
    weights = np.where(there, np.exp(-log_variance), 0.0)
    fits = fit_weighted(values, weights, design)
    prior, typical = np.exp(scale[0]), np.exp(scale[1])
    determinants = np.where(there, log_variance, 0.0).sum(axis=1) + fits.log_determinant
    each = (
        special.gammaln((prior + fits.freedom) / 2)
        - special.gammaln(prior / 2)
        - fits.freedom / 2 * np.log(prior * typical)
        - determinants / 2
        - (prior + fits.freedom) / 2 * np.log1p(fits.squares / (prior * typical))
    )
    return float(each.sum())
