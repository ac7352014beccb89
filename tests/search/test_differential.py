"""Differential search: ratios of means, thresholds, and the order of equals and of infinities."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.core.errors import ConfigError
from pipeline.search.kernels.differential import Contrast, Threshold
from pipeline.search.result import SearchResult

EVERY = Threshold()


@given(st.integers(0, 10_000), st.integers(0, 60))
def test_order_is_that_of_a_plain_sort(seed: int, count: int) -> None:
    rng = np.random.default_rng(seed)
    here, there = (rng.integers(0, 4, count).astype(float) for _ in range(2))  # many ties, many zeros
    here_n, there_n = (rng.integers(0, 3, count).astype(float) for _ in range(2))
    ids = rng.permutation(count)
    found = Contrast.of((here * here_n, here_n), (there * there_n, there_n))
    kept = [i for i in range(count) if here_n[i] > 0 and there_n[i] > 0 and here[i] >= 1]
    expected = sorted(
        kept,
        key=lambda i: (there[i] == 0, -here[i] / there[i] if there[i] else 0.0, -here[i], ids[i]),
    )
    assert found.ranked(ids, Threshold(low=1.0), EVERY).tolist() == expected
    for i in kept:
        assert found.fold_change[i] == (here[i] / there[i] if there[i] else np.inf)


def test_a_published_fold_change_counts_the_target_in_its_contrast() -> None:
    """Subiculum over grey matter, coronal experiment 70562045."""
    found = Contrast.of(
        (np.array([3845.768]), np.array([320.0])), (np.array([31005.322]), np.array([27460.0]))
    )
    assert found.fold_change[0] == pytest.approx(10.644, abs=5e-4)


def test_thresholds_bound_either_mean() -> None:
    found = Contrast.of((np.array([1.0, 5.0, 60.0]), np.ones(3)), (np.array([1.0, 1.0, 1.0]), np.ones(3)))
    ids = np.arange(3)
    assert found.ranked(ids, Threshold.parse("1,50"), EVERY).tolist() == [1, 0]
    assert found.ranked(ids, Threshold.parse("2,"), EVERY).tolist() == [2, 1]
    assert found.ranked(ids, EVERY, Threshold.parse(",0.5")).tolist() == []


@pytest.mark.parametrize("text", ["5", "a,b", "5,1", "nan,2", ""])
def test_a_bad_threshold_says_what_is_expected(text: str) -> None:
    with pytest.raises(ConfigError, match='expected "min,max"'):
        Threshold.parse(text, "target threshold")


def test_a_result_is_rows_of_plain_values() -> None:
    result = SearchResult({"id": np.array([3]), "r": np.array([0.5]), "gene": np.array([None], object)})
    assert result.rows() == [{"id": 3, "r": 0.5, "gene": None}]
    assert len(result) == 1
