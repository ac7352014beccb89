"""Medians of many values."""

from __future__ import annotations

import numpy as np

from pipeline.core.model import Float32, Float64

MAD_TO_SIGMA = 1.4826  # 1 / the 75th percentile of the normal distribution: median |residual| to its sigma


def median(values: Float32 | Float64) -> float:
    """Return the median as `np.median` does, which asks for three ranks where one is enough.

    Parameters
    ----------
    values : (n,) float32 or float64
        At least one value.

    Returns
    -------
    float
        The median.

    Examples
    --------
    >>> median(np.array([4.0, 1.0, 3.0, 9.0])), median(np.array([2.0, 0.0, 7.0]))
    (3.5, 2.0)
    """
    half = values.size // 2
    parted = np.partition(values, half)  # of an even count, the lower middle is the largest before `half`
    below = parted[half] if values.size % 2 else parted[:half].max()
    return float((below + parted[half]) / 2)


def median_of_rising(values: Float32 | Float64) -> float:
    """Return the median of sorted values.

    Parameters
    ----------
    values : (n,) float32 or float64
        At least one value, rising.

    Returns
    -------
    float
        The median.
    """
    return float((values[(values.size - 1) // 2] + values[values.size // 2]) / 2)
