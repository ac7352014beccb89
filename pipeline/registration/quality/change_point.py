"""Change point of the planes and sizes along a series: two brains of one stain.

Each section shows on its own how its plane is tilted against the common fit, and how it is stretched. In one
brain these deviations vary gradually from section to section: they scatter by their uncertainty, and they
drift, since no brain is an affine image of another. Where two brains meet, all deviations change at once and
stay changed. So at every cut a model with a jump is compared with the same scatter and drift without one.
The test statistic is twice the gain in log likelihood, summed over all five deviations. A jump is accepted
by its gain, by how far the gain stands above that of every cut farther away, and by its size.

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
from pipeline.registration.fit.joint import Solution, Task, planes_left
from pipeline.registration.fit.neighbour_prior import strain_of

_FEWEST, _LEAST_PART = 14, 4  # sections needed for a test; sections on either side of a cut
_WINDOW = 16  # sections on either side of a cut that enter the test
# standard deviation above which a section is left out, and the least that is believed, um over 3 mm
_TELLING_UM, _FLOOR_UM = 150.0, 5.0
# deviation from the neighbours, in standard deviations, above which a section counts less;
# neighbours on either side that it is compared with
_ODD, _BESIDE = 3.0, 3
_USUALLY_OFF = 0.6  # median of that deviation where sections scatter by their standard deviation
# candidate variances of the drift per mm of z, in units of the median variance of a section
_WALKS = (0.0, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 100.0)
# least gain; its least lead over cuts more than `_NEAR` sections away; least jump, um over 3 mm
_GAIN, _ABOVE_NEXT, _NEAR, _JUMP_UM = 38.0, 30.0, 3, 60.0
_STRAINS = 3  # of the five deviations the first three: stretch x, stretch y, shear


def parts_by_jump(task: Task, solution: Solution, own: Sequence[int]) -> tuple[Bool, str] | None:
    """Return which sections lie behind a change point of planes and sizes.

    Parameters
    ----------
    task : Task
        What was fitted.
    solution : Solution
        State and stain model of the fit.
    own : sequence of int
        Indices of the n sections of one series, in ascending z.

    Returns
    -------
    part : (n,) bool
        Sections behind the change point; None in place of the pair where there is none.
    words : str
        The jump in words.
    """
    z_um = solution.state.z_um[list(own)]
    values, spread = deviations(task, solution, own)
    found = jump(z_um, values, spread)
    if found is None:
        return None
    return z_um > found[0], _words(found[1])


def deviations(task: Task, solution: Solution, own: Sequence[int]) -> tuple[Float64, Float64]:
    """Return how each section on its own would be stretched and tilted, with the uncertainty.

    Parameters
    ----------
    task : Task
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
    steps, spread = planes_left(task, solution, own)
    state = solution.state
    # what the fit has already given to a section
    strains = np.array([strain_of(state.sections[k], task.nominal[k]) for k in own])
    values = steps.copy()
    values[:, :_STRAINS] += strains.reshape(len(own), _STRAINS) * LENGTH_UM
    return values, spread


def jump(z_um: Float64, values: Float64, spread: Float64) -> tuple[float, Float64] | None:
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
        Position of the last section before the change point and the jump of each value; None where there
        is no change point.
    """
    telling = spread.max(axis=1) < _TELLING_UM  # sections with hardly any stain show no tilt
    z_um, values, spread = z_um[telling], values[telling], np.hypot(spread[telling], _FLOOR_UM)
    count = len(z_um)
    if count < _FEWEST:
        return None
    # a single odd section must not pass for a change point
    spread = np.column_stack([_widened(v, s) for v, s in zip(values.T, spread.T, strict=True)])
    cuts = np.arange(_LEAST_PART, count - _LEAST_PART + 1)
    gains, sizes = zip(*(_jump_at(int(cut), z_um, values, spread) for cut in cuts), strict=True)
    best = int(np.argmax(gains))
    # drift gives a gain at many cuts alike, a change point at one
    elsewhere = [g for k, g in enumerate(gains) if abs(k - best) > _NEAR]
    above = gains[best] - max(elsewhere, default=0.0)
    if gains[best] < _GAIN or above < _ABOVE_NEXT or np.abs(sizes[best]).max() < _JUMP_UM:
        return None
    return float(z_um[cuts[best] - 1]), sizes[best]


def _widened(values: Float64, spread: Float64) -> Float64:
    """Return the standard deviations, (n,), larger for a section unlike those both before and behind it.

    The deviation counts against what is usual in its series: where all sections scatter more, none is odd.
    """
    off = np.empty(len(values))
    for k in range(len(values)):
        sides = (values[max(0, k - _BESIDE) : k], values[k + 1 : k + 1 + _BESIDE])
        # next to a change point a section is like one side
        off[k] = min(abs(float(values[k] - np.median(side))) for side in sides if side.size > 1)
    times = off / spread
    # 1 where sections scatter as their standard deviation says
    usual = max(1.0, float(np.median(times)) / _USUALLY_OFF)
    return np.asarray(spread * np.maximum(1.0, times / (_ODD * usual)))


def _jump_at(cut: int, z_um: Float64, values: Float64, spread: Float64) -> tuple[float, Float64]:
    """Return the gain in log likelihood by a jump of all values at a cut, and the sizes of the jump, (m,)."""
    near = slice(max(0, cut - _WINDOW), cut + _WINDOW)
    behind = (np.arange(len(z_um))[near] >= cut).astype(np.float64)
    z_mm = (z_um[near] - z_um[near][0]) * 1e-3
    found = [_gain(z_mm, behind, v, s) for v, s in zip(values[near].T, spread[near].T, strict=True)]
    return float(sum(gain for gain, _ in found)), np.array([size for _, size in found])


def _gain(z_mm: Float64, behind: Float64, values: Float64, spread: Float64) -> tuple[float, float]:
    """Return twice the gain in log likelihood by a jump of one value, and the size of the jump.

    The values scatter by their standard deviation or more, and follow a random walk along z. The variances of
    both are those of the greatest likelihood, separately with and without the jump.
    """
    count = len(values)
    # covariance of a random walk (Brownian motion) that starts at the first section
    walk = np.minimum.outer(z_mm, z_mm) * float(np.median(spread)) ** 2
    covariance = np.diag(spread**2) + np.multiply.outer(np.array(_WALKS), walk)
    # whitening by the Cholesky factor, then QR of (constant, step, values): the last column of R holds
    # what each further regressor explains, so one factorisation gives both models
    lower = np.linalg.cholesky(covariance)
    terms = np.tile(np.column_stack([np.ones(count), behind, values]), (len(_WALKS), 1, 1))
    _, r = np.linalg.qr(np.linalg.solve(lower, terms))
    left = np.array([r[:, 1, 2] ** 2 + r[:, 2, 2] ** 2, r[:, 2, 2] ** 2])  # without and with a jump
    scale = np.maximum(1.0, left / count)  # the scatter may exceed the standard deviations, never fall below
    # half the log determinant of the covariance
    volume = np.log(np.diagonal(lower, axis1=1, axis2=2)).sum(axis=1)
    likelihood = -0.5 * (left / scale + count * np.log(scale)) - volume
    best = int(likelihood[1].argmax())  # index of the drift that fits best with a jump
    return float(2.0 * np.ptp(likelihood.max(axis=1))), float(r[best, 1, 2] / r[best, 1, 1])


def _words(sizes: Float64) -> str:
    """Return the size of a jump in words: strain in per cent, tilt in degrees."""
    strain = float(np.abs(sizes[:_STRAINS]).max()) / LENGTH_UM
    tilt = float(np.rad2deg(np.hypot(*sizes[_STRAINS:]) / LENGTH_UM))
    words = f"its size jumps by {strain:.1%}, its plane by {tilt:.1f} degrees"
    return f"it is cut from another brain than the others: {words}"
