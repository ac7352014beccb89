"""Codes: how near they lie to the energies, and that no data stays no data."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from search_cases import ONTOLOGY

from pipeline.core.errors import DataError
from pipeline.search.kernels.codes import (
    CODE_ERROR,
    Row,
    check_grid,
    coarse,
    decode_brain,
    decode_outside,
    encode,
    unit,
)
from pipeline.search.kernels.order import VoxelOrder

LABELS = np.zeros((4, 5, 14), np.uint32)
LABELS[:, 1:] = 2
SIDES = np.repeat([1, 2], 7).astype(np.uint8)
ORDER = VoxelOrder.of(LABELS, ONTOLOGY, SIDES)


def random_grid(seed: int, spread: float, scale: float) -> np.ndarray:  # type: ignore[type-arg]
    rng = np.random.default_rng(seed)
    grid = np.minimum(np.exp(rng.normal(0, spread, LABELS.shape)) * scale, 1e12).astype(np.float32)
    grid[rng.random(LABELS.shape) < 0.1] = 0
    grid[rng.random(LABELS.shape) < 0.2] = np.nan
    return grid


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10_000), st.floats(0.1, 8), st.sampled_from([1e-25, 1e-6, 1.0, 255.0, 1e5]))
def test_full_values_lie_within_a_2_to_the_minus_23rd(seed: int, spread: float, scale: float) -> None:
    grid = check_grid(random_grid(seed, spread, scale), LABELS.shape)
    brain, _ = ORDER.split(grid)
    row = encode(grid, ORDER)
    read = decode_brain(row)
    assert (np.isnan(read) == np.isnan(brain)).all()
    known = ~np.isnan(brain) & (brain > np.nanmax(brain) * 2.0**-60)
    assert (np.abs(read - brain)[known] <= 2.0**-23 * brain[known].astype(np.float64)).all()
    assert (read[brain == 0] == 0).all()
    first = np.array([coarse.py_func(np.uint16(c)) for c in row.codes], np.float64) * unit(
        np.array([row.exponent])
    )
    assert (np.abs(first - brain)[known] <= CODE_ERROR * brain[known] * (1 + 1e-6)).all()


def test_the_smallest_of_sixty_octaves_differs_from_nothing() -> None:
    grid = np.ones(LABELS.shape, np.float32)
    grid[0, 1, 0], grid[0, 1, 1] = 40.0 * 2.0**-60, 0.0
    read = decode_brain(encode(grid, ORDER))
    assert sorted(read[~np.isnan(read)])[:2] == [0.0, pytest.approx(40.0 * 2.0**-60, rel=2**-22)]


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10_000), st.floats(0.1, 4))
def test_outside_the_error_is_the_one_that_is_kept(seed: int, spread: float) -> None:
    grid = check_grid(random_grid(seed, spread, 10.0), LABELS.shape)
    row, outside = encode(grid, ORDER), ORDER.split(grid)[1]
    read = decode_outside(row)
    assert (np.isnan(read) == np.isnan(outside)).all()
    known = ~np.isnan(outside)
    lost = np.linalg.norm(read[known].astype(np.float64) - outside[known])
    assert lost == pytest.approx(row.outside_error, rel=1e-4, abs=1e-6)
    largest = outside[known].max(initial=0)
    assert (np.abs(read - outside)[known] <= np.sqrt(outside[known] * largest) / 250 + largest / 250**2).all()


@pytest.mark.parametrize("value", [0.0, 7.25])
def test_constant_and_empty_rows(value: float) -> None:
    grid = np.full(LABELS.shape, value, np.float32)
    grid[LABELS == 0] = np.nan
    row = encode(grid, ORDER)
    read = decode_brain(row)
    assert (read[: len(ORDER.brain)] == value).all()
    assert np.isnan(decode_outside(row)).all()


def test_negative_zero_is_zero() -> None:
    grid = check_grid(np.full(LABELS.shape, -0.0), LABELS.shape)
    assert (decode_brain(encode(grid, ORDER))[: len(ORDER.brain)] == 0).all()


def test_rows_know_whether_they_are_the_same() -> None:
    grid = check_grid(random_grid(1, 1.0, 1.0), LABELS.shape)
    other = grid.copy()
    other[LABELS == 0] = 3.0
    first, second = encode(grid, ORDER), encode(other, ORDER)
    assert isinstance(first, Row)
    assert first.same(encode(grid.copy(), ORDER))
    assert first.holds_brain(second.codes, second.fine, second.exponent)
    assert not first.same(second)


@pytest.mark.parametrize(
    ("value", "words"),
    [(np.inf, "0 to 1e\\+12"), (-np.inf, "-inf"), (-0.5, "got -0.5"), (1e13, "1e\\+13")],
)
def test_what_is_no_energy_is_refused(value: float, words: str) -> None:
    grid = np.ones(LABELS.shape)
    grid[1, 2, 3] = value
    with pytest.raises(DataError, match=words):
        check_grid(grid, LABELS.shape)


def test_other_shapes_and_empty_grids_are_refused() -> None:
    with pytest.raises(DataError, match=r"expected a grid of \(4, 5, 14\) voxels, got \(4, 5, 13\)"):
        check_grid(np.ones((4, 5, 13)), LABELS.shape)
    with pytest.raises(DataError, match="no voxel that has any"):
        check_grid(np.full(LABELS.shape, np.nan), LABELS.shape)
