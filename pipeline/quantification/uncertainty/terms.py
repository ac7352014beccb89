"""Terms of the error of a structure's value, that can be told apart.

Every term is in units of the logarithm of (value + `least`): a relative error for values well above the
least, a share of the least below it. See `docs/uncertainty.md` for what each means and where it comes from.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from pipeline.core.model import Float64, ratio

LEAST_SHARE, LEAST_ENERGY, LEAST_DENSITY = (
    0.02,
    0.01,
    1e-4,
)  # of the brain's value; grey levels; share of pixels
CELL_UM2 = 110.0  # area of one expressing cell as marked, um2
MOST = 3.0  # a term of a value that nothing is known of

_SUMS = ("sum_pixels", "sum_expressing_pixels", "sum_expressing_pixel_intensity", "sum_pixel_intensity")
# Names of the terms, in the order of the coefficients and of the columns.
TERMS = ("placement", "sampling", "succession", "gain", "chance", "contrast", "solid", "size")


@dataclass(frozen=True, eq=False)
class Terms:
    """Terms of all rows of a table, for one measure.

    Attributes
    ----------
    value : (rows,) float64
        The measure; NaN where there is none.
    least : float
        What is added to values before their logarithm is taken.
    parts : (rows, terms) float64
        The terms, not scaled, in the order of `TERMS`.
    shift : (rows,) float64
        Mean change of the logarithm under redrawn placements: what one more blur would do.
    signed : (rows, 2) float64
        Change of the logarithm with a lower contrast, and a lower solid level.
    backdrop : (rows,) float64
        Logarithm of the darkness of what does not express, over that of the brain: the detector sees less in
        pale tissue.
    """

    value: Float64
    least: float
    parts: Float64
    shift: Float64
    signed: Float64
    backdrop: Float64


def backdrop_of(sums: Mapping[str, Float64], brain: int | None) -> Float64:
    """Return how dark the tissue that does not express is, over the brain's.

    Parameters
    ----------
    sums : mapping of str to (rows,) float64
        The four sums of a structure table, by name.
    brain : int or None
        Row of the whole brain; None where there is none.

    Returns
    -------
    (rows,) float64
        Its logarithm, from -1 to 1; 0 where unknown.
    """
    pixels, marked, bright, dark = (np.asarray(sums[name], np.float64) for name in _SUMS)
    rest = ratio(dark - bright, pixels - marked)
    if brain is None or not rest[brain] > 0:
        return np.zeros(len(rest))
    with np.errstate(divide="ignore", invalid="ignore"):
        change = np.nan_to_num(np.log(rest / rest[brain]), posinf=0.0, neginf=0.0)
    return np.asarray(np.clip(change, -1.0, 1.0))


def least_of(brain: float, *, density: bool) -> float:
    """Return what is added to values before their logarithm is taken.

    Parameters
    ----------
    brain : float
        Value of the whole brain.
    density : bool
        Whether values are densities, not energies.

    Returns
    -------
    float
        2 % of the brain's value and a little more.
    """
    floor = LEAST_DENSITY if density else LEAST_ENERGY
    return LEAST_SHARE * (brain if np.isfinite(brain) else 0.0) + floor


def placement_terms(moved: Float64, placed: Float64, least: float) -> tuple[Float64, Float64]:
    """Return spread and mean of the change of values under redrawn placements.

    Parameters
    ----------
    moved : (draws, rows) float64
        Values under every draw; NaN where a draw finds no data.
    placed : (rows,) float64
        Values as placed.
    least : float
        See `Terms`.

    Returns
    -------
    spread, shift : (rows,) float64
        Root mean square about the mean, and mean, of the change of the logarithm.
    """
    change = np.log((moved + least) / (placed + least))
    there = np.isfinite(change)
    count = np.maximum(there.sum(axis=0), 1)
    filled = np.where(there, change, 0.0)
    shift = filled.sum(axis=0) / count
    spread = np.sqrt((np.where(there, change - shift, 0.0) ** 2).sum(axis=0) / count)
    return np.where(there.any(axis=0), spread, MOST), shift


def section_terms(pixels: Float64, bright: Float64, least: float) -> tuple[Float64, Float64, Float64]:
    """Return the terms that come from the sections that a structure is made of.

    Parameters
    ----------
    pixels, bright : (rows, sections) float64
        Pixels and expression of each section, in the order of the sections.
    least : float
        See `Terms`.

    Returns
    -------
    sampling : (rows,) float64
        Error of the ratio, as if sections were drawn by lot (Cochran 1977).
    succession : (rows,) float64
        The same from differences of successive sections: what is smooth along the brain is no error
        (systematic sampling, Gundersen and Jensen 1987).
    gain : (rows,) float64
        Root of the sum of squares of the sections' shares of the expression: an error of a section of 1.
    """
    total, sum_bright = pixels.sum(axis=1), bright.sum(axis=1)
    mean = ratio(sum_bright, total)
    scale = np.where(total > 0, total, 1.0) * (np.nan_to_num(mean) + least)
    residual = bright - np.nan_to_num(mean)[:, None] * pixels
    hit = pixels > 0
    count = hit.sum(axis=1)
    few = np.sqrt(count / np.maximum(count - 1, 0.5))
    sampling = few * np.sqrt((residual**2).sum(axis=1)) / scale
    succession = np.sqrt((np.diff(residual, axis=1, prepend=0.0, append=0.0) ** 2).sum(axis=1) / 6) / scale
    shares = bright + least * pixels
    gain = np.sqrt((shares**2).sum(axis=1)) / np.maximum(shares.sum(axis=1), 1e-300)
    return sampling, succession, np.where(total > 0, gain, 1.0)


def chance_term(expressing_um2: Float64, level: Float64) -> Float64:
    """Return the error from the chance of cells: one over the root of their number.

    Parameters
    ----------
    expressing_um2 : (rows,) float64, um2
        Expressing area that was seen.
    level : (rows,) float64
        Share of (value + least) that is value.

    Returns
    -------
    (rows,) float64
        The term; a quarter of a cell is added, so that nothing seen is not certain.
    """
    cells = np.maximum(expressing_um2, 0.0) / CELL_UM2
    return level / np.sqrt(cells + 0.25)


def detector_terms(shares: Float64, sensitivities: Mapping[str, Float64], level: Float64) -> Float64:
    """Return the change of the logarithm of values with lower thresholds.

    Parameters
    ----------
    shares : (rows, bins) float64
        Share of a row's expression in cells of each density.
    sensitivities : mapping of str to (bins,) float64
        As of `detector_share.sensitivities`; empty where unknown.
    level : (rows,) float64
        Share of (value + least) that is value.

    Returns
    -------
    (rows, 2) float64
        For contrast and solid; 0 where unknown.
    """
    zero = np.zeros(shares.shape[1])
    parts = [shares @ sensitivities.get(name, zero) * level for name in ("contrast", "solid")]
    return np.stack(parts, axis=1)


def section_gain(pixels: Float64, bright: Float64) -> float:
    """Return the spread of the gain of sections, as neighbours that share structures show it.

    Parameters
    ----------
    pixels, bright : (rows, sections) float64
        Pixels and expression of structures that do not contain one another, by section.

    Returns
    -------
    float
        Standard deviation of the logarithm of a section's gain, 0.02 to 0.6.
    """
    usable = (bright > 0) & (pixels > 0)
    logs = np.log(np.where(usable, bright, 1.0) / np.where(usable, pixels, 1.0))
    left, mid, right = logs[:, :-2], logs[:, 1:-1], logs[:, 2:]
    both = usable[:, :-2] & usable[:, 1:-1] & usable[:, 2:]
    weight = np.where(both, np.sqrt(bright[:, :-2] * bright[:, 2:]) ** 0.5, 0.0)
    with np.errstate(invalid="ignore"):
        bend = np.where(both, mid - (left + right) / 2, 0.0)
    total = weight.sum(axis=0)
    known = total > 0
    if known.sum() < 3:
        return USUAL_GAIN
    mean = (bend * weight).sum(axis=0)[known] / total[known]
    spread = 1.4826 * float(np.median(np.abs(mean - np.median(mean)))) / np.sqrt(1.5)
    return float(np.clip(spread, 0.02, 0.6))


USUAL_GAIN = 0.12  # standard deviation of the logarithm, where a series is too short to show its own
