"""A detector with changed thresholds, and what its marks on a section depend on."""

from __future__ import annotations

import numpy as np
import pytest

from pipeline.core.intensity import expression
from pipeline.detection import DETECTORS, make_detector
from pipeline.detection.sensitivity import CHANGES, changed_detectors
from pipeline.quantification.cells import SectionCells, accumulate
from pipeline.sections.measure import measure_section
from pipeline.sections.statistics import SectionContext
from pipeline.stages.sensitivity import sensitivity

UM = 4.0


@pytest.mark.parametrize("name", sorted(DETECTORS))
def test_only_thresholds_that_a_detector_has_are_changed(name: str) -> None:
    detector = make_detector(name, {})
    for threshold, pair in changed_detectors(detector).items():
        own = getattr(detector, threshold)
        assert [getattr(other, threshold) / own for other in pair] == pytest.approx(CHANGES[threshold])


def test_a_threshold_at_the_end_of_its_range_stays_inside() -> None:
    lower, higher = changed_detectors(make_detector("adaptive", {"contrast": 100.0}))["contrast"]
    assert (lower.contrast, higher.contrast) == (80.0, 100.0)  # type: ignore[attr-defined]


def scene(cells: int) -> tuple[np.ndarray, np.ndarray, SectionContext]:
    """Tissue with cells of every contrast on glass."""
    rng = np.random.default_rng(7)
    dark = rng.normal(14, 2, (900, 1100))
    dark[80:820, 80:1020] += 34
    for y, x, strength in zip(*rng.integers(100, 800, (2, cells)), rng.uniform(8, 120, cells), strict=True):
        dark[y : y + 3, x : x + 3] += strength
    image = np.clip(dark, 0, 255).astype(np.uint8)
    valid = np.ones(image.shape, bool)
    return image, valid, measure_section(255 - image, valid, UM)


def looked_at(cells: int, name: str = "adaptive") -> tuple[dict[str, list[float]], SectionCells]:
    dark, valid, context = scene(cells)
    detector = make_detector(name, {})
    mask = detector(255 - dark, context)
    sums = accumulate(dark, expression(dark, mask.copy(), valid), valid, 12)
    found = SectionCells(sums, 12, 1, UM, (0, 0, dark.shape[1], dark.shape[0]))
    return sensitivity(dark, valid, detector, context, found), found


def test_a_lower_contrast_marks_more() -> None:
    found, _ = looked_at(4000)
    low, base, high = (sum(found[k]) for k in ("contrast_lower", "as_marked", "contrast_higher"))
    assert low > base > high > 0


def test_tiles_are_marked_as_the_whole_section_is() -> None:
    """Thresholds that decide nothing here leave the tiles as the section was marked."""
    found, cells = looked_at(4000)
    assert 0 < sum(found["as_marked"]) < float(cells.sums.sum_expressing_pixel_intensity.sum())
    assert sum(found["solid_lower"]) == pytest.approx(sum(found["as_marked"]), rel=0.05)


def test_a_section_without_expression_shows_nothing() -> None:
    assert looked_at(0)[0] == {}


def test_a_detector_without_thresholds_shows_nothing() -> None:
    assert looked_at(500, "otsu")[0] == {}
