"""Change point of the planes and sizes along a series: two brains of one stain.

Each section shows on its own how its plane is tilted against the common fit, and how it is stretched. In one
brain these deviations vary gradually from section to section: they scatter by their uncertainty, and they
drift, since no brain is an affine image of another. Where two brains meet, all deviations change at once and
stay changed. So at every cut a model with a step is compared with the same scatter and drift without one.
The test statistic is twice the gain in log likelihood, summed over all five deviations. A change point is
accepted by its gain, by its lead over every cut farther away, and by the size of its step.

Measured on rendered series and a Nissl brain: in 51 series of one brain, and 290 stretches of 18 of their
sections, the gain is at most 34, and at most 24 above that elsewhere; in 24 series half of which is another
brain, tilted by up to 5 degrees and up to 8 % larger or smaller, 43 to 124, and 36 to 118 above.

Notes
-----
Likelihood-ratio test for one change point (Hinkley 1970), with correlated errors: generalised least squares
under independent scatter plus a random walk along z.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from pipeline.core.model import Bool, Float64
from pipeline.registration.fit.gauss_newton import LENGTH_UM
from pipeline.registration.fit.joint import FitProblem, Solution
from pipeline.registration.fit.neighbour_prior import strain_of
from pipeline.registration.quality.residual_shift import residual_planes

_LEAST_SECTIONS = 14  # sections needed for a test
_LEAST_SECTIONS_A_SIDE = 4  # sections on either side of a cut
_WINDOW_SECTIONS = 16  # sections on either side of a cut that enter the test
_LARGEST_SPREAD_UM = 150.0  # um over 3 mm; standard deviation above which a section is not counted
_LEAST_SPREAD_UM = 5.0  # um over 3 mm; added to every standard deviation in quadrature
# A section that deviates from its neighbours by more standard deviations than this counts less.
_ODD_DEVIATIONS = 3.0
_NEIGHBOURS_A_SIDE = 3  # sections on either side that it is compared with
# Median of that deviation where sections scatter by their standard deviation.
_EXPECTED_MEDIAN_DEVIATION = 0.6
# Candidate variances of the drift per mm of z, in units of the median variance of a section.
_DRIFT_VARIANCES = (0.0, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 100.0)
# A change point is accepted if twice its log-likelihood gain is at least `_LEAST_GAIN`, exceeds that of every
# cut more than `_SAME_CUT_SECTIONS` sections away by `_LEAST_LEAD`, and a step is at least `_LEAST_STEP_UM`
# (um over 3 mm). Both limits of the gain lie above all that one brain reached, see the module docstring.
_LEAST_GAIN, _LEAST_LEAD, _SAME_CUT_SECTIONS, _LEAST_STEP_UM = 38.0, 30.0, 3, 60.0
_STRAIN_COUNT = 3  # of the five deviations the first three: stretch x, stretch y, shear


def split_by_change_point(
    problem: FitProblem, solution: Solution, own: Sequence[int]
) -> tuple[Bool, str] | None:
    """Return which sections lie behind a change point of planes and sizes.

    Parameters
    ----------
    problem : FitProblem
        What was fitted.
    solution : Solution
        State and stain model of the fit.
    own : sequence of int
        Indices of the n sections of one series, in ascending z.

    Returns
    -------
    part : (n,) bool
        Sections behind the change point; None in place of the pair where there is none.
    reason : str
        The step, for the reader.
    """
    z_um = solution.state.z_um[list(own)]
    values, spread = deviations(problem, solution, own)
    found = find_change_point(z_um, values, spread)
    if found is None:
        return None
    return z_um > found[0], _reason(found[1])


def deviations(problem: FitProblem, solution: Solution, own: Sequence[int]) -> tuple[Float64, Float64]:
    """Return how each section on its own would be stretched and tilted, with the uncertainty.

    Parameters
    ----------
    problem : FitProblem
        What was fitted.
    solution : Solution
        State and stain model of the fit.
    own : sequence of int
        Indices of the n sections of one series.

    Returns
    -------
    values : (n, 5) float64, um over 3 mm
        Stretch x, stretch y, shear; tilt along x, tilt along y.
    spread : (n, 5) float64, um over 3 mm
        Their standard deviations.
    """
    steps, spread = residual_planes(problem, solution, own)
    state = solution.state
    # what the fit has already given to a section
    strains = np.array([strain_of(state.sections[k], problem.nominal[k]) for k in own])
    values = steps.copy()
    values[:, :_STRAIN_COUNT] += strains.reshape(len(own), _STRAIN_COUNT) * LENGTH_UM
    return values, spread


def find_change_point(z_um: Float64, values: Float64, spread: Float64) -> tuple[float, Float64] | None:
    """Return where all values change at once, and by how much.

    Parameters
    ----------
    z_um : (n,) float64, um
        Position of each section, ascending.
    values : (n, m) float64, um
        Measured deviations of each section.
    spread : (n, m) float64, um
        Their standard deviations.

    Returns
    -------
    (float, (m,) float64), um
        Position of the last section before the change point and the step of each value; None where there
        is no change point.
    """
    certain = spread.max(axis=1) < _LARGEST_SPREAD_UM  # sections with hardly any stain show no tilt
    z_um, values, spread = z_um[certain], values[certain], np.hypot(spread[certain], _LEAST_SPREAD_UM)
    count = len(z_um)
    if count < _LEAST_SECTIONS:
        return None
    # a single odd section must not pass for a change point
    spread = np.column_stack([_downweighted(v, s) for v, s in zip(values.T, spread.T, strict=True)])
    cuts = np.arange(_LEAST_SECTIONS_A_SIDE, count - _LEAST_SECTIONS_A_SIDE + 1)
    gains, sizes = zip(*(_step_at(int(cut), z_um, values, spread) for cut in cuts), strict=True)
    best = int(np.argmax(gains))
    # drift gives a gain at many cuts alike, a change point at one
    elsewhere = [g for k, g in enumerate(gains) if abs(k - best) > _SAME_CUT_SECTIONS]
    lead = gains[best] - max(elsewhere, default=0.0)
    if gains[best] < _LEAST_GAIN or lead < _LEAST_LEAD or np.abs(sizes[best]).max() < _LEAST_STEP_UM:
        return None
    return float(z_um[cuts[best] - 1]), sizes[best]


def _downweighted(values: Float64, spread: Float64) -> Float64:
    """Return the standard deviations, (n,), larger for a section unlike those both before and behind it.

    The deviation counts against what is usual in its series: where all sections scatter more, none is odd.
    """
    off = np.empty(len(values))
    for k in range(len(values)):
        sides = (values[max(0, k - _NEIGHBOURS_A_SIDE) : k], values[k + 1 : k + 1 + _NEIGHBOURS_A_SIDE])
        # next to a change point a section is like one side
        off[k] = min(abs(float(values[k] - np.median(side))) for side in sides if side.size > 1)
    times = off / spread
    # 1 where sections scatter as their standard deviation says
    usual = max(1.0, float(np.median(times)) / _EXPECTED_MEDIAN_DEVIATION)
    return np.asarray(spread * np.maximum(1.0, times / (_ODD_DEVIATIONS * usual)))


def _step_at(cut: int, z_um: Float64, values: Float64, spread: Float64) -> tuple[float, Float64]:
    """Return the gain in log likelihood by a step of all values at a cut, and the sizes of the step, (m,)."""
    near = slice(max(0, cut - _WINDOW_SECTIONS), cut + _WINDOW_SECTIONS)
    behind = (np.arange(len(z_um))[near] >= cut).astype(np.float64)
    z_mm = (z_um[near] - z_um[near][0]) * 1e-3
    found = [_gain(z_mm, behind, v, s) for v, s in zip(values[near].T, spread[near].T, strict=True)]
    return float(sum(gain for gain, _ in found)), np.array([size for _, size in found])


def _gain(z_mm: Float64, behind: Float64, values: Float64, spread: Float64) -> tuple[float, float]:
    """Return twice the gain in log likelihood by a step of one value, and the size of the step.

    The values scatter by their standard deviation or more, and follow a random walk along z. The variances of
    both are those of the greatest likelihood, separately with and without the step.
    """
    count = len(values)
    # covariance of a random walk (Brownian motion) that starts at the first section
    walk = np.minimum.outer(z_mm, z_mm) * float(np.median(spread)) ** 2
    covariance = np.diag(spread**2) + np.multiply.outer(np.array(_DRIFT_VARIANCES), walk)
    # whitening by the Cholesky factor, then QR of (constant, step, values): the last column of R holds
    # what each further regressor explains, so one factorisation gives both models
    lower = np.linalg.cholesky(covariance)
    terms = np.tile(np.column_stack([np.ones(count), behind, values]), (len(_DRIFT_VARIANCES), 1, 1))
    _, r = np.linalg.qr(np.linalg.solve(lower, terms))
    left = np.array([r[:, 1, 2] ** 2 + r[:, 2, 2] ** 2, r[:, 2, 2] ** 2])  # without and with a step
    scale = np.maximum(1.0, left / count)  # the scatter may exceed the standard deviations, never fall below
    # half the log determinant of the covariance
    volume = np.log(np.diagonal(lower, axis1=1, axis2=2)).sum(axis=1)
    likelihood = -0.5 * (left / scale + count * np.log(scale)) - volume
    best = int(likelihood[1].argmax())  # index of the drift that fits best with a step
    return float(2.0 * np.ptp(likelihood.max(axis=1))), float(r[best, 1, 2] / r[best, 1, 1])


def _reason(sizes: Float64) -> str:
    """Return the reason for the reader: strain of the step in per cent, tilt in degrees."""
    strain = float(np.abs(sizes[:_STRAIN_COUNT]).max()) / LENGTH_UM
    tilt = float(np.rad2deg(np.hypot(*sizes[_STRAIN_COUNT:]) / LENGTH_UM))
    step = f"size changes by {strain:.1%} and plane by {tilt:.1f} degrees between the two groups"
    return f"it comes from another brain than the others: {step}"
