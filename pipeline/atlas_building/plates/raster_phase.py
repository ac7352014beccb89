"""Where the pixels of resampled plates lie between each other.

Label images are made smaller by taking the nearest pixel of a finer one. Where the ratio is no whole number,
as from 10 to 25 um, pixels then lie unevenly: at 0, 3, 5, 8, ... of the finer image. Borders tell: more of
them lie between pixels that are further apart.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from pipeline.core.model import Float64, Int32

BLOCKS = 6  # parts of a raster along each axis, which are counted apart
CERTAIN = 8.0  # standard errors of the mean over the parts
LEAST_PARTS = 15
MOST_PX = 0.25


def sampling_offset(plates: Sequence[Int32]) -> Float64:
    """Return how far odd rows and columns lie beyond their place, and even ones before it.

    Parameters
    ----------
    plates : sequence of (H, W) integers
        Labels on one raster.

    Returns
    -------
    (2,) float64, px
        Along rows and columns; 0 where it is less than certain.
    """
    return np.array([_along([np.swapaxes(p, 0, 1) for p in plates]), _along(plates)])


def _along(plates: Sequence[Int32]) -> float:
    """Return the offset of odd columns: borders between two columns are as many as they are far apart."""
    counts = np.zeros((BLOCKS, BLOCKS, 2))
    for plate in plates:
        borders = plate[:, 1:] != plate[:, :-1]
        rows, columns = (np.linspace(0, size, BLOCKS + 1).astype(int) for size in borders.shape)
        for m, n in np.ndindex(BLOCKS, BLOCKS):
            part = borders[rows[m] : rows[m + 1], columns[n] : columns[n + 1]].sum(axis=0)
            first = columns[n] % 2
            counts[m, n] += part[first::2].sum(), part[1 - first :: 2].sum()
    even, odd = counts.reshape(-1, 2).T
    total = even + odd
    if np.count_nonzero(total) < LEAST_PARTS:
        return 0.0
    offset = float((even - odd).sum() / (2 * total.sum()))
    spread = (even - odd) / 2 - offset * total  # of a part, about what its borders would have
    error = float(np.sqrt((spread**2).sum()) / total.sum())
    return float(np.clip(offset, -MOST_PX, MOST_PX)) if abs(offset) > CERTAIN * error else 0.0
