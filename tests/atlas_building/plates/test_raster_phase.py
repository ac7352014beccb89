"""Rows and columns that were sampled unevenly from a finer image."""

from __future__ import annotations

import numpy as np
import pytest

from pipeline.atlas_building.plates.raster_phase import sampling_offset

FINE = (600, 750)


def fine_plates(count: int = 6) -> list[np.ndarray]:
    """Cells of random seeds, in the pixels of a fine image."""
    rng = np.random.default_rng(5)
    i, j = np.indices(FINE)
    plates = []
    for _ in range(count):
        seeds = rng.uniform(0, 1, (40, 2)) * FINE
        apart = [(i - y) ** 2 + (j - x) ** 2 for y, x in seeds]
        plates.append(np.argmin(apart, axis=0).astype(np.int32))
    return plates


def sampled(plates: list[np.ndarray], ratio: float) -> list[np.ndarray]:
    rows, columns = (np.floor(np.arange(int(n / ratio) - 1) * ratio + 0.5).astype(int) for n in FINE)
    return [plate[np.ix_(rows, columns)] for plate in plates]


def test_every_second_line_of_a_ratio_of_two_and_a_half_is_told():
    np.testing.assert_allclose(sampling_offset(sampled(fine_plates(), 2.5)), 0.1, atol=0.02)


@pytest.mark.parametrize("ratio", [1.0, 2.0, 3.0])
def test_a_whole_ratio_leaves_pixels_where_they_are(ratio):
    np.testing.assert_array_equal(sampling_offset(sampled(fine_plates(), ratio)), 0)


def test_each_direction_is_told_for_itself():
    rows = np.floor(np.arange(200) * 2.5 + 0.5).astype(int)
    offsets = sampling_offset([plate[rows][:, ::2] for plate in fine_plates()])
    assert abs(offsets[0] - 0.1) < 0.03
    assert offsets[1] == 0


@pytest.mark.parametrize("shape", [(2, 2), (1, 30), (40, 40)])
def test_plates_without_borders_tell_nothing(shape):
    np.testing.assert_array_equal(sampling_offset([np.ones(shape, np.int32)] * 3), 0)
