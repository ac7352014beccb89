"""Agreement of replicates."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from pipeline.groups.agreement import agreement


def test_scatter_ratio_and_intervals_of_known_noise() -> None:
    rng = np.random.default_rng(0)
    level = rng.normal(size=4000)
    first, second = level + 0.2 * rng.normal(size=4000), level + 0.3 + 0.2 * rng.normal(size=4000)
    errors = np.full(4000, math.hypot(0.2, 0.2))
    voxels = np.repeat([3.0, 500.0], 2000)
    everything, small, large = agreement(first, second, errors, voxels)
    assert (everything.size, small.size, large.size) == ("all", "1-4", "151-1000")
    assert small.structures == large.structures == 2000
    assert everything.ratio == pytest.approx(math.exp(0.3), rel=0.02)
    assert everything.cv == pytest.approx(0.2, rel=0.05)
    assert everything.inside == pytest.approx(0.9, abs=0.02)
    assert everything.log_r == pytest.approx(np.corrcoef(first, second)[0, 1])
    assert everything.r == pytest.approx(np.corrcoef(np.exp(first), np.exp(second))[0, 1])
    assert everything.rho == pytest.approx(stats.spearmanr(first, second).statistic)


def test_what_cannot_be_computed_is_nan() -> None:
    nan = np.full(5, np.nan)
    (found,) = agreement(nan, np.zeros(5), nan, nan)
    assert found.structures == 0
    assert all(math.isnan(v) for v in (found.r, found.rho, found.log_r, found.ratio, found.cv, found.inside))
    (same,) = agreement(np.zeros(5), np.zeros(5), nan, nan)
    assert (same.ratio, same.cv) == (1.0, 0.0)
    assert math.isnan(same.r)
