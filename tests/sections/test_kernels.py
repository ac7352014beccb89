from __future__ import annotations

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from scipy.ndimage import distance_transform_edt

from pipeline.core.blocks import whole_block_mean as block_mean
from pipeline.sections.kernels import (
    FIXED_POINT_SCALE,
    above_median,
    above_surface,
    clear_outside,
    depths_at,
    window_rank,
    window_ranks,
)


@pytest.mark.parametrize(("shape", "factor"), [((9, 13), 1), ((9, 13), 2), ((17, 8), 4), ((3, 3), 4)])
def test_block_mean_rounds_half_up(shape: tuple[int, int], factor: int) -> None:
    values = np.random.default_rng(0).integers(0, 256, shape, np.uint8)
    rows, columns = shape[0] // factor, shape[1] // factor
    cut = values[: rows * factor, : columns * factor].astype(np.int64)
    sums = cut.reshape(rows, factor, columns, factor).sum(axis=(1, 3))
    assert (block_mean(values, factor) == (sums + factor**2 // 2) // factor**2).all()


@pytest.mark.parametrize("shape", [(1, 5), (2, 2), (301, 418), (64, 257, 3)])
def test_halving_rounds_half_up_too(shape: tuple[int, ...]) -> None:
    values = np.random.default_rng(1).integers(0, 256, shape, np.uint8)
    rows, columns = shape[0] // 2, shape[1] // 2
    cut = values[: rows * 2, : columns * 2].astype(np.int64)
    sums = cut.reshape(rows, 2, columns, 2, *shape[2:]).sum(axis=(1, 3))
    np.testing.assert_array_equal(block_mean(values, 2), (sums + 2) // 4)


def rank_oracle(values: np.ndarray, floor: np.ndarray, step: int, window: int, percent: int) -> np.ndarray:
    out = np.full(floor.shape, -1.0)
    before = (window - step) // 2
    for i, j in np.ndindex(floor.shape):
        top, left = i * step - before, j * step - before
        part = values[max(0, top) : top + window, max(0, left) : left + window].ravel()
        kept = np.sort(part[part > floor[i, j]].astype(float))
        if kept.size and kept.size * 4 >= window * window:
            target = kept.size * percent / 100
            value = kept[min(int(target), kept.size - 1)]
            same = kept == value
            inside = (target - np.flatnonzero(same)[0]) / same.sum()
            out[i, j] = value - 0.5 + inside
    return out


@pytest.mark.parametrize(("step", "window"), [(1, 3), (2, 6), (4, 8), (4, 9), (7, 7)])
@pytest.mark.parametrize("percent", [0, 10, 40, 50, 90])
def test_window_rank_against_sorting(step: int, window: int, percent: int) -> None:
    rng = np.random.default_rng(step + percent)
    values = rng.integers(1, 60, (30, 37), np.uint8)
    floor = rng.integers(0, 50, (30 // step, 37 // step), np.uint8)
    expected = rank_oracle(values, floor, step, window, percent)
    got = window_rank(values, floor, step, window, percent)
    assert ((got == -1) == (expected == -1)).all()
    assert np.abs(got - FIXED_POINT_SCALE * expected)[got >= 0].max() <= 1
    assert (window_ranks(values, floor, step, window, np.array([50, percent]))[1] == got).all()


def surface_oracle(
    shape: tuple[int, ...], nodes: np.ndarray, spacing: int, first: tuple[int, int]
) -> np.ndarray:
    rows, columns = nodes.shape
    y = np.clip((np.arange(shape[0]) + first[0] + 0.5) / spacing - 0.5, 0, rows - 1)
    x = np.clip((np.arange(shape[1]) + first[1] + 0.5) / spacing - 0.5, 0, columns - 1)
    i, j = y.astype(int), x.astype(int)
    down, right = (y - i)[:, None], (x - j)[None, :]
    below, beside = np.minimum(i + 1, rows - 1), np.minimum(j + 1, columns - 1)
    top = nodes[np.ix_(i, j)] * (1 - right) + nodes[np.ix_(i, beside)] * right
    bottom = nodes[np.ix_(below, j)] * (1 - right) + nodes[np.ix_(below, beside)] * right
    return np.asarray(top * (1 - down) + bottom * down) / FIXED_POINT_SCALE


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 64), st.integers(1, 5), st.integers(1, 5), st.integers(0, 2**31))
@example(spacing=64, rows=3, columns=5, seed=1133)  # steep far from the left edge
def test_above_surface_against_bilinear_interpolation(
    spacing: int, rows: int, columns: int, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    nodes = rng.integers(0, 255 * FIXED_POINT_SCALE + 1, (rows, columns)).astype(np.int32)
    first = int(rng.integers(0, rows * spacing)), int(rng.integers(0, columns * spacing))
    shape = rows * spacing - first[0] + 1, columns * spacing - first[1] + 2
    values = rng.integers(0, 256, shape, np.uint8)
    over = values - surface_oracle(shape, nodes, spacing, first)
    clear = np.abs(over) > 1 / 32
    found = above_surface(values, nodes, spacing, first)
    assert (found == (over > 0))[clear].all()
    top, left = (int(rng.integers(0, n)) for n in shape)
    part = np.ascontiguousarray(values[top:, left:])
    assert (
        above_surface(part, nodes, spacing, (first[0] + top, first[1] + left)) == found[top:, left:]
    ).all()


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 40), st.integers(1, 40), st.integers(1, 8), st.integers(1, 255), st.booleans())
@example(height=1, width=1, half=4, least=1, even=True)
def test_above_median_against_the_median(height: int, width: int, half: int, least: int, even: bool) -> None:
    side = 2 * half + 1
    rng = np.random.default_rng(height * 41 + width)
    values = rng.integers(90, 110 if even else 256, (height, width), np.uint8)
    windows = np.lib.stride_tricks.sliding_window_view(np.pad(values, half, mode="edge"), (side, side))
    expected = values - np.median(windows, axis=(2, 3)) >= least
    assert (above_median(values, side, least) == expected).all()


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 40), st.integers(1, 40), st.floats(0, 1), st.integers(1, 12))
def test_depths_at_against_a_distance_transform(height: int, width: int, share: float, reach: int) -> None:
    rng = np.random.default_rng(height * 41 + width)
    region = (rng.random((height, width)) < share**0.1).astype(np.uint8)
    y, x = np.arange(0, height, 3), np.array([0, 0, width - 1])
    expected = distance_transform_edt(np.pad(region, 1))[1:-1, 1:-1][np.ix_(y, x)] ** 2
    np.testing.assert_array_equal(depths_at(region, y, x, reach), np.rint(expected).clip(0, reach**2))


@pytest.mark.parametrize(("factor", "first"), [(1, (0, 0)), (4, (0, 0)), (4, (3, 6)), (8, (5, 0))])
def test_clear_outside_against_repetition(factor: int, first: tuple[int, int]) -> None:
    rng = np.random.default_rng(factor + first[0])
    mask = rng.integers(0, 2, (37, 41), np.uint8)
    blocks = rng.integers(0, 2, tuple(-(-(n + f) // factor) for n, f in zip(mask.shape, first, strict=True)))
    inside = blocks.astype(np.uint8)
    whole = inside.repeat(factor, axis=0).repeat(factor, axis=1)[first[0] :, first[1] :]
    expected = mask * whole[: mask.shape[0], : mask.shape[1]]
    clear_outside(mask, inside, factor, first)
    np.testing.assert_array_equal(mask, expected)
