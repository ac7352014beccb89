"""Taps and kernels against plain loops over fractions of samples."""

from __future__ import annotations

from fractions import Fraction
from math import ceil, floor

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.service.images import resampling
from pipeline.service.images.resampling import (
    area_taps,
    largest_of,
    linear_taps,
    mean_of,
    nearest_taps,
    prepare,
)

lines = st.tuples(
    st.integers(0, 30),  # begin
    st.fractions(1, 9, max_denominator=7),  # step
    st.integers(1, 20),  # count
    st.integers(1, 40),  # length
)


def averaged(line: np.ndarray, begin: int, step: Fraction, count: int, fill: int) -> list[int]:
    """Average by exact fractions."""
    out = []
    for i in range(count):
        low, high = begin + i * step, begin + (i + 1) * step
        low, high = (min(max(edge, Fraction(0)), Fraction(len(line))) for edge in (low, high))
        total = sum(
            (min(high, Fraction(k + 1)) - max(low, Fraction(k))) * int(line[k])
            for k in range(floor(low), ceil(high))
        )
        out.append(fill if high <= low else floor(total / (high - low) + Fraction(1, 2)))
    return out


@given(lines, st.integers(0, 2**32 - 1))
def test_means_are_those_of_exact_fractions(asked: tuple[int, Fraction, int, int], seed: int) -> None:
    begin, step, count, length = asked
    line = np.random.default_rng(seed).integers(0, 256, length).astype(np.uint8)
    taps, one = area_taps(begin, float(step), count, length), area_taps(0, 1, 1, 1)
    got = mean_of(line[:, None], taps, one, 255)[:, 0]
    expected = np.array(averaged(line, begin, step, count, 255))
    across = mean_of(line[None, :], one, taps, 255)[0]
    for each in (got, across):
        # weights are float32: with fractions, a mean near a half may be rounded to either side
        assert np.abs(each.astype(int) - expected).max() <= (0 if step.denominator == 1 else 1)


@given(lines, st.integers(0, 2**32 - 1))
def test_maxima_are_those_of_every_touched_sample(asked: tuple[int, Fraction, int, int], seed: int) -> None:
    begin, step, count, length = asked
    line = np.random.default_rng(seed).integers(0, 256, length).astype(np.uint8)
    got = largest_of(line[:, None], area_taps(begin, float(step), count, length), area_taps(0, 1, 1, 1), 0)
    for i in range(count):
        low, high = begin + i * step, min(begin + (i + 1) * step, Fraction(length))
        touched = line[floor(low) : ceil(high)] if high > low else []
        assert got[i, 0] == max(touched, default=0)


def test_colours_are_averaged_one_by_one() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (31, 44, 3)).astype(np.uint8)
    rows, columns = area_taps(2, 2.5, 11, 31), area_taps(0, 3, 15, 44)
    got = mean_of(pixels, rows, columns, 255)
    for channel in range(3):
        assert np.array_equal(got[..., channel], mean_of(pixels[..., channel], rows, columns, 255))


@pytest.mark.parametrize("step", [0.5, 0.25, 0.3])
def test_enlargement_interpolates_between_centres(step: float) -> None:
    line = np.random.default_rng(1).integers(0, 256, 12).astype(np.uint8)
    count = int(12 / step)
    got = mean_of(line[:, None], linear_taps(0, step, count, 12), area_taps(0, 1, 1, 1), 255)[:, 0]
    centres = (np.arange(count) + 0.5) * step - 0.5
    expected = np.interp(centres, np.arange(12), line)
    assert np.abs(got - expected).max() <= 0.5 + 1e-3


def test_enlargement_of_a_mask_repeats() -> None:
    line = np.array([5, 0, 9], np.uint8)
    got = largest_of(line[:, None], nearest_taps(0, 0.25, 12, 3), area_taps(0, 1, 1, 1), 0)
    assert got[:, 0].tolist() == [5] * 4 + [0] * 4 + [9] * 4


def test_nothing_lies_beyond_the_line() -> None:
    one = area_taps(0, 1, 1, 1)
    for taps in (area_taps(2, 1, 3, 3), linear_taps(2, 0.75, 4, 3), nearest_taps(2, 0.75, 4, 3)):
        got = mean_of(np.full((3, 1), 7, np.uint8), taps, one, 255)[:, 0].tolist()
        assert got[0] == 7
        assert got[-1] == 255
    assert area_taps(9, 1, 2, 3).span == (0, 0)


def test_kernels_are_prepared_for_every_kind_of_image() -> None:
    prepare()
    for kernel in (resampling._mean, resampling._largest):
        assert len(kernel.signatures) == 1  # a second one would be compiled at a request
