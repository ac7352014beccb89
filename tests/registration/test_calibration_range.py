"""Whether a series lies outside what the estimated errors were calibrated on."""

from __future__ import annotations

import numpy as np
import pytest

from pipeline.registration.quality.calibration_range import outside_calibration
from pipeline.sections.thumbnail import SectionThumbnail


def series(count: int, spacing_um: float, pixel_um: float) -> list[SectionThumbnail]:
    pixels = np.full((20, 30), 230, np.uint8)
    return [SectionThumbnail(k, k * spacing_um, pixels, pixel_um, np.eye(2, 3)) for k in range(count)]


@pytest.mark.parametrize(
    ("count", "spacing_um", "pixel_um"), [(6, 100.0, 15.0), (66, 450.0, 60.0), (20, 200.0, 34.0)]
)
def test_a_series_like_the_calibrated_ones_is_not_noted(
    count: int, spacing_um: float, pixel_um: float
) -> None:
    assert outside_calibration(series(count, spacing_um, pixel_um), 1.0) == ()


@pytest.mark.parametrize(
    ("count", "spacing_um", "pixel_um", "size", "noted"),
    [
        (3, 200.0, 34.0, 1.0, "3 sections (6 to 66)"),
        (20, 1000.0, 34.0, 1.0, "sections 1000 um apart (100 to 450)"),
        (20, 200.0, 100.0, 1.0, "pixels of 100 um (15 to 60)"),
        (20, 200.0, 34.0, 2.0, "a brain of 2.0 x a mouse's size (0.8 to 1.25)"),
        (1, 200.0, 34.0, 1.0, "1 sections (6 to 66)"),
    ],
)
def test_what_differs_is_named(
    count: int, spacing_um: float, pixel_um: float, size: float, noted: str
) -> None:
    note = outside_calibration(series(count, spacing_um, pixel_um), size)
    assert note == (f"estimated errors are outside what they were calibrated on: {noted}",)
