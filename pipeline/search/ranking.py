"""Experiments ranked by the contrast between two sets of voxels."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from pipeline.core.errors import ConfigError
from pipeline.core.model import Float64, Int64
from pipeline.search.kernels.differential import Contrast, Threshold
from pipeline.search.kernels.ties import rank_ranges
from pipeline.search.notes import RANKS


def by_fold_change(
    ids: Int64,
    error: Float64,
    sums: tuple[Float64, Float64],
    bounds: tuple[Threshold, Threshold],
    top: int | None,
) -> tuple[Int64, dict[str, npt.NDArray[Any]], tuple[str, ...]]:
    """Rank experiments by fold change.

    Parameters
    ----------
    ids : (n,) int64
        Ids of the experiments.
    error : (n,) float64
        Error of an energy that each states, as a log; NaN where it states none.
    sums : two (2, n) float64
        Number of voxels and sum of energy of each, in the target and in the contrast.
    bounds : two Threshold
        Bounds on the means in target and contrast.
    top : int or None
        Number of experiments to return; None for all.

    Returns
    -------
    (k,) int64, dict of str to (k,) array, tuple of str
        Their places in `ids`, best first; columns; notes.

    Raises
    ------
    ConfigError
        Where `top` is below 1.
    """
    (here_n, here), (there_n, there) = sums
    found = Contrast.of((here, here_n), (there, there_n))
    kept, wanted = found.ranked(ids, *bounds), count(top, len(ids))
    stated = error[kept]
    ends = rank_ranges(found.fold_change[kept], stated, wanted)
    unknown = int(np.isnan(stated).sum())
    notes = (RANKS.format(unknown, len(kept)),) if ends[0].any() else ()
    order = kept[:wanted]
    columns = {
        "fold_change": found.fold_change[order],
        "target_mean": found.target_mean[order],
        "contrast_mean": found.contrast_mean[order],
        "target_voxels": here_n[order].astype(np.int64),
        "contrast_voxels": there_n[order].astype(np.int64),
        "contrast_zero": np.isinf(found.fold_change[order]),
        "rank_first": _or_none(ends[0]),
        "rank_last": _or_none(ends[1]),
    }
    return order, columns, notes


def count(top: int | None, everything: int) -> int:
    """Return how many rows are wanted of all.

    Parameters
    ----------
    top : int or None
        As asked; None for all.
    everything : int
        Number of rows.

    Returns
    -------
    int
        At most `everything`.

    Raises
    ------
    ConfigError
        Where `top` is below 1.
    """
    if top is not None and top < 1:
        raise ConfigError(f"top {top}: expected at least 1")
    return everything if top is None else min(top, everything)


def _or_none(ranks: Int64) -> npt.NDArray[Any]:
    """Return ranks as objects, None where there is none."""
    found = ranks.astype(object)
    found[ranks == 0] = None
    return found
