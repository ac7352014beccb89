from __future__ import annotations

import numpy as np

from pipeline.detection.colours import object_sums, optical_planes, plane_means


def drawn(shape: tuple[int, int], seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(0.1, 0.1, (3, *shape))


def test_optical_planes_are_density_over_each_colours_own_light() -> None:
    rng = np.random.default_rng(1)
    colours, light = rng.integers(0, 256, (7, 9, 3), np.uint8), rng.normal(0, 0.1, (7, 9))
    table, offsets, valid = rng.normal(size=256), rng.normal(size=3), rng.random((7, 9)) < 0.8
    expected = light[..., None] + offsets - table[colours]
    expected[~valid] = 0
    planes = optical_planes(colours, light, offsets, table, valid)
    np.testing.assert_array_equal(planes, np.moveaxis(expected, -1, 0))


def test_object_sums_leave_out_what_is_black_in_any_colour() -> None:
    planes = drawn((30, 41))
    labels = np.random.default_rng(3).integers(0, 6, (30, 41)).astype(np.int32)
    told = (planes < 0.2).all(axis=0)
    expected = np.array([planes[:, told & (labels == n)].sum(axis=1) * (n > 0) for n in range(7)])
    np.testing.assert_allclose(object_sums(planes, labels, 7, 0.2), expected, rtol=1e-12)


def test_plane_means() -> None:
    planes = drawn((40, 53))
    np.testing.assert_allclose(plane_means(planes), planes.mean(axis=0), rtol=1e-12)
