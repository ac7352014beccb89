"""What the neighbours say about a section's pose.

How far sections scatter about a smooth series is measured on the series itself. Where they scatter
little, a sliver with hardly an outline is held by its neighbours; where every image has a frame of its
own, the neighbours say next to nothing.
"""

from __future__ import annotations

import numpy as np

from pipeline.core.model import Bool, Float64, Int64
from pipeline.geometry import affine
from pipeline.registration.fit.gauss_newton import LENGTH_UM, Prior
from pipeline.registration.model.state import State

_HALF_WIDTH = 6
_FLOOR_UM = 20.0
_WIDENING = 2.0
_FEWEST_PAIRS = 6


def rigid_parts(state: State, nominal: Float64) -> Float64:
    """Return shift x, shift y and turn of every section about its hinted pose, (n, 3) um.

    The turn counts as the arc at 3 mm. Shifts are those of the image centre.
    """
    poses = [
        affine.compose(matrix, affine.invert(start))
        for matrix, start in zip(state.sections, nominal, strict=True)
    ]
    shifts = np.array([pose[:, 2] for pose in poses]).reshape(-1, 2)
    turns = [np.arctan2(p[1, 0] - p[0, 1], p[0, 0] + p[1, 1]) for p in poses]
    return np.column_stack([shifts, np.unwrap(turns) * LENGTH_UM])


def smooth_parts(z_um: Float64, parts: Float64, trusted: Bool | None = None) -> Float64:
    """Return what a line through each section's neighbours predicts for it, robustly; (n, m).

    Parameters
    ----------
    z_um : (n,) float64, um
    parts : (n, m) float64
    trusted : (n,) bool         sections that may speak for their neighbours; None for all
    """
    count = len(z_um)
    usable = np.ones(count, bool) if trusted is None else np.asarray(trusted, dtype=bool)
    smooth = parts.copy()
    near = [_neighbours(k, usable) for k in range(count)]
    for size in {n.size for n in near} - {0}:
        own = np.array([k for k in range(count) if near[k].size == size])
        beside = np.array([near[k] for k in own])
        smooth[own] = _lines(z_um[beside] - z_um[own, None], parts[beside])
    return smooth


def _neighbours(k: int, usable: Bool) -> Int64:
    others = np.flatnonzero(usable & (np.arange(len(usable)) != k))
    return others[np.argsort(np.abs(others - k), kind="stable")[: 2 * _HALF_WIDTH]]


def predicted(z_um: float, state: State, nominal: Float64, trusted: Bool) -> Float64:
    """Return the rigid parts, (3,) um, that the trusted sections' line gives at `z_um`."""
    parts = np.vstack([rigid_parts(state, nominal), np.zeros(3)])
    order = np.append(state.z_um, z_um)
    rank = np.argsort(order, kind="stable")
    speaks = np.append(trusted, False)
    smooth = smooth_parts(order[rank], parts[rank], speaks[rank])
    return np.asarray(smooth[int(np.flatnonzero(rank == len(trusted))[0])])


def _lines(z: Float64, values: Float64) -> Float64:
    """Return the values at z = 0 of Theil-Sen lines.

    Parameters
    ----------
    z : (n, p) float64              where each of n lines has its points
    values : (n, p, m) float64      m columns of them

    Returns
    -------
    (n, m) float64
    """
    i, j = np.triu_indices(z.shape[1], 1)
    far = z[:, j] - z[:, i]
    apart = far != 0.0
    slope = np.zeros((len(z), 1, values.shape[2]))
    steady = apart.sum(axis=1) >= _FEWEST_PAIRS
    if steady.any():
        far = np.where(apart, far, np.nan)[steady]  # two points of one place have no slope
        steps = (values[:, j] - values[:, i])[steady] / far[..., None]
        slope[steady, 0] = np.median(steps, axis=1) if apart.all() else np.nanmedian(steps, axis=1)
    return np.asarray(np.median(values - slope * z[..., None], axis=1))


def neighbour_prior(state: State, nominal: Float64, freedom: int, strain: float) -> Prior:
    """Expect rigid parts near the neighbours' line and strains near none."""
    count = len(state.z_um)
    parts = rigid_parts(state, nominal)
    away = smooth_parts(state.z_um, parts) - parts
    scatter = 1.4826 * np.median(np.abs(away), axis=0)
    target = np.zeros((count, freedom))
    spread = np.full((count, freedom), strain * LENGTH_UM)
    target[:, :3] = away
    spread[:, :3] = np.maximum(_WIDENING * scatter, _FLOOR_UM)
    if freedom > 3:
        target[:, 3:] = [-strain_of(m, n) * LENGTH_UM for m, n in zip(state.sections, nominal, strict=True)]
    return Prior(target, spread)


def strain_of(matrix: Float64, nominal: Float64) -> Float64:
    """Return stretch x, stretch y and shear of a section against its hinted size, (3,)."""
    linear = affine.compose(matrix, affine.invert(nominal))[:, :2]
    u, singular, _ = np.linalg.svd(linear)
    stretch = u @ np.diag(singular) @ u.T
    return np.array([stretch[0, 0] - 1.0, stretch[1, 1] - 1.0, stretch[0, 1]])
