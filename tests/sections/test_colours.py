from __future__ import annotations

import numpy as np
import pytest

from pipeline.sections.colours import (
    above_blocks,
    block_shares,
    object_sums,
    optical_planes,
    plane_means,
    red_and_all,
)


def drawn(shape: tuple[int, int], seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(0.1, 0.1, (3, *shape)).astype(np.float32)


def test_optical_planes_are_density_over_each_colours_own_light() -> None:
    rng = np.random.default_rng(1)
    colours, light = rng.integers(0, 256, (7, 9, 3), np.uint8), rng.normal(0, 0.1, (7, 9))
    tables, valid = rng.normal(size=(3, 256)), rng.random((7, 9)) < 0.8
    expected = light - np.stack([tables[k][colours[..., k]] for k in range(3)])
    expected[:, ~valid] = 0
    planes = optical_planes(colours, light, tables, valid)
    np.testing.assert_array_equal(planes, expected.astype(np.float32))


def test_object_sums_leave_out_what_is_black_in_any_colour() -> None:
    planes = drawn((30, 41))
    labels = np.random.default_rng(3).integers(0, 6, (30, 41)).astype(np.int32)
    dark = (planes < 0.2).all(axis=0)
    exact = planes.astype(np.float64)
    expected = np.array([exact[:, dark & (labels == n)].sum(axis=1) * (n > 0) for n in range(7)])
    np.testing.assert_allclose(object_sums(planes, labels, 7, 0.2), expected, rtol=1e-12)


def test_plane_means() -> None:
    planes = drawn((40, 53))
    np.testing.assert_allclose(plane_means(planes), planes.mean(axis=0), rtol=1e-5, atol=1e-7)


def test_red_and_all_take_what_is_brighter_than_glass_for_glass() -> None:
    planes = drawn((21, 34))
    assert (planes < 0).any()
    stained = np.maximum(planes, 0)
    expected = 5 * np.stack([stained[0], stained.sum(axis=0)])
    np.testing.assert_allclose(red_and_all(planes, np.float32(5)), expected, rtol=1e-5)


@pytest.mark.parametrize(("rows", "columns", "factor"), [(1, 1, 1), (5, 7, 4), (3, 2, 3)])
def test_blocks_against_reshaping(rows: int, columns: int, factor: int) -> None:
    rng = np.random.default_rng(factor)
    values = rng.normal(size=(2, rows * factor, columns * factor)).astype(np.float32)
    limits = rng.normal(size=(rows, columns)).astype(np.float32)
    wide = np.kron(limits, np.ones((factor, factor), np.float32))
    np.testing.assert_array_equal(above_blocks(values[0], limits, factor), values[0] > wide)
    where = values[1] > -0.5
    planes = np.stack([where, np.where(where, values[0], 0), np.where(where, values[1], 0)])
    expected = planes.reshape(3, rows, factor, columns, factor).mean(axis=(2, 4))
    np.testing.assert_allclose(block_shares(where, tuple(values), factor), expected, atol=1e-6)
