"""Means of blocks against plain sums."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.core.blocks import block_majority, block_mean, block_mean_float, whole_block_mean
from pipeline.core.errors import DataError

SIDES = st.integers(1, 40)


@settings(deadline=None)
@given(SIDES, SIDES, st.sampled_from([None, 1, 3]), st.integers(1, 50), st.integers(0, 99))
def test_means_are_rounded_half_up_also_at_the_edges(
    height: int, width: int, channels: int | None, factor: int, seed: int
) -> None:
    shape = (height, width) if channels is None else (height, width, channels)
    pixels = np.random.default_rng(seed).integers(0, 256, shape).astype(np.uint8)
    got = block_mean(pixels, factor)
    for i in range(got.shape[0]):
        for j in range(got.shape[1]):
            block = pixels[i * factor : (i + 1) * factor, j * factor : (j + 1) * factor].astype(int)
            count = block.shape[0] * block.shape[1]
            assert np.array_equal(got[i, j], (2 * block.sum(axis=(0, 1)) + count) // (2 * count))
    whole = height // factor, width // factor
    assert np.array_equal(whole_block_mean(pixels, factor), got[: whole[0], : whole[1]])


@pytest.mark.parametrize("factor", [257, 258, 300])
def test_blocks_that_are_too_high_for_16_bits(factor: int) -> None:
    pixels = np.full((factor + 5, factor), 255, np.uint8)
    pixels[:factor, : factor // 2] = 0
    share = 255 * (factor - factor // 2) / factor
    assert np.array_equal(block_mean(pixels, factor), [[int(share + 0.5)], [255]])


def test_half_a_block_is_most_of_it() -> None:
    mask = np.array([[True, False], [True, False], [True, False], [False, False]])
    assert block_majority(mask, 2).tolist() == [[True], [False]]


def test_a_plane_of_numbers_goes_on_at_its_edge() -> None:
    plane = np.array([[1.0, 3.0, 8.0]], np.float32)
    assert block_mean_float(plane, 2).tolist() == [[2.0, 8.0]]


def test_a_factor_below_one_is_refused() -> None:
    with pytest.raises(DataError, match="factor of at least 1"):
        block_mean(np.zeros((2, 2), np.uint8), 0)
