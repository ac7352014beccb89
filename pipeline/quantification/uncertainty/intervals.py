"""Intervals of structures' values from the terms of their errors, with coefficients from rendered series.

The logarithm of (true value + least) over (value + least) has a centre and a scale, both made of the terms;
its 5 and 95 % scores are those that rendered series of known truth showed. An interval always holds the value
itself, so it may be off its centre. The error model is that of a Student t (Lange, Little and Taylor 1989).

References
----------
Lange K. L., Little R. J. A., Taylor J. M. G. (1989) Robust statistical modeling using the t distribution.
Journal of the American Statistical Association 84, 881-896.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from pipeline.core.model import Bool, Float64
from pipeline.quantification.uncertainty.terms import TERMS, Terms

USUAL_PIXEL_UM = 5.0  # pixel size at which the terms of pixel size are 0
SPREADS = (
    *TERMS,
    "pixel",
    "pale",
    "dark",
    "low",
    "silent",
    "fluid",
    "uncovered",
    "leak",
    "gap",
    "floor",
)  # what the scale is made of
CENTRES = (
    "level",
    "shift",
    "contrast",
    "pixel",
    "pale",
    "dark",
    "low",
    "silent",
    "fluid",
    "leak",
    "gap",
    "leak_gap",
)  # what the centre is made of
# Which cause a part of the scale is told to users under.
CAUSES = {
    "placement": ("placement", "leak", "gap", "fluid"),
    "sampling": ("sampling", "succession", "uncovered"),
    "gain": ("gain",),
    "chance": ("chance",),
    "detector": ("contrast", "solid", "pixel", "pale", "dark", "low", "silent"),
    "floor": ("size", "floor"),
}


@dataclass(frozen=True, eq=False)
class Features:
    """What centre and scale of the rows of one measure are made of.

    Attributes
    ----------
    value : (rows,) float64
        The measure.
    least : float
        What is added before the logarithm is taken.
    spreads : (rows, spreads) float64
        In the order of `SPREADS`.
    centres : (rows, centres) float64
        In the order of `CENTRES`.
    """

    value: Float64
    least: float
    spreads: Float64
    centres: Float64


@dataclass(frozen=True, eq=False)
class RowFacts:
    """What the rows of all measures share.

    Attributes
    ----------
    coverage : (rows,) float64
        Share of each structure with data.
    own_share : (rows,) float64
        Share of what the sections count for a structure that lies in it; NaN where unknown.
    fluid : (rows,) bool
        Ventricles: what sections count there is their walls'. The grid's blur of walls is no mistake.
    """

    coverage: Float64
    own_share: Float64
    fluid: Bool


@dataclass(frozen=True)
class Coefficients:
    """Coefficients of one measure.

    Attributes
    ----------
    spreads : dict of str to float
        By name in `SPREADS`, not negative.
    centres : dict of str to float
        By name in `CENTRES`.
    low, high : float
        The 5 and 95 % scores, in units of the scale about the centre.
    """

    spreads: Mapping[str, float]
    centres: Mapping[str, float]
    low: float
    high: float


def features(
    terms: Terms,
    other: Terms | None,
    pixel_um: tuple[float, float],
    facts: RowFacts,
) -> Features:
    """Prepare the terms of a measure.

    Parameters
    ----------
    terms : Terms
        Terms of the measure.
    other : Terms or None
        Terms of the same measure on the grid, for one of the sections: where both differ, structures are
        mixed with what lies around them. None for a measure of the grid.
    pixel_um : (float, float), um
        Size of the stored pixels, as it is, and brought into the calibrated range: beyond it, what coarse or
        fine pixels shift values by is not known, and only widens intervals.
    facts : RowFacts
        What the rows share with those of other measures.

    Returns
    -------
    Features
        One row for each of the table.
    """
    value = np.maximum(np.nan_to_num(terms.value), 0.0)
    level = value / (value + terms.least)
    fine, known = (np.log2(um / USUAL_PIXEL_UM) for um in pixel_um)
    gap, leak, fluid = (np.zeros_like(value) for _ in range(3))
    if other is not None:
        gap = np.log((np.maximum(other.value, 0.0) + terms.least) / (value + terms.least))
        gap = np.nan_to_num(np.clip(gap, -2.0, 2.0))
        leak = 1.0 - np.clip(np.nan_to_num(facts.own_share), 0.0, 1.0)
        fluid = level * facts.fluid
    pale, dark = level * np.maximum(-terms.backdrop, 0.0), level * np.maximum(terms.backdrop, 0.0)
    low, silent = 4.0 * level * (1.0 - level), (1.0 - level) ** 2  # the detector misses faint expression
    extra = [
        level * abs(fine),
        pale,
        dark,
        low,
        silent,
        fluid,
        1.0 - np.clip(facts.coverage, 0.0, 1.0),
        leak,
        np.abs(gap),
        np.ones_like(value),
    ]
    spreads = np.column_stack([terms.parts, *extra])
    shifts = [level, terms.shift, terms.signed[:, 0], level * known, pale, dark, low]
    centres = np.column_stack([*shifts, silent, fluid, leak, gap, leak * gap])
    return Features(terms.value, terms.least, np.nan_to_num(spreads), np.nan_to_num(centres))


def scale_and_centre(rows: Features, known: Coefficients) -> tuple[Float64, Float64]:
    """Return scale and centre of the logarithm of true over measured value.

    Parameters
    ----------
    rows : Features
        The rows.
    known : Coefficients
        Coefficients.

    Returns
    -------
    scale, centre : (rows,) float64
        In units of the logarithm.
    """
    weights = np.array([known.spreads[name] for name in SPREADS]) ** 2
    lean = np.array([known.centres[name] for name in CENTRES])
    return np.sqrt(rows.spreads**2 @ weights), rows.centres @ lean


def intervals(rows: Features, known: Coefficients, wider: float | Float64 = 1.0) -> tuple[Float64, Float64]:
    """Return the 90 % intervals of the rows.

    Parameters
    ----------
    rows : Features
        The rows.
    known : Coefficients
        Coefficients.
    wider : float or (rows,) float64
        Factor on the scale.

    Returns
    -------
    lower, upper : (rows,) float64
        They hold the value itself; NaN where there is no value.
    """
    scale, centre = scale_and_centre(rows, known)
    low = np.minimum(centre + known.low * scale * wider, 0.0)
    high = np.maximum(centre + known.high * scale * wider, 0.0)
    value = rows.value
    lower = np.maximum((value + rows.least) * np.exp(low) - rows.least, 0.0)
    upper = (value + rows.least) * np.exp(high) - rows.least
    return np.minimum(lower, value), np.maximum(upper, value)


def cause_shares(rows: Features, known: Coefficients) -> dict[str, Float64]:
    """Return which share of the variance each cause has.

    Parameters
    ----------
    rows : Features
        The rows.
    known : Coefficients
        Coefficients.

    Returns
    -------
    dict of str to (rows,) float64
        By cause, see `CAUSES`; they sum to 1, and are NaN where there is no value.
    """
    parts = rows.spreads**2 * np.array([known.spreads[name] for name in SPREADS]) ** 2
    total = parts.sum(axis=1)
    at = {name: k for k, name in enumerate(SPREADS)}
    missing = np.isnan(rows.value)
    shares = {}
    for cause, names in CAUSES.items():
        share = parts[:, [at[name] for name in names]].sum(axis=1) / np.maximum(total, 1e-300)
        shares[cause] = np.where(missing, np.nan, share)
    return shares
