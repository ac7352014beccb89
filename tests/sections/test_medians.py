from __future__ import annotations

import numpy as np
import pytest

from pipeline.sections.medians import median, median_of_rising


@pytest.mark.parametrize("size", [1, 2, 3, 4, 1000, 1001])
@pytest.mark.parametrize("digits", [0, 12])
def test_medians_are_those_of_numpy(size: int, digits: int) -> None:
    values = np.random.default_rng(size).normal(0, 3, size).round(digits)
    assert median(values) == median_of_rising(np.sort(values)) == np.median(values)
