"""The luma of empty glass over a section: a robust quadratic, so that uneven light is not tissue."""

from __future__ import annotations

import numpy as np

from pipeline.core.intensity import LOG_LUMA
from pipeline.core.model import Bool, Float64, UInt8
from pipeline.sections.kernels import middle_halves
from pipeline.sections.statistics import field_terms

TISSUE_SHARE = 0.4  # of the OD of most tissue: fibre tracts are pale

BLOCKS = 48  # along the longer side: enough for a quadratic, few enough to be quick
# Two schedules, round by round. Widths: a block this far below the fit, as a share of the density of tissue,
# loses most of its weight. Ridges: stiffness of the fit, relative to the weight of its constant; stiff first,
# else the curve bends down to pale tissue. Widths are shares and not OD: otherwise the fit would depend on
# the strength of the stain by a thousandth of OD, which moves levels by 2 % and the pixels found by 6 %.
_WIDTHS = np.geomspace(0.62, 0.075, 12)
_DENSITIES = (0.04, 0.2)  # of tissue, OD: paler may be unevenness of the light, denser expression or a pen
_RIDGES = np.geomspace(1e-1, 1e-5, 12)
# Glass at the corners alone does not separate a bowl of light from tissue; lenses make domes, not bowls.
_BOWL_RIDGE = 0.1
_ENOUGH_GLASS, _LITTLE_GLASS = 0.3, 0.2  # share of blocks that are glass: no extra ridge, and all of it
_SLOPES = np.array([0.0, 1.0, 1.0, 1.0, 1.0, 1.0])  # all terms but the constant are held by the ridge
_CURVATURES = np.array([3, 5])  # of u² and v²


def fit_glass(dark: UInt8, valid: Bool, extent_um: tuple[float, float]) -> tuple[float, ...]:
    """Fit the luma of empty glass over a section.

    Parameters
    ----------
    dark : (h, w) uint8
        Darkness, at a reduced level.
    valid : (h, w) bool
        Pixels that belong to the scan.
    extent_um : (float, float), um
        Width and height of the section.

    Returns
    -------
    tuple of 6 float
        Coefficients as `SectionContext.background`.

    Notes
    -----
    Everything on a section is darker than its glass, so the quadratic is drawn to the bright side: blocks
    clearly below the fit lose their weight round after round (iteratively reweighted least squares). A ridge
    keeps the early rounds stiff.

    References
    ----------
    Holland PW, Welsch RE (1977). Robust regression using iteratively reweighted least-squares. Communications
    in Statistics - Theory and Methods 6, 813-827.
    """
    values, places = _block_levels(dark, valid, extent_um)
    if values.size == 0:
        return (float(np.log10(255.0)), 0.0, 0.0, 0.0, 0.0, 0.0)
    terms = field_terms(extent_um, places[:, 0], places[:, 1])
    fit = np.zeros(6)
    fit[0] = np.percentile(values, 95)  # start from bright glass
    density = _tissue_density(fit[0] - values)
    for width, ridge in zip(_WIDTHS * density, _RIDGES, strict=True):
        weights = _weights((values - terms @ fit) / width)
        fit = _ridge_fit(terms, values, weights, float(ridge))
    return tuple(float(c) for c in fit)


def _tissue_density(below: Float64) -> float:
    """Return the approximate density of tissue, OD, from how far blocks lie below bright glass."""
    least, most = _DENSITIES
    density = least
    for _ in range(3):
        stained = below[below > TISSUE_SHARE * density]
        density = min(max(float(np.median(stained)), least), most) if stained.size else least
    return density


def _weights(above: Float64) -> Float64:
    """Return weights of blocks by their height above the fit, in widths: the bright side pulls."""
    below = np.where(above < -3, 0.0, (1.0 + np.minimum(above, 0.0) ** 2) ** -2)
    return np.asarray(below * np.clip(1.0 + np.maximum(above, 0.0) ** 2, 1.0, 50.0))


def _ridge_fit(terms: Float64, values: Float64, weights: Float64, ridge: float) -> Float64:
    """Solve the weighted ridge regression, (6,).

    Where the result is a bowl and glass is scarce, solve it again with the curvatures held stiff.
    """
    weighted = terms * weights[:, None]
    normal, right = weighted.T @ terms, weighted.T @ values
    stiffness = ridge * _SLOPES
    fit = np.linalg.solve(normal + np.diag(stiffness * weights.sum()), right)
    glass = float((weights > 0.5).mean())
    scarce = np.clip((_ENOUGH_GLASS - glass) / (_ENOUGH_GLASS - _LITTLE_GLASS), 0.0, 1.0)
    bowl = _CURVATURES[fit[_CURVATURES] > 0]
    stiffness[bowl] += _BOWL_RIDGE * scarce
    return np.asarray(np.linalg.solve(normal + np.diag(stiffness * weights.sum()), right))


def _block_levels(dark: UInt8, valid: Bool, extent_um: tuple[float, float]) -> tuple[Float64, Float64]:
    """Return log10 of luma of every block that is mostly valid, (n,), and its centre, (n, 2) um.

    The level is the mean of the middle half of the block's pixels: a median would keep the steps of grey
    levels.
    """
    side = max(1, -(-max(dark.shape) // BLOCKS))
    levels = middle_halves(dark, valid.view(np.uint8), side, LOG_LUMA)
    rows, columns = np.nonzero(np.isfinite(levels))
    ends = [np.minimum((at + 1) * side, n) for at, n in ((columns, dark.shape[1]), (rows, dark.shape[0]))]
    centres = [(at * side + end) / 2 for at, end in zip((columns, rows), ends, strict=True)]
    scale = extent_um[0] / dark.shape[1], extent_um[1] / dark.shape[0]
    return levels[rows, columns], np.stack([c * s for c, s in zip(centres, scale, strict=True)], axis=1)
