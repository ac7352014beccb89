"""Stain and thickness of sections, evened along the series; tissue that a section lacks."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy import ndimage

from pipeline.core.model import Bool, Float32, Float64

GAIN_SPREAD = 0.5  # of the logarithm of a section's gain, expected
PAIR_SPREAD = 0.02  # of the logarithm of the ratio of two neighbours
LEAST_SHARED = 50  # cells with tissue in both
TISSUE_SHARE, GLASS_SHARE = 0.35, 0.15  # of the usual stain: what is above is tissue, below is glass
LEAST_LOST_UM2 = 2.5e5  # area that counts as lost
MARGIN_CELLS = 1
MOST_LOST = 0.5  # share of its tissue above which a section is not used
NEIGHBOURS = (-2, -1, 1, 2)


def gains_of(stains: Sequence[Float32]) -> Float64:
    """Return the gain of every section, from the ratios of neighbours where both show tissue.

    Parameters
    ----------
    stains : sequence of (rows, columns) float32
        Optical density over common planes, NaN where unknown, in the order of the series.

    Returns
    -------
    (n,) float64
        Factors with a geometric mean of 1; stain over gain is even along the series.

    Notes
    -----
    Least squares of the logarithms over all pairs one and two apart, with a weak prior at 0.
    """
    count = len(stains)
    matrix, right = np.eye(count) / GAIN_SPREAD**2, np.zeros(count)
    usual = usual_stain(stains)
    for apart in (1, 2):
        for i in range(count - apart):
            ratio = _log_ratio(stains[i], stains[i + apart], usual)
            if ratio is None:
                continue
            weight, j = 1.0 / (apart * PAIR_SPREAD**2), i + apart
            matrix[i, i] += weight
            matrix[j, j] += weight
            matrix[i, j] -= weight
            matrix[j, i] -= weight
            right[j] += weight * ratio
            right[i] -= weight * ratio
    found = np.linalg.solve(matrix, right)
    return np.asarray(np.exp(found - found.mean()))


def usual_stain(stains: Sequence[Float32]) -> float:
    """Return the median stain of tissue, OD.

    Parameters
    ----------
    stains : sequence of (rows, columns) float32
        Optical density, NaN where unknown.

    Returns
    -------
    float
        Median of what is above a third of the strong stain.
    """
    some = np.concatenate([s[np.isfinite(s)][::7] for s in stains])
    strong = float(np.percentile(some, 95)) if some.size else 0.0
    tissue = some[some > strong / 3]
    return max(float(np.median(tissue)) if tissue.size else 0.0, 1e-4)


def _log_ratio(one: Float32, other: Float32, usual: float) -> float | None:
    least = TISSUE_SHARE * usual
    with np.errstate(invalid="ignore"):
        both = (one > least) & (other > least)
    if both.sum() < LEAST_SHARED:
        return None
    return float(np.median(np.log(other[both]) - np.log(one[both])))


def lost_tissue(stains: Sequence[Float32], um: float) -> list[Bool]:
    """Return where sections lack tissue that their neighbours show.

    Parameters
    ----------
    stains : sequence of (rows, columns) float32
        Evened optical density, NaN where unknown, in the order of the series.
    um : float, um
        Distance of rows and columns.

    Returns
    -------
    list of (rows, columns) bool
        True where a piece is lost or torn away.
    """
    usual, found = usual_stain(stains), []
    for k, own in enumerate(stains):
        near = [stains[k + d] for d in NEIGHBOURS if 0 <= k + d < len(stains)]
        with np.errstate(invalid="ignore"):
            votes = np.stack([part > TISSUE_SHARE * usual for part in near]).sum(axis=0)
            bare = own < GLASS_SHARE * usual
        missing = ndimage.binary_opening(bare & (votes > len(near) / 2), iterations=1)
        labels, count = ndimage.label(missing)
        sizes = np.bincount(labels.ravel(), minlength=count + 1) * um**2
        sizes[0] = 0
        kept = (sizes >= LEAST_LOST_UM2)[labels]
        found.append(
            np.asarray(ndimage.binary_dilation(kept, iterations=MARGIN_CELLS)) if kept.any() else kept
        )
    return found


def lost_share(lost: Bool, stains: Sequence[Float32], k: int) -> float:
    """Return the share of its tissue that a section lacks.

    Parameters
    ----------
    lost : (rows, columns) bool
        Where it lacks tissue.
    stains : sequence of (rows, columns) float32
        Evened optical density of all sections.
    k : int
        The section.

    Returns
    -------
    float
        Lost over lost and present.
    """
    with np.errstate(invalid="ignore"):
        present = stains[k] > TISSUE_SHARE * usual_stain(stains)
    return float(lost.sum() / max(int((present | lost).sum()), 1))


def darkness_of(stain: Float32) -> Float32:
    """Return darkness, 0-255, of optical density over glass.

    Parameters
    ----------
    stain : array of float32
        Optical density, log10.

    Returns
    -------
    array of float32
        255 (1 - 10^-stain), 0 for glass; NaN stays.
    """
    return np.asarray(255.0 * (1.0 - 10.0 ** -np.maximum(stain, 0)), np.float32)
