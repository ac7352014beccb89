"""Where the planes and sizes of the sections jump: two brains of one stain.

A section tells by itself how its plane is tilted against the common fit, and how it is stretched. In one
brain these go on from section to section: they scatter by as much as they are unsure, and they wander, since
no brain is an affine of another. Where two brains meet, all change at once and go on from there. So a jump is
held against the same scatter and wander without it: by twice the gain in log likelihood, summed over all
five measures, and by how much more that is than at any cut farther away.

Measured on rendered series and a Nissl brain: in 51 series of one brain, and 290 stretches of 18 of their
sections, the gain is at most 34, and at most 24 above that elsewhere; in 24 series half of which is another
brain, tilted by up to 5 degrees and up to 8 % larger or smaller, 43 to 124, and 36 to 118 above.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from pipeline.core.model import Bool, Float64
from pipeline.registration.fit.gauss_newton import LENGTH_UM
from pipeline.registration.fit.joint import Solution, Task, planes_left
from pipeline.registration.fit.neighbour_prior import strain_of

_FEWEST, _LEAST_PART = 14, 4  # sections whose jump can be told; of either part
_WINDOW = 16  # sections to either side of a cut that are looked at
_TELLING_UM, _FLOOR_UM = 150.0, 5.0
_ODD, _BESIDE = 3.0, 3  # times its spread that a section may be off those beside it
_USUALLY_OFF = 0.6  # median of that, where sections scatter by their spread
_WALKS = (0.0, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 100.0)  # wander in 1 mm, in usual variances
# Least gain; how much of it no cut farther than `_NEAR` may reach; and the least jump over 3 mm.
_GAIN, _ABOVE_NEXT, _NEAR, _JUMP_UM = 38.0, 30.0, 3, 60.0
_STRAINS = 3


def parts_by_jump(task: Task, solution: Solution, own: Sequence[int]) -> tuple[Bool, str] | None:
    """Return the part behind the one jump of the planes and sizes, (n,) bool; None where there is none.

    Parameters
    ----------
    own : places of the n sections of a series, in order of z
    """
    z_um = solution.state.z_um[list(own)]
    values, spread = deviations(task, solution, own)
    found = jump(z_um, values, spread)
    if found is None:
        return None
    return z_um > found[0], _words(found[1])


def deviations(task: Task, solution: Solution, own: Sequence[int]) -> tuple[Float64, Float64]:
    """Return how every section by itself would be stretched and tilted, and how unsure that is.

    Returns
    -------
    (n, 5) float64, um over 3 mm        stretch x, stretch y, shear; tilt along x, along y
    (n, 5) float64, um over 3 mm        standard deviations
    """
    steps, spread = planes_left(task, solution, own)
    state = solution.state
    strains = [strain_of(state.sections[k], task.nominal[k]) for k in own]
    values = steps.copy()
    values[:, :_STRAINS] += np.array(strains) * LENGTH_UM
    return values, spread


def jump(z_um: Float64, values: Float64, spread: Float64) -> tuple[float, Float64] | None:
    """Return behind which z, um, and by how much, (m,), all values jump once; None where they do not.

    Parameters
    ----------
    z_um : (n,) float64, um
    values, spread : (n, m) float64, um     what is measured of every section, and its standard deviation
    """
    telling = spread.max(axis=1) < _TELLING_UM
    z_um, values, spread = z_um[telling], values[telling], np.hypot(spread[telling], _FLOOR_UM)
    count = len(z_um)
    if count < _FEWEST:
        return None
    spread = np.column_stack([_widened(v, s) for v, s in zip(values.T, spread.T, strict=True)])
    cuts = np.arange(_LEAST_PART, count - _LEAST_PART + 1)
    gains, sizes = zip(*(_jump_at(int(cut), z_um, values, spread) for cut in cuts), strict=True)
    best = int(np.argmax(gains))
    elsewhere = [g for k, g in enumerate(gains) if abs(k - best) > _NEAR]
    above = gains[best] - max(elsewhere, default=0.0)
    if gains[best] < _GAIN or above < _ABOVE_NEXT or np.abs(sizes[best]).max() < _JUMP_UM:
        return None
    return float(z_um[cuts[best] - 1]), sizes[best]


def _widened(values: Float64, spread: Float64) -> Float64:
    """Return the spread, larger where a section is like neither those before nor those behind it; (n,).

    As far off as others of its series usually are, it is not odd: then all scatter, and are all less sure.
    """
    off = np.empty(len(values))
    for k in range(len(values)):
        sides = (values[max(0, k - _BESIDE) : k], values[k + 1 : k + 1 + _BESIDE])
        off[k] = min(abs(float(values[k] - np.median(side))) for side in sides if side.size > 1)
    times = off / spread
    usual = max(1.0, float(np.median(times)) / _USUALLY_OFF)
    return np.asarray(spread * np.maximum(1.0, times / (_ODD * usual)))


def _jump_at(cut: int, z_um: Float64, values: Float64, spread: Float64) -> tuple[float, Float64]:
    """Return the gain by a jump of all values at a cut, and its sizes, (m,)."""
    near = slice(max(0, cut - _WINDOW), cut + _WINDOW)
    behind = (np.arange(len(z_um))[near] >= cut).astype(np.float64)
    z_mm = (z_um[near] - z_um[near][0]) * 1e-3
    found = [_gain(z_mm, behind, v, s) for v, s in zip(values[near].T, spread[near].T, strict=True)]
    return float(sum(gain for gain, _ in found)), np.array([size for _, size in found])


def _gain(z_mm: Float64, behind: Float64, values: Float64, spread: Float64) -> tuple[float, float]:
    """Return twice the gain in log likelihood by a jump, and its size.

    Values scatter by their spread, or more, and walk at random along z, in either case as is likeliest.
    """
    count = len(values)
    walk = np.minimum.outer(z_mm, z_mm) * float(np.median(spread)) ** 2
    covariance = np.diag(spread**2) + np.multiply.outer(np.array(_WALKS), walk)
    lower = np.linalg.cholesky(covariance)
    terms = np.tile(np.column_stack([np.ones(count), behind, values]), (len(_WALKS), 1, 1))
    _, r = np.linalg.qr(np.linalg.solve(lower, terms))
    left = np.array([r[:, 1, 2] ** 2 + r[:, 2, 2] ** 2, r[:, 2, 2] ** 2])  # without and with a jump
    scale = np.maximum(1.0, left / count)
    volume = np.log(np.diagonal(lower, axis1=1, axis2=2)).sum(axis=1)
    likelihood = -0.5 * (left / scale + count * np.log(scale)) - volume
    best = int(likelihood[1].argmax())
    return float(2.0 * np.ptp(likelihood.max(axis=1))), float(r[best, 1, 2] / r[best, 1, 1])


def _words(sizes: Float64) -> str:
    strain = float(np.abs(sizes[:_STRAINS]).max()) / LENGTH_UM
    tilt = float(np.rad2deg(np.hypot(*sizes[_STRAINS:]) / LENGTH_UM))
    words = f"its size jumps by {strain:.1%}, its plane by {tilt:.1f} degrees"
    return f"it is cut from another brain than the others: {words}"
