"""Correlation against float64 over jointly valid voxels: bounds hold, candidates include the best."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from search.test_sums import laid_out
from search_cases import experiments, pearson

from pipeline.core.errors import DataError
from pipeline.search.kernels.correlation import Estimate, Probe, candidates, estimate, rerank, scan
from pipeline.search.kernels.correlation import pearson as kernel
from pipeline.search.kernels.sums import empty_sums, fill_sums


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 1000), st.booleans(), st.booleans())
def test_bounds_hold_and_full_values_are_exact(seed: int, missing: bool, everywhere: bool) -> None:
    count = 7
    case = experiments(seed, count, missing=missing)
    order, blocks, scales = laid_out(case)
    brain, outside = order.split(case.grids[0])
    probe = Probe.of(brain, order.whole(), outside if everywhere else outside[:0])
    where = np.ones_like(case.labels, bool) if everywhere else case.labels > 0
    for block in blocks:
        rows = np.arange(len(block.codes))
        here = block.first_slot + rows
        taken = scales.take(here)
        drawn = estimate(scan(block, rows, taken, probe))
        full = np.stack([order.split(case.grids[s])[1] for s in here])[:, : probe.outside.size]
        r, voxels = rerank(block, rows, taken, probe, full)
        for i, slot in enumerate(here):
            expected, shared = pearson(case.grids[0][where], case.grids[slot][where])
            assert voxels[i] == shared
            assert r[i] == pytest.approx(expected, abs=1e-6, nan_ok=True)
            if not np.isnan(expected):
                assert abs(drawn.r[i] - expected) <= drawn.bound[i]


@settings(max_examples=10, deadline=None)
@given(st.integers(0, 1000))
def test_rows_that_miss_nothing_need_one_product(seed: int) -> None:
    case = experiments(seed, 6, missing=False)
    case.grids[2][case.labels == 2] = np.nan  # one does miss something
    order, blocks, scales = laid_out(case, 6)
    slots = np.arange(6)
    sums = empty_sums(order, slots, order.whole())
    fill_sums(sums, blocks[0], scales.exponent, order)
    probe = Probe.of(order.split(case.grids[0])[0], order.whole(), np.empty(0, np.float32))
    known = sums.over(order.positions([997]))
    one, six = (estimate(scan(blocks[0], slots, scales, probe, k)) for k in (known, None))
    assert (np.abs(one.r - six.r) <= one.bound + six.bound).all()
    inside = case.labels > 0
    for i in range(6):
        assert abs(one.r[i] - pearson(case.grids[0][inside], case.grids[i][inside])[0]) <= one.bound[i]


def test_nearly_constant_rows_are_left_to_full_values() -> None:
    case = experiments(3, 3, missing=False)
    case.grids[1][:] = 1000 + case.grids[1] * np.float32(1e-3)  # codes cannot tell this from a constant
    case.grids[2][:] = 5.0
    order, blocks, scales = laid_out(case)
    probe = Probe.of(order.split(case.grids[0])[0], order.whole(), np.empty(0, np.float32))
    drawn = estimate(scan(blocks[0], np.arange(3), scales, probe))
    assert np.isinf(drawn.bound[1:]).all()
    assert 1 in candidates(drawn, 1)
    r = rerank(blocks[0], np.arange(3), scales, probe, np.empty((3, 0), np.float32))[0]
    inside = case.labels > 0
    expected = pearson(case.grids[0][inside], case.grids[1][inside])[0]
    assert r[1] == pytest.approx(expected, abs=0.05)  # float32 itself holds four digits of this variation
    assert np.isnan(r[2])


def test_candidates_include_every_order_that_the_bounds_allow() -> None:
    drawn = Estimate(
        np.array([0.9, 0.5, 0.49, 0.3, np.nan, 0.0]), np.array([0.01, 0.1, 0.1, 0.05, 0.0, np.inf])
    )
    assert candidates(drawn, 2).tolist() == [0, 1, 2, 5]
    assert candidates(drawn, 6).tolist() == [0, 1, 2, 3, 5]


@given(st.integers(0, 10_000), st.integers(0, 40))
def test_the_kernel_is_pearson(seed: int, size: int) -> None:
    rng = np.random.default_rng(seed)
    x, y = rng.normal(size=size), rng.normal(size=size).astype(np.float32)
    x[rng.random(size) < 0.3] = np.nan
    y[rng.random(size) < 0.3] = np.nan
    r, n = kernel(x, y)
    expected, shared = pearson(x, y)
    assert n == shared
    assert r == pytest.approx(expected, abs=1e-9, nan_ok=True)


def test_a_seed_without_variation_is_refused() -> None:
    case = experiments(0, 1)
    order, _, _ = laid_out(case)
    none = np.empty(0, np.float32)
    flat = np.full(order.padded, 2.5, np.float32)
    with pytest.raises(DataError, match=r"got 2\.5 everywhere"):
        Probe.of(flat, order.whole(), none)
    flat[:] = np.nan
    with pytest.raises(DataError, match="data in 0 voxels"):
        Probe.of(flat, order.whole(), none)
