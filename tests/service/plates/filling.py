"""The brute-force fill that outlines are held to."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from pipeline.service.plates.cracks import Rings


def fill(rings: Rings, shape: tuple[int, int]) -> npt.NDArray[np.uint32]:
    """Fill rings by the even-odd rule at pixel centres, row by row; parts that overlap fail."""
    filled = np.zeros(shape, np.uint32)
    centres = np.arange(shape[1]) + 0.5
    for part in np.unique(rings.parts):
        inside = np.zeros(shape, bool)
        numbers = np.flatnonzero(rings.parts == part)
        for number in numbers:
            points = rings.ring(number)
            for (x0, y0), (x1, y1) in zip(points, np.roll(points, -1, axis=0), strict=True):
                low, high = min(y0, y1), max(y0, y1)
                for row in range(max(int(np.ceil(low - 0.5)), 0), min(int(np.ceil(high - 0.5)), shape[0])):
                    inside[row] ^= centres > x0 + (row + 0.5 - y0) * (x1 - x0) / (y1 - y0)
        assert not filled[inside].any()
        filled[inside] = rings.labels[numbers[0]]
    return filled
