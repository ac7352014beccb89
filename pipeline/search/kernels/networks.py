"""Which structures express alike: Pearson's r between structures, over experiments."""

from __future__ import annotations

import numpy as np

from pipeline.core.model import Bool, Float64, Int64

LEAST = 3  # experiments that two structures must share; r over two is always 1 or -1
LEAST_SPREAD = 1e-12  # of a profile, relative to its sum of squares: what is below is rounding


def profile_correlation(profiles: Float64) -> tuple[Float64, Int64]:
    """Return Pearson's r between every two rows, each pair over the columns that both have.

    Parameters
    ----------
    profiles : (n, experiments) float64
        One row a structure; NaN = no data. Infinite values are not admitted.

    Returns
    -------
    r : (n, n) float64
        Symmetric, 1 on the diagonal; NaN where two rows share fewer than three columns, or where one of them
        is constant over those.
    shared : (n, n) int64
        Number of columns that both rows have.

    Notes
    -----
    Sums over pairs are matrix products: those of squares and of values need the columns of the other row only
    where that row misses some. Rows are centred on their own means first, so that nothing cancels.
    """
    known = ~np.isnan(profiles)
    x = np.where(known, profiles, 0.0)
    count = known.sum(axis=1)
    x -= (x.sum(axis=1) / np.maximum(count, 1))[:, None]
    x *= known
    present = known.astype(np.float32)  # whole numbers to 2**24 are exact
    n = (present @ present.T).astype(np.float64)
    sums, squares, products = _over_shared(x, known), _over_shared(x * x, known), x @ x.T
    covariance = n * products - sums * sums.T
    spread = n * squares - sums**2
    flat = spread <= LEAST_SPREAD * n * np.maximum(squares, 1e-300)
    with np.errstate(invalid="ignore", divide="ignore"):
        r = covariance / np.sqrt(spread * spread.T)
    r[flat | flat.T | (n < LEAST)] = np.nan
    r = np.clip(r, -1.0, 1.0)
    diagonal = np.diagonal(r).copy()
    np.fill_diagonal(r, np.where(np.isnan(diagonal), np.nan, 1.0))
    return r, n.astype(np.int64)


def _over_shared(values: Float64, known: Bool) -> Float64:
    """Return the sum of row i over the columns that row j has, (n, n); values are 0 where there is none."""
    found = np.repeat(values.sum(axis=1)[:, None], len(values), axis=1)
    gaps = ~known.all(axis=0)  # columns that some row lacks
    lacking = ~known.all(axis=1)  # rows that lack some column
    missing = (~known[np.ix_(lacking, gaps)]).astype(np.float64)
    found[:, lacking] -= values[:, gaps] @ missing.T
    return found
