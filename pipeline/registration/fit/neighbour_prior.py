"""Prior of a section's pose from its neighbours.

The scatter of the poses about a smooth series is measured on the series itself. Where it is small, the
neighbours hold a sliver that has hardly an outline. Where every image has a frame of its own, the scatter
is large and the neighbours hold next to nothing.
"""

from __future__ import annotations

import numpy as np

from pipeline.core.model import Bool, Float64, Int64
from pipeline.geometry import affine
from pipeline.registration.fit.gauss_newton import LENGTH_UM, Prior
from pipeline.registration.model.state import TransformState
from pipeline.sections.medians import MAD_TO_SIGMA

_NEIGHBOURS = 12  # sections that predict one
_LEAST_SPREAD_UM = 20.0  # um; least standard deviation of the prior: sections are never held tighter
_WIDENING = 2.0  # the prior's standard deviation over the measured scatter
_FEWEST_PAIRS = 6  # of points at different z: fewer give no slope


def rigid_parts(state: TransformState, nominal: Float64) -> Float64:
    """Return shift and rotation of every section relative to its nominal pose.

    Parameters
    ----------
    state : TransformState
        Current transforms.
    nominal : (n, 2, 3) float64, px to um
        Nominal poses, see `FitProblem`.

    Returns
    -------
    (n, 3) float64, um
        Shift x and shift y of the image centre; rotation as the arc at 3 mm, unwrapped along the series.
    """
    # Both maps are invertible, so pose = matrix x nominal^-1 acts on um about the image centre.
    poses = [
        affine.compose(matrix, affine.invert(start))
        for matrix, start in zip(state.sections, nominal, strict=True)
    ]
    shifts = np.array([pose[:, 2] for pose in poses]).reshape(-1, 2)
    # Angle of the nearest rotation, also where the section has strains.
    turns = [np.arctan2(p[1, 0] - p[0, 1], p[0, 0] + p[1, 1]) for p in poses]
    return np.column_stack([shifts, np.unwrap(turns) * LENGTH_UM])


def smooth_parts(z_um: Float64, parts: Float64, trusted: Bool | None = None) -> Float64:
    """Predict each section's values from a robust line through its neighbours.

    Parameters
    ----------
    z_um : (n,) float64, um
        Positions of the sections, ascending.
    parts : (n, m) float64
        Values of each section, such as `rigid_parts`.
    trusted : (n,) bool or None
        Sections that may serve as neighbours; None for all.

    Returns
    -------
    (n, m) float64
        Predictions; a section without neighbours keeps its own values.
    """
    count = len(z_um)
    usable = np.ones(count, bool) if trusted is None else np.asarray(trusted, dtype=bool)
    smooth = parts.copy()
    # Sections with equally many neighbours go through one array operation.
    near = [_neighbours(k, usable) for k in range(count)]
    for size in {n.size for n in near} - {0}:
        own = np.array([k for k in range(count) if near[k].size == size])
        beside = np.array([near[k] for k in own])
        smooth[own] = _lines(z_um[beside] - z_um[own, None], parts[beside])
    return smooth


def _neighbours(k: int, usable: Bool) -> Int64:
    """Return the trusted sections nearest to section `k` in rank, `_NEIGHBOURS` at most."""
    others = np.flatnonzero(usable & (np.arange(len(usable)) != k))
    return others[np.argsort(np.abs(others - k), kind="stable")[:_NEIGHBOURS]]


def predicted(z_um: float, state: TransformState, nominal: Float64, trusted: Bool) -> Float64:
    """Predict the pose at a position from the trusted sections.

    Parameters
    ----------
    z_um : float, um
        Position in the volume.
    state : TransformState
        Current transforms.
    nominal : (n, 2, 3) float64, px to um
        Nominal poses, see `FitProblem`.
    trusted : (n,) bool
        Sections that may serve as neighbours.

    Returns
    -------
    (3,) float64, um
        Shift x, shift y and rotation, as `rigid_parts` has them; zeros where no section is trusted.
    """
    parts = np.vstack([rigid_parts(state, nominal), np.zeros(3)])
    # The position joins the series as a section that is not trusted, so that only the others predict it.
    order = np.append(state.z_um, z_um)
    rank = np.argsort(order, kind="stable")
    counted = np.append(trusted, False)
    smooth = smooth_parts(order[rank], parts[rank], counted[rank])
    return np.asarray(smooth[int(np.flatnonzero(rank == len(trusted))[0])])


def _lines(z: Float64, values: Float64) -> Float64:
    """Return the values at z = 0 of Theil-Sen lines.

    Parameters
    ----------
    z : (n, p) float64
        Abscissae of the p points of each of n lines.
    values : (n, p, m) float64
        Ordinates, m columns for each line.

    Returns
    -------
    (n, m) float64
        Median of the intercepts; the slope is 0 where fewer than six pairs of points differ in z.

    Notes
    -----
    The slope is the median of the slopes of all pairs of points (Sen 1968).

    References
    ----------
    Sen PK (1968). Estimates of the regression coefficient based on Kendall's tau. Journal of the American
    Statistical Association 63(324):1379-1389.
    """
    i, j = np.triu_indices(z.shape[1], 1)
    run = z[:, j] - z[:, i]
    apart = run != 0.0
    slope = np.zeros((len(z), 1, values.shape[2]))
    steady = apart.sum(axis=1) >= _FEWEST_PAIRS
    if steady.any():
        run = np.where(apart, run, np.nan)[steady]  # two points of one place have no slope
        steps = (values[:, j] - values[:, i])[steady] / run[..., None]
        slope[steady, 0] = np.median(steps, axis=1) if apart.all() else np.nanmedian(steps, axis=1)
    return np.asarray(np.median(values - slope * z[..., None], axis=1))


def neighbour_prior(state: TransformState, nominal: Float64, freedom: int, strain: float) -> Prior:
    """Return the prior: rigid parts near the neighbours' line, strains near zero.

    Parameters
    ----------
    state : TransformState
        Current transforms.
    nominal : (n, 2, 3) float64, px to um
        Nominal poses, see `FitProblem`.
    freedom : int
        3 for rigid sections, 6 for affine sections.
    strain : float
        Expected standard deviation of a section's own strain.

    Returns
    -------
    Prior
        Steps to the expected pose and their spread, um.
    """
    count = len(state.z_um)
    parts = rigid_parts(state, nominal)
    away = smooth_parts(state.z_um, parts) - parts
    # Median absolute deviation as a standard deviation.
    scatter = MAD_TO_SIGMA * np.median(np.abs(away), axis=0)
    target = np.zeros((count, freedom))
    spread = np.full((count, freedom), strain * LENGTH_UM)
    target[:, :3] = away
    spread[:, :3] = np.maximum(_WIDENING * scatter, _LEAST_SPREAD_UM)
    # A step by minus the present strain reaches zero.
    if freedom > 3:
        target[:, 3:] = [-strain_of(m, n) * LENGTH_UM for m, n in zip(state.sections, nominal, strict=True)]
    return Prior(target, spread)


def strain_of(matrix: Float64, nominal: Float64) -> Float64:
    """Return stretch and shear of a section relative to its nominal size.

    Parameters
    ----------
    matrix : (2, 3) float64, px to um
        The section's map to the volume.
    nominal : (2, 3) float64, px to um
        Its nominal pose.

    Returns
    -------
    (3,) float64
        Stretch x, stretch y, shear; 0 for none.

    Notes
    -----
    They are the symmetric factor, minus 1, of the polar decomposition into a rotation and then a stretch.
    """
    linear = affine.compose(matrix, affine.invert(nominal))[:, :2]
    u, singular, _ = np.linalg.svd(linear)
    # u S v' = (u S u') (u v'): the first factor stretches, the second rotates.
    stretch = u @ np.diag(singular) @ u.T
    return np.array([stretch[0, 0] - 1.0, stretch[1, 1] - 1.0, stretch[0, 1]])
