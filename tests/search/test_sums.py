"""Voxel sets and structure sums against masks, voxel by voxel."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from search_cases import ONTOLOGY, Case, experiments

from pipeline.core.reference_space import hemispheres
from pipeline.search.kernels.codes import Row, encode
from pipeline.search.kernels.order import VoxelOrder
from pipeline.search.kernels.sums import Block, Scales, count_covered, covered_set, empty_sums, fill_sums


def laid_out(case: Case, rows_a_block: int = 3) -> tuple[VoxelOrder, tuple[Block, ...], Scales]:
    """Return a case as blocks of rows, as an index maps them."""
    order = VoxelOrder.of(case.space.grid_labels(), ONTOLOGY, hemispheres(case.space.grid))
    rows = [encode(grid, order) for grid in case.grids]
    blocks = tuple(
        Block(at, *(np.stack([getattr(row, part) for row in rows[at : at + rows_a_block]]) for part in PARTS))
        for at in range(0, len(rows), rows_a_block)
    )
    return order, blocks, scales_of(rows)


PARTS = ("codes", "fine", "outside")


def scales_of(rows: list[Row]) -> Scales:
    return Scales(
        *(np.array([getattr(r, n) for r in rows]) for n in ("exponent", "outside_scale", "outside_error"))
    )


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 1000), st.integers(1, 9))
def test_sums_equal_masks(seed: int, count: int) -> None:
    case = experiments(seed, count)
    order, blocks, scales = laid_out(case)
    slots = np.arange(count)
    member = covered_set(count_covered(blocks, slots, order.padded), count)
    expected = case.member("all")
    assert (member[: len(order.brain)] == expected.reshape(-1)[order.brain]).all()
    assert not member[len(order.brain) :].any()
    sums = empty_sums(order, slots, member)
    for block in blocks:
        fill_sums(sums, block, scales.exponent, order)
    for structure in order.structure_ids.tolist():
        inside = case.mask([structure]) & expected
        found = sums.over(order.positions([structure]))
        for i, grid in enumerate(case.grids):
            values = grid[inside & ~np.isnan(grid)].astype(np.float64)
            assert found[0, i] == values.size
            assert found[1, i] == pytest.approx(values.sum(), rel=1e-6)
            assert found[2, i] == pytest.approx((values**2).sum(), rel=1e-6)


def test_some_slots_only_and_without_squares() -> None:
    case = experiments(5, 8)
    order, blocks, scales = laid_out(case)
    slots = np.array([1, 4, 7])
    sums = empty_sums(order, slots, order.whole(), squares=False)
    for block in blocks:
        fill_sums(sums, block, scales.exponent[slots], order)
    root = sums.over(order.positions([997]))
    assert root.shape == (2, 3)
    for i, slot in enumerate(slots):
        assert root[1, i] == pytest.approx(
            np.nansum(case.grids[slot][case.labels > 0], dtype=np.float64), rel=1e-6
        )


def test_eighty_percent_is_enough_and_less_is_not() -> None:
    counts = np.array([0, 3, 4, 5])
    assert covered_set(counts, 5).tolist() == [False, False, True, True]
    assert not covered_set(np.zeros(3, np.int64), 0).any()


def test_coverage_counts_ignore_other_slots() -> None:
    case = experiments(2, 7)
    order, blocks, _ = laid_out(case)
    slots = np.array([0, 6])
    expected = sum((~np.isnan(case.grids[s])).astype(int) for s in slots)
    counts = count_covered(blocks, slots, order.padded)
    assert (counts[: len(order.brain)] == expected.reshape(-1)[order.brain]).all()
