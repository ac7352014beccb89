"""How much of a structure's expression hangs on the thresholds of the detector, by density of expression.

Dense and sparse expression depend on thresholds in different ways. Cells of a section are put into bins by
the share of their pixels that express, and each bin is marked again with changed thresholds.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from pipeline.core.model import Float64, Int64

DENSITIES = (0.02, 0.05, 0.1, 0.2, 0.4)  # edges between the bins
BINS = len(DENSITIES) + 1
PRIOR = 2e5  # grey levels; expression by which a bin is drawn to the mean of all
NAMES = ("contrast", "solid")


def bin_of(density: Float64) -> Int64:
    """Return the bin of each density; NaN counts as 0.

    Parameters
    ----------
    density : array of float64
        Expressing pixels over pixels.

    Returns
    -------
    array of int64
        From 0 to `BINS` - 1.
    """
    return np.searchsorted(DENSITIES, np.nan_to_num(np.asarray(density, np.float64)), "right").astype(
        np.int64
    )


def sensitivities(facts: Sequence[Mapping[str, Sequence[float]]]) -> dict[str, Float64]:
    """Pool what the sections of a series showed.

    Parameters
    ----------
    facts : sequence of mapping
        For each section the expression in every bin, as marked (`as_marked`) and with each threshold lower
        and higher (`contrast_lower`, ..); sections that were not looked at are empty.

    Returns
    -------
    dict of str to (BINS,) float64
        Half the change of the logarithm of expression from a higher to a lower threshold, by name of the
        threshold; empty where no section shows any.
    """
    looked = [one for one in facts if one]
    if not looked:
        return {}
    total = {name: np.sum([one[name] for one in looked], axis=0, dtype=np.float64) for name in looked[0]}
    found = {}
    for name in NAMES:
        if f"{name}_lower" not in total:
            continue
        marked = np.maximum(total["as_marked"], 0.0)
        lower, higher = total[f"{name}_lower"], total[f"{name}_higher"]
        mean = _half_change(lower.sum(), higher.sum(), 0.01 * marked.sum() + 1.0)
        own = _half_change(lower, higher, 0.01 * marked + 1.0)
        trust = marked / (marked + PRIOR)
        found[name] = trust * own + (1 - trust) * mean
    return found


def _half_change(lower: Any, higher: Any, least: Any) -> Float64:
    return np.asarray(0.5 * np.log((np.maximum(lower, 0) + least) / (np.maximum(higher, 0) + least)))
