"""Stacks of sections: exact on a linear volume, gaps bridged and marked."""

from __future__ import annotations

import numpy as np
import pytest

from pipeline.atlas_building.reconstruction.stacking import Stack
from pipeline.atlas_building.reconstruction.surfaces import Raster

RASTER = Raster("coronal", (6, 8), 25.0)


def tilted(at_um: float) -> np.ndarray:
    """Return the heights of a section that rises by 5 um a row."""
    return np.full((6, 8), at_um, np.float32) + 5 * np.arange(6, dtype=np.float32)[:, None]


def test_a_linear_volume_is_exact() -> None:
    stack = Stack(RASTER, 40, 100.0)
    for z in range(100, 801, 100):
        stack.add(2 * tilted(z), tilted(z))
    values, coverage = stack.finish()
    heights = 25.0 * np.arange(40)[:, None, None] + np.zeros((1, 6, 8))
    inside = (heights >= tilted(100)) & (heights <= tilted(800))
    assert np.allclose(values[inside], 2 * heights[inside], atol=1e-2)
    assert (coverage[inside] == 1).all()
    beyond = (heights < tilted(50)) | (heights > tilted(850))
    assert (coverage[beyond] == 0).all()
    assert (values[beyond] == 0).all()


@pytest.mark.parametrize(("gap_um", "between"), [(100, 1), (500, 2), (600, 0)])
def test_gaps_up_to_half_a_millimetre_are_bridged(gap_um: int, between: int) -> None:
    stack = Stack(RASTER, 60, 100.0)
    flat = np.zeros((6, 8), np.float32)
    for z in (100, 200, 200 + gap_um, 300 + gap_um):
        stack.add(flat + z, flat + z)
    values, coverage = stack.finish()
    middle = round((200 + gap_um / 2) / 25)
    assert (coverage[middle] == between).all()
    assert (coverage[8] == 1).all()
    if between == 2:
        assert values[middle] == pytest.approx(25.0 * middle)
        assert (coverage[9] == 1).all()  # within half a distance of a section
    if between == 0:
        assert (values[middle] == 0).all()


def test_a_hole_is_bridged_from_the_sections_around_it() -> None:
    stack = Stack(RASTER, 40, 100.0)
    for z in (100, 200, 300, 400):
        image = np.full((6, 8), z, np.float32)
        if z in (200, 300):
            image[2:4, 2:4] = np.nan
        stack.add(image, np.full((6, 8), z, np.float32))
    values, coverage = stack.finish()
    assert (coverage[10, 2:4, 2:4] == 2).all()
    assert values[10, 3, 3] == pytest.approx(250.0)
    assert (coverage[10, :2] == 1).all()


def test_sagittal_volumes_are_turned() -> None:
    stack = Stack(Raster("sagittal", (6, 8), 25.0), 10, 25.0)
    columns = np.zeros((6, 8), np.float32) + np.arange(8, dtype=np.float32)
    for z in range(0, 250, 25):
        stack.add(columns, np.full((6, 8), z, np.float32))
    values, coverage = stack.finish()
    assert values.shape == coverage.shape == (8, 6, 10)  # P, I, R
    assert np.array_equal(values[:, 0, 3], np.arange(8))
